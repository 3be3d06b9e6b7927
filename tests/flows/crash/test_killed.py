"""kill -9 of the serving process, and its next start.

The moments are random and seeded: a number of lines in the ledger, then some
milliseconds. The last place of the verb is held shut until the kill, so that no
operation ends before it, however slow or fast the machine.
"""

import random
import time
from collections.abc import Iterator

import pytest

from tests.flows.crash.backend import attempts, judge
from tests.flows.crash.catalog import binding_body, deletion, instance_body
from tests.flows.crash.scene import binding_path, instance_path
from tests.flows.crash.server import FLAG, Asking, Json, Server, until

pytestmark = pytest.mark.slow

PLAN = "slow"
LINES = {"provision": 8, "update": 5, "bind": 5, "unbind": 2, "deprovision": 2}
"""Lines of the ledger that an operation writes before its last place."""


def moments(seed: int, verb: str, number: int) -> Iterator[tuple[int, float]]:
    """After how many lines and further seconds the process is killed."""
    luck = random.Random(seed)
    for _ in range(number):
        yield luck.randint(0, LINES[verb]), luck.uniform(0.0, 0.05)


def kill_at(server: Server, operation: str, moment: tuple[int, float]) -> None:
    """Wait for a moment of an operation, and kill the process."""
    lines, seconds = moment
    until(lambda: server.cloud.lines(operation) >= lines, f"{lines} lines")
    time.sleep(seconds)
    server.kill()


def test_a_provision_killed_at_ten_random_moments_goes_on_and_succeeds(
    server: Server,
) -> None:
    """LOP-05: the same operation id polls on; nothing is doubled."""
    server.start()
    for number, moment in enumerate(moments(10, "provision", 10)):
        path = instance_path(f"i{number}")
        server.cloud.hold("provision.last")
        operation = server.accepted("PUT", path, instance_body(PLAN, size=number))
        kill_at(server, operation, moment)
        began = len(attempts(server.cloud, operation))
        server.cloud.release("provision.last")
        server.start()
        last = server.ends(path, operation)
        shown = server.ask("GET", path)

        assert last["state"] == "succeeded"
        assert shown.status_code == 200
        assert shown.json()["parameters"] == {"size": number}
        assert judge(server.cloud, operation) == []
        assert attempts(server.cloud, operation)[-1] == 2
        assert len(attempts(server.cloud, operation)) == began + 1
    assert len(server.cloud.things()) == 10
    assert len(server.cloud.ledger("made")) == 10


def test_a_provision_killed_again_and_again_counts_its_attempts(server: Server) -> None:
    """Three times in one operation; fewer than park it."""
    path = instance_path("i")
    server.start()
    server.cloud.hold("provision.last")
    operation = server.accepted("PUT", path, instance_body(PLAN))
    for _, seconds in moments(11, "provision", 3):
        began = len(attempts(server.cloud, operation))
        kill_at(server, operation, (0, seconds))
        server.start()
        until(
            lambda: len(attempts(server.cloud, operation)) > began,  # noqa: B023
            "it is begun again",
        )
    server.cloud.release("provision.last")

    assert server.ends(path, operation)["state"] == "succeeded"
    assert judge(server.cloud, operation) == []
    assert attempts(server.cloud, operation)[-1] >= 4
    assert len(server.cloud.things()) == 1


def test_every_other_verb_goes_on_after_a_kill(server: Server) -> None:
    """Update, deprovision, bind and unbind at once, killed at four moments."""
    server.start()
    for number, lines in enumerate((0, 1, 2, 5)):
        prepared = prepare(server, number)
        verbs = ("update", "deprovision", "bind", "unbind")
        for verb in verbs:
            server.cloud.hold(f"{verb}.last")
        running = begin(server, prepared)
        slowest, least = running["update"][1], min(lines, LINES["update"])
        kill_at(server, slowest, (least, random.Random(number).uniform(0.0, 0.05)))
        for verb in verbs:
            server.cloud.release(f"{verb}.last")
        server.start()

        for path, operation in running.values():
            assert server.ends(path, operation)["state"] == "succeeded"
            assert judge(server.cloud, operation) == []
            assert attempts(server.cloud, operation)[-1] == 2
        updated = server.ask("GET", prepared["update"])
        assert updated.json()["parameters"] == {"size": 2}
        assert server.ask("GET", prepared["deprovision"]).status_code == 404
        assert "password" in server.ask("GET", prepared["bind"]).json()["credentials"]
        assert server.ask("GET", prepared["unbind"]).status_code == 404
    kept = [thing.kind for thing in server.cloud.things().values()]
    assert sorted(kept) == 4 * ["credential"] + 12 * ["instance"]


def prepare(server: Server, number: int) -> dict[str, str]:
    """An instance for each verb, and for unbind a binding; their paths."""
    ids = {verb: f"{verb}-{number}" for verb in ("update", "deprovision", "bind")}
    ids["unbind"] = f"unbind-{number}"
    paths = {verb: instance_path(instance) for verb, instance in ids.items()}
    made = [
        (path, server.accepted("PUT", path, instance_body(PLAN, size=1)))
        for path in paths.values()
    ]
    for path, operation in made:
        assert server.ends(path, operation)["state"] == "succeeded"
    paths["bind"] = binding_path(ids["bind"], "b")
    paths["unbind"] = binding_path(ids["unbind"], "b")
    operation = server.accepted("PUT", paths["unbind"], binding_body(PLAN))
    assert server.ends(paths["unbind"], operation)["state"] == "succeeded"
    return paths


def begin(server: Server, paths: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Begin the four; path and operation of each."""
    gone = deletion(PLAN)
    asked: dict[str, tuple[str, Json | None, Json]] = {
        "deprovision": ("DELETE", None, gone),
        "bind": ("PUT", binding_body(PLAN), {}),
        "unbind": ("DELETE", None, gone),
        "update": ("PATCH", instance_body(PLAN, size=2), {}),
    }
    return {
        verb: (paths[verb], server.accepted(method, paths[verb], body, **query))
        for verb, (method, body, query) in asked.items()
    }


def test_a_put_that_was_never_answered_leaves_nothing_behind(server: Server) -> None:
    """A synchronous PUT, its process killed: rolled back at the next start."""
    path = instance_path("i")
    server.start()
    server.cloud.hold("provision.last")
    asking = Asking(server.url + path, instance_body("quick"))
    until(lambda: len(server.cloud.things()) == 1, "the instance is made")
    server.kill()
    server.cloud.release("provision.last")
    server.start()
    polled = server.ends(path)
    shown = server.ask("GET", path)
    left = server.cloud.things()
    again = server.ask("PUT", path, instance_body("quick"))

    assert asking.answer() is None
    assert polled["state"] == "failed"
    assert shown.status_code == 404
    assert left == {}
    assert again.status_code == 201
    assert len(server.cloud.things()) == 1


def test_an_operation_that_kills_its_process_is_parked_and_others_go_on(
    server: Server,
) -> None:
    """After five claims: `failed` to the platform, loud to the operator."""
    good, bad = instance_path("good"), instance_path("bad")
    server.start()
    server.cloud.hold("poison.waits")
    fine = server.accepted("PUT", good, instance_body(PLAN))
    poison = server.accepted("PUT", bad, instance_body("poison"))
    until(lambda: server.cloud.lines(poison) > 0, "the poison works")
    server.cloud.release("poison.waits")
    deaths = 0
    while server.dies_or(lambda: bool(server.events("operation.parked"))):
        deaths += 1
        assert deaths <= 5
        server.spawn()
    parked = server.ends(bad, poison)
    other = server.ends(good, fine)

    assert deaths == 5
    assert attempts(server.cloud, poison) == [1, 2, 3, 4, 5]
    assert parked["state"] == "failed"
    assert poison in parked["description"]
    assert [event["level"] for event in server.events("operation.parked")] == ["error"]
    assert other["state"] == "succeeded"
    assert judge(server.cloud, fine) == []
    assert server.ask("GET", good).status_code == 200
    assert server.ask("GET", bad).status_code == 404
    after = instance_path("after")
    operation = server.accepted("PUT", after, instance_body(PLAN))
    assert server.ends(after, operation)["state"] == "succeeded"
    removed = server.ask("DELETE", bad, **FLAG, **deletion("poison"))
    assert removed.status_code in {200, 202}
    assert server.ends(bad)["state"] == "succeeded"

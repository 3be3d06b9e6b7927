"""The version before, on the schema of this one: alone, before it, and beside it.

Each runs in a process of its own; the kept one from its wheel. What an upgrade of a
deployment does, and its roll-back: one takes over what the other has begun.
"""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from osbkit.store import migrate
from tests import servers
from tests.flows.crash.backend import attempts, judge
from tests.flows.crash.catalog import binding_body, deletion, instance_body
from tests.flows.crash.scene import binding_path, instance_path
from tests.flows.crash.server import until
from tests.migrations.made_up import NEWER, future
from tests.migrations.versions import KEPT, TODAY, Version, recorded

pytestmark = pytest.mark.slow

FIRST = "0001"
DATABASES = ["sqlite", *servers.KINDS]
Start = Callable[[str], Version]


@pytest.fixture(params=KEPT)
def kept(request: pytest.FixtureRequest) -> str:
    """A version whose wheel is kept."""
    version: str = request.param
    return version


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'broker.db'}"
    return servers.fresh(request.param)


@pytest.fixture
def start(tmp_path: Path, url: str) -> Iterator[Start]:
    """Start a version on the database; none outlives its test."""
    made: list[Version] = []

    def begin(version: str) -> Version:
        made.append(one := Version(version, tmp_path, url))
        if migrate.look(url).revision is None:
            one.upgrade_database()
        one.start()
        return one

    yield begin
    for one in made:
        one.close()


def live_through(broker: Version, plan: str, of: str) -> None:
    """A whole lifecycle, each verb to its end."""
    instance, binding = instance_path(of), binding_path(of, "b")

    def change(method: str, path: str, status: int, **request: Any) -> None:
        if plan == "slow":
            operation = broker.accepted(method, path, **request)
            assert broker.ends(path, operation)["state"] == "succeeded"
        else:
            answer = broker.ask(method, path, **request)
            assert answer.status_code == status, answer.text

    change("PUT", instance, 201, body=instance_body(plan, size=1))
    change("PATCH", instance, 200, body=instance_body(plan, size=2))
    change("PUT", binding, 201, body=binding_body(plan))
    assert broker.ask("GET", instance).json()["parameters"] == {"size": 2}
    assert broker.ask("GET", binding).json()["credentials"]["password"]
    change("DELETE", binding, 200, **deletion(plan))
    change("DELETE", instance, 200, **deletion(plan))
    assert broker.ask("DELETE", instance, **deletion(plan)).status_code == 410


def begin(broker: Version, of: str) -> str:
    """A provision that has taken a step, and waits; its operation."""
    broker.cloud.hold("provision.3")
    operation = broker.accepted("PUT", instance_path(of), instance_body("slow", size=3))
    until(
        lambda: bool(broker.cloud.ledger("effect")), "the step is taken, the thing made"
    )
    return operation


def finished(broker: Version, of: str, operation: str) -> None:
    """What another began went on here: its id, its steps, nothing twice."""
    path = instance_path(of)
    until(lambda: len(attempts(broker.cloud, operation)) > 1, "it is taken up")
    assert broker.ask("GET", f"{path}/last_operation").json()["state"] == "in progress"
    broker.cloud.release("provision.3")

    assert broker.ends(path, operation)["state"] == "succeeded"
    assert judge(broker.cloud, operation) == []
    assert attempts(broker.cloud, operation) == [1, 2]
    taken = [entry.detail for entry in broker.cloud.ledger("taken")]
    assert taken == ["reserve", "address"]
    assert broker.ask("GET", path).json()["parameters"] == {"size": 3}
    assert [thing.kind for thing in broker.cloud.things().values()] == ["instance"]


# --- on the schema of this version, and of one to come --------------------------------


def test_kept_version_lives_through_everything_on_the_schema_of_today(kept, url, start):
    migrate.upgrade(url)
    broker = start(kept)

    live_through(broker, "quick", "i-sync")
    live_through(broker, "slow", "i-async")

    assert recorded(url) == {kept}
    assert broker.cloud.things() == {}
    ahead = migrate.look(url).revision != FIRST
    assert bool(broker.events("schema.ahead")) is ahead


@pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
def test_kept_version_lives_through_everything_on_an_expanded_schema(
    kept, url, start, tmp_path
):
    with future(tmp_path / "newer", FIRST):
        migrate.upgrade(url)
    broker = start(kept)

    live_through(broker, "quick", "i-sync")
    live_through(broker, "slow", "i-async")

    assert recorded(url) == {kept}
    assert migrate.look(url).revision == NEWER
    assert {one["found"] for one in broker.events("schema.ahead")} == {NEWER}


@pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
def test_kept_version_refuses_a_contracted_schema(kept, url, tmp_path):
    with future(tmp_path / "newer", NEWER):
        migrate.upgrade(url)
    broker = Version(kept, tmp_path, url)

    broker.spawn()

    assert broker.wait() == 3
    assert "or a newer one" in broker.told()
    broker.close()


# --- from one to the other ------------------------------------------------------------


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_file_of_the_kept_version_is_upgraded_with_what_was_killed_in_it(
    kept, url, start
):
    old = start(kept)
    operation = begin(old, "i")
    old.kill()

    migrate.upgrade(url)
    new = start(TODAY)
    finished(new, "i", operation)

    assert recorded(url, operation) == {kept}


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_file_goes_back_to_the_kept_version_with_what_was_killed_in_it(
    kept, url, start
):
    new = start(TODAY)
    operation = begin(new, "i")
    new.kill()

    old = start(kept)
    finished(old, "i", operation)

    assert recorded(url, operation).isdisjoint({kept})


@pytest.mark.parametrize(
    ("url", "how", "forth"),
    [
        pytest.param("postgresql", signal.SIGKILL, True, id="upgrade, killed"),
        pytest.param("postgresql", signal.SIGTERM, False, id="roll-back, told to stop"),
        pytest.param("mariadb", signal.SIGTERM, True, id="upgrade, told to stop"),
        pytest.param("mariadb", signal.SIGKILL, False, id="roll-back, killed"),
    ],
    indirect=["url"],
)
def test_versions_side_by_side_take_over_from_each_other(kept, url, start, how, forth):
    """The kept one serves since before the upgrade of the schema, and goes on."""
    old = start(kept)  # makes the schema it knows
    migrate.upgrade(url)
    new = start(TODAY)
    first, second = (old, new) if forth else (new, old)
    operation = begin(first, "i")
    path = instance_path("i")
    seen = second.ask("GET", f"{path}/last_operation", operation=operation)
    again = second.accepted("PUT", path, instance_body("slow", size=3))

    if how is signal.SIGTERM:
        first.terminate()
    else:
        first.kill()

    assert seen.json()["state"] == "in progress"
    assert again == operation
    finished(second, "i", operation)

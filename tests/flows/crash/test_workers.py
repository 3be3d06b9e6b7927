"""Workers in processes of their own that are killed, stopped, frozen, or poisoned.

One process serves and never works; PostgreSQL lies between them. Leases are short
here, and nothing that is claimed depends on how short.
"""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from osbkit.store import migrate
from tests import servers
from tests.flows.crash.backend import attempts, judge
from tests.flows.crash.catalog import deletion, instance_body
from tests.flows.crash.scene import instance_path
from tests.flows.crash.server import Server, until

pytestmark = pytest.mark.slow

PATH = instance_path("i")
LEASE = "6"


class Fleet:
    """A process that serves, and workers by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = servers.fresh("postgresql")
        migrate.upgrade(self.url)
        self.made: list[Server] = []
        self.api = self._make("osbkit serve", "api", OSBKIT_WORKER="none")
        self.api.start()
        self.cloud = self.api.cloud

    def _make(self, runner: str, name: str, **settings: str) -> Server:
        made = Server(
            self.folder,
            runner,  # type: ignore[arg-type]
            name=name,
            OSBKIT_DATABASE_URL=self.url,
            OSBKIT_ENCRYPTION_KEYS="k:" + base64.b64encode(bytes(32)).decode(),
            CRASH_LEASE=LEASE,
            **settings,
        )
        self.made.append(made)
        return made

    def worker(self, name: str) -> Server:
        """A worker, started."""
        made = self._make("osbkit worker", name)
        made.start()
        return made

    def provision(self, plan: str = "slow", instance: str = "i") -> str:
        """Begin one; its operation."""
        path = instance_path(instance)
        return self.api.accepted("PUT", path, instance_body(plan))

    def reaches(self, event: str, operation: str) -> None:
        """Return when the ledger has a line of an operation."""
        until(
            lambda: any(e.operation == operation for e in self.cloud.ledger(event)),
            f"{event} of {operation}",
        )

    def close(self) -> None:
        for each in self.made:
            each.close()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path)
    yield made
    made.close()


def test_a_killed_worker_is_taken_over_by_another(fleet: Fleet) -> None:
    """LOP-05: the same operation; its steps are kept, nothing is doubled."""
    first = fleet.worker("first")
    fleet.cloud.hold("provision.3")
    operation = fleet.provision()
    fleet.reaches("effect", operation)
    fleet.worker("second")
    first.kill()
    fleet.cloud.release("provision.3")

    assert fleet.api.ends(PATH, operation)["state"] == "succeeded"
    assert attempts(fleet.cloud, operation) == [1, 2]
    assert judge(fleet.cloud, operation) == []
    assert len(fleet.cloud.things()) == 1


def test_a_worker_that_is_told_to_stop_hands_over_at_once(fleet: Fleet) -> None:
    """With a lease of an hour another would wait for it."""
    first = fleet.worker("first")
    fleet.cloud.hold("provision.3")
    operation = fleet.provision()
    fleet.reaches("effect", operation)
    status = first.terminate()
    fleet.cloud.release("provision.3")
    fleet.worker("second")

    assert status == 0
    assert fleet.api.ends(PATH, operation)["state"] == "succeeded"
    assert attempts(fleet.cloud, operation) == [1, 2]
    assert judge(fleet.cloud, operation) == []
    assert first.events("worker.stopped")


def test_what_a_frozen_worker_makes_when_it_wakes_is_swept(fleet: Fleet) -> None:
    """DESIGN: SIGSTOP inside provision, DELETE, PUT with the same id, SIGCONT."""
    frozen = fleet.worker("frozen")
    fleet.cloud.hold("deaf")  # nothing ends the call before it has made its thing
    old = fleet.provision()
    fleet.reaches("call", old)
    frozen.freeze()
    fleet.worker("awake")
    fleet.cloud.release("deaf")
    removal = fleet.api.accepted("DELETE", PATH, None, **deletion("slow"))
    assert fleet.api.ends(PATH, removal)["state"] == "succeeded"
    new = fleet.provision()
    assert fleet.api.ends(PATH, new)["state"] == "succeeded"
    kept = set(fleet.cloud.things())
    frozen.thaw()
    until(lambda: bool(frozen.events("operation.late_effect")), "it is swept")
    until(lambda: set(fleet.cloud.things()) == kept, "only the new one is left")

    assert len(kept) == 1
    assert fleet.api.ask("GET", PATH).status_code == 200
    assert fleet.api.ends(PATH, old)["state"] == "failed"


def test_what_kills_its_worker_every_time_is_parked_and_takes_nothing_with_it(
    fleet: Fleet,
) -> None:
    worker = fleet.worker("worker")
    fleet.cloud.hold("provision.3")
    poisoned = fleet.provision("poison", "bad")
    others = [fleet.provision("slow", f"good-{number}") for number in range(3)]
    bad = instance_path("bad")

    def failed() -> bool:
        answer = fleet.api.ask("GET", f"{bad}/last_operation", operation=poisoned)
        return bool(answer.json()["state"] == "failed")

    while worker.dies_or(failed):
        fleet.cloud.release("provision.3")  # they ran when it died for the first time
        worker.start()

    for number, operation in enumerate(others):
        ended = fleet.api.ends(instance_path(f"good-{number}"), operation)
        assert ended["state"] == "succeeded"
        assert judge(fleet.cloud, operation) == []
    (parked,) = worker.events("operation.parked")
    assert parked["operation"] == poisoned
    assert poisoned in fleet.api.ends(bad, poisoned)["description"]
    assert len(attempts(fleet.cloud, poisoned)) == 5

"""No room on the disk: the process may not make its files any longer.

The limit is set from outside on the running process, as a full file system would
be met: every write past the present end of a file fails.
"""

import resource
import time
from collections.abc import Iterator

import pytest

from tests.flows.crash.backend import attempts, judge
from tests.flows.crash.catalog import instance_body
from tests.flows.crash.scene import instance_path
from tests.flows.crash.server import Server, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not hasattr(resource, "prlimit"), reason="prlimit is there on Linux only"
    ),
]


@pytest.fixture
def full(server: Server) -> Iterator[Server]:
    """A started server."""
    server.start()
    yield server
    if server._process is not None:
        limit(server, resource.RLIM_INFINITY)


def limit(server: Server, size: int) -> None:
    """How far the server's files may reach from now on (bytes)."""
    _, most = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size, most))


def test_a_full_disk_is_503_and_not_ready_and_nothing_is_half_written(
    full: Server,
) -> None:
    path = instance_path("i")
    limit(full, 0)
    refused = full.ask("PUT", path, instance_body("quick"))
    ready = full.http.get(f"{full.url}/health/ready")
    live = full.http.get(f"{full.url}/health/live")
    limit(full, resource.RLIM_INFINITY)
    until(full.ready, "it is ready again")
    unknown = full.ask("GET", f"{path}/last_operation")
    again = full.ask("PUT", path, instance_body("quick"))

    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert "database" in refused.json()["description"]
    assert ready.status_code == 503
    assert ready.json()["problems"]
    assert live.status_code == 200
    assert unknown.status_code == 404
    assert again.status_code == 201
    assert len(full.cloud.ledger("made")) == 1


def test_what_was_done_while_the_disk_was_full_is_recorded_when_there_is_room(
    full: Server,
) -> None:
    """Unit B is tried again; the backend is not."""
    path = instance_path("i")
    full.cloud.hold("provision.last")
    operation = full.accepted("PUT", path, instance_body("slow"))
    until(lambda: full.cloud.lines(operation) >= 8, "all but the end is done")
    limit(full, 0)
    full.cloud.release("provision.last")
    time.sleep(0.2)  # long enough for a try in vain, on most machines
    running = full.ask("GET", f"{path}/last_operation").json()
    limit(full, resource.RLIM_INFINITY)
    last = full.ends(path, operation)

    assert running["state"] == "in progress"
    assert last["state"] == "succeeded"
    assert attempts(full.cloud, operation) == [1]
    assert judge(full.cloud, operation) == []

"""A broker that answers as told, a clock that only counts, and the command line."""

import json
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from osbkit.cli import app
from osbkit.cli.client.polling import Clock
from osbkit.cli.client.session import Surroundings

Json = dict[str, Any]

CATALOG: Json = {
    "services": [
        {
            "id": "queue-id",
            "name": "queue",
            "description": "A queue of messages",
            "bindable": True,
            "plan_updateable": True,
            "plans": [
                {"id": "tiny-id", "name": "tiny", "description": "Small", "free": True},
                {
                    "id": "slow-id",
                    "name": "slow",
                    "description": "Takes its time",
                    "free": False,
                    "bindable": False,
                },
            ],
        }
    ]
}
SECOND_OFFERING: Json = {
    "id": "topic-id",
    "name": "topic",
    "description": "Publish and subscribe",
    "bindable": True,
    "plans": [{"id": "tiny-topic-id", "name": "tiny", "description": "Small"}],
}


class BrokerDouble:
    """Answers what was laid down for a method and path, in that order.

    The last answer of a kind stays. What was not laid down is 404, the catalog
    excepted.
    """

    def __init__(self) -> None:
        self.seen: list[httpx.Request] = []
        self._answers: dict[tuple[str, str], deque[httpx.Response | Exception]] = (
            defaultdict(deque)
        )
        self.catalog(CATALOG)

    def catalog(self, body: Json) -> None:
        """Serve another catalog."""
        self._answers["GET", "/v2/catalog"].clear()
        self.answers("GET", "/v2/catalog", 200, body)

    def answers(
        self,
        method: str,
        path: str,
        status: int,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Lay one answer down; a body of text is sent as it is."""
        content = body if isinstance(body, str) else json.dumps(body or {})
        self._answers[method, path].append(
            httpx.Response(status, text=content, headers=headers)
        )

    def breaks(self, method: str, path: str, error: Exception) -> None:
        """Let the connection fail there."""
        self._answers[method, path].append(error)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        raw_path = request.url.raw_path.decode().partition("?")[0]
        answers = self._answers[request.method, raw_path]
        if not answers:
            return httpx.Response(404, json={"description": "It does not exist."})
        answer = answers.popleft() if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(
            answer.status_code, content=answer.content, headers=answer.headers
        )

    def asked(self, method: str, path: str) -> list[httpx.Request]:
        """The requests of one kind."""
        return [
            request
            for request in self.seen
            if request.method == method
            and request.url.raw_path.decode().partition("?")[0] == path
        ]

    def sent(self, method: str, path: str) -> Json:
        """The body of the only request of one kind."""
        [request] = self.asked(method, path)
        body: Json = json.loads(request.content)
        return body


class CountingClock:
    """Sleeps without time passing, and remembers for how long."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.on_sleep: Callable[[], None] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.on_sleep()

    def now(self) -> float:
        return sum(self.slept)


@pytest.fixture
def broker() -> BrokerDouble:
    return BrokerDouble()


@pytest.fixture
def clock() -> CountingClock:
    return CountingClock()


@pytest.fixture(autouse=True)
def bare_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the client's own variables of the machine out of sight."""
    for name in ("OSB_URL", "OSB_USER", "OSB_PASSWORD", "OSB_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def osbkit() -> Callable[..., Result]:
    """Run a command, with standard input if there is any."""

    def run(*arguments: str, **more: Any) -> Result:
        return CliRunner().invoke(app, arguments, **more)

    return run


@pytest.fixture
def client(
    osbkit: Callable[..., Result], broker: BrokerDouble, clock: CountingClock
) -> Callable[..., Result]:
    """Run a client command against the double."""
    around = Surroundings(
        transport=httpx.MockTransport(broker),
        clock=Clock(sleep=clock.sleep, now=clock.now, interval=2.0),
    )

    def run(*arguments: str, **more: Any) -> Result:
        return osbkit("client", *arguments, obj=around, **more)

    return run

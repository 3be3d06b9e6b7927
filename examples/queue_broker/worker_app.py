"""An application that works with a queue, as it would run in a pod.

    worker_app.py --messages 1000 --credentials /bindings/queue

sends so many messages, receives and acknowledges each, and says how it went. It
knows nothing of the broker: what it needs is in its credentials, read from the
first of these that is there:

    --credentials DIR      a mounted Secret: one file per key, or one directory of
                           such files per binding
    --credentials FILE     JSON, as `osbkit client bind --json` prints it; - is the
                           standard input
    QUEUE_SEND_URL, QUEUE_RECEIVE_URL, QUEUE_TOKEN       from a Secret's keys
    SERVICE_BINDING_ROOT                                 servicebinding.io
    VCAP_SERVICES                                        Cloud Foundry

Exit status: 0 each message was received once; 1 it was not, or the queue is away;
2 the credentials or the arguments cannot be used; 3 the queue refuses the token.

Needs httpx and nothing else. Units: spans are seconds.
"""

import argparse
import asyncio
import json
import os
import sys
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import httpx

KEYS = ("send_url", "receive_url", "token")
BINDING_TYPE = "osbkit-queue"
POLL_SECONDS = 5
RETRY_SECONDS = 0.2
TRY_AGAIN = frozenset({503, 507})  # away for a moment; full until somebody receives


class CannotStart(Exception):
    """No credentials, or none that can be used; the message says what to do."""


class TokenRefused(Exception):
    """The queue does not know the token (any more)."""


class QueueTrouble(Exception):
    """The queue answered something else than agreed."""


REFUSALS: Mapping[int, tuple[type[Exception], str]] = {
    401: (
        TokenRefused,
        "The queue refuses the token (401): the binding was removed, or these are the"
        " credentials of another queue.",
    ),
    403: (
        QueueTrouble,
        "The role of the binding is not enough (403): this application sends and"
        " receives, which takes the role readwrite.",
    ),
}


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a binding gave us."""

    send_url: str
    receive_url: str
    token: str = field(repr=False)


# --- credentials ----------------------------------------------------------------


def find_credentials(
    given: str | None, environ: Mapping[str, str], stdin: TextIO
) -> Credentials:
    """Read the credentials from wherever the platform put them.

    Args:
        given: a directory, a file, `-`, or None to look into the environment.

    Raises:
        CannotStart: they are nowhere, or not complete.
    """
    if given is not None:
        return _from_place(given, stdin)
    names = {name.upper(): value for name, value in environ.items()}
    keys = {key: names.get(f"QUEUE_{key.upper()}") for key in KEYS}
    if any(keys.values()):
        return _complete(keys, "the environment (QUEUE_…)")
    if root := names.get("SERVICE_BINDING_ROOT"):
        return _from_directory(Path(root))
    if services := names.get("VCAP_SERVICES"):
        return _from_json(services, "VCAP_SERVICES")
    raise CannotStart(
        "There are no credentials: name a directory or a file with --credentials, or"
        " set QUEUE_SEND_URL, QUEUE_RECEIVE_URL and QUEUE_TOKEN."
    )


def _from_place(given: str, stdin: TextIO) -> Credentials:
    if given == "-":
        return _from_json(stdin.read(), "the standard input")
    path = Path(given)
    if path.is_dir():
        return _from_directory(path)
    try:
        return _from_json(path.read_text(encoding="utf-8"), given)
    except (OSError, UnicodeError):
        raise CannotStart(
            f"{given} is neither a directory nor a file that can be read."
        ) from None


def _from_directory(root: Path) -> Credentials:
    """A Secret as a volume: `root/token`, or `root/<binding>/token` and a `type`."""
    if not root.is_dir():
        raise CannotStart(f"{root} is not a directory.")
    own = _files(root)
    if any(own.get(key) for key in KEYS):
        return _complete(own, str(root))
    bindings = [_files(path) for path in sorted(root.iterdir()) if path.is_dir()]
    ours = [files for files in bindings if files.get("type") == BINDING_TYPE]
    whole = ours or [files for files in bindings if all(map(files.get, KEYS))]
    if len(whole) != 1:
        raise CannotStart(
            f"{root} holds {len(whole)} bindings of a queue: name the directory of one"
            " with --credentials."
        )
    return _complete(whole[0], str(root))


def _files(directory: Path) -> dict[str, str | None]:
    """Key → content. Kubernetes keeps its own entries there, `..data` and such."""
    found: dict[str, str | None] = {}
    for path in directory.iterdir():
        key = path.name.replace("-", "_")  # some bindings write send-url
        if key in (*KEYS, "type") and path.is_file():
            try:
                found[key] = path.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeError):
                raise CannotStart(f"{path} cannot be read as text.") from None
    return found


def _from_json(text: str, where: str) -> Credentials:
    try:
        document = json.loads(text)
    except ValueError:
        raise CannotStart(f"There is no JSON in {where}.") from None
    found = next((o for o in _objects(document) if all(map(o.get, KEYS))), None)
    if found is None:
        raise CannotStart(f"There are no credentials of a queue in {where}.")
    return _complete(found, where)


def _objects(document: Any) -> Iterator[dict[str, Any]]:
    """Every object of a document, the outer ones first."""
    left = deque([document])
    while left:
        value = left.popleft()
        if isinstance(value, dict):
            yield value
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)


def _complete(keys: Mapping[str, str | None], where: str) -> Credentials:
    values = {key: str(keys.get(key) or "") for key in KEYS}
    missing = [key for key, value in values.items() if not value]
    if missing:
        raise CannotStart(f"{', '.join(missing)} is missing in {where}.")
    for key in ("send_url", "receive_url"):
        if not values[key].startswith(("http://", "https://")):
            raise CannotStart(f"{key} in {where} is no http or https URL.")
    if not values["token"].isascii() or not values["token"].isprintable():
        raise CannotStart(f"token in {where} does not fit into a header.")
    return Credentials(**values)


# --- work -----------------------------------------------------------------------


@dataclass(slots=True)
class Tally:
    """What one run has seen.

    Attributes:
        run: marks the messages of this run; others are left alone.
        received: how often each of our messages came.
    """

    wanted: int
    run: str = field(default_factory=lambda: uuid.uuid4().hex)
    sent: int = 0
    received: Counter[int] = field(default_factory=Counter)
    of_others: int = 0

    @property
    def done(self) -> bool:
        """Whether every message came, once or more."""
        return len(self.received) == self.wanted

    @property
    def once(self) -> bool:
        """Whether every message came exactly once."""
        return self.done and self.received.total() == self.wanted


class Worker:
    """Sends and receives over one client, several requests at a time."""

    def __init__(
        self, http: httpx.AsyncClient, credentials: Credentials, tally: Tally
    ) -> None:
        self._http = http
        self._credentials = credentials
        self._tally = tally

    async def work(self, concurrency: int) -> None:
        """Send and receive until every message came."""
        try:
            await self._send_and_receive(concurrency)
        except ExceptionGroup as several:  # one is enough to know
            raise several.exceptions[0] from None
        while await self._receive(wait=0):
            pass  # what comes twice shows itself here

    async def _send_and_receive(self, concurrency: int) -> None:
        numbers = iter(range(self._tally.wanted))
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(self._send(numbers))
            receivers = [
                group.create_task(self._receive_all()) for _ in range(concurrency)
            ]
            await asyncio.wait(receivers, return_when=asyncio.FIRST_COMPLETED)
            for receiver in receivers:  # the others wait for what nobody sends
                receiver.cancel()

    async def _send(self, numbers: Iterator[int]) -> None:
        for number in numbers:  # shared: each number goes to one sender
            await self._ask(
                "POST",
                self._credentials.send_url,
                expected={201},
                json={"run": self._tally.run, "number": number},
            )
            self._tally.sent += 1

    async def _receive_all(self) -> None:
        while not self._tally.done:
            await self._receive(wait=POLL_SECONDS)

    async def _receive(self, wait: int) -> bool:
        """Receive one message, acknowledge it if it is ours; False: there was none."""
        answer = await self._ask(
            "POST",
            self._credentials.receive_url,
            expected={200, 204},
            params={"wait": wait},
        )
        if answer.status_code == httpx.codes.NO_CONTENT:
            return False
        message = answer.json()
        if not isinstance(message, dict) or message.get("run") != self._tally.run:
            self._tally.of_others += 1  # its lease runs out, then others get it
            return True
        await self._ask(
            "DELETE",
            f"{self._credentials.send_url}/{answer.headers['Message-Id']}",
            expected={204, 409},  # 409: too late, it comes again and counts twice
            params={"receipt": answer.headers["Message-Receipt"]},
        )
        self._tally.received[message["number"]] += 1
        return True

    async def _ask(
        self, method: str, url: str, *, expected: set[int], **request: Any
    ) -> httpx.Response:
        while True:
            answer = await self._http.request(method, url, **request)
            if answer.status_code in expected:
                return answer
            if answer.status_code not in TRY_AGAIN:
                kind, why = REFUSALS.get(
                    answer.status_code,
                    (QueueTrouble, f"The queue answered {answer.status_code}."),
                )
                raise kind(why)
            await asyncio.sleep(RETRY_SECONDS)


async def run(
    options: argparse.Namespace,
    environ: Mapping[str, str],
    stdin: TextIO,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
) -> int:
    """Do the work and print what came of it.

    Args:
        transport: how requests travel; None is the network.

    Returns:
        The exit status.
    """
    tally = Tally(options.messages)
    began = time.monotonic()
    try:
        credentials = find_credentials(options.credentials, environ, stdin)
        async with (
            asyncio.timeout(options.timeout),
            httpx.AsyncClient(
                headers={"Authorization": f"Bearer {credentials.token}"},
                timeout=POLL_SECONDS + 30,
                transport=transport,
            ) as http,
        ):
            await Worker(http, credentials, tally).work(options.concurrency)
    except (CannotStart, httpx.InvalidURL, httpx.UnsupportedProtocol) as problem:
        return _stop(2, str(problem))
    except TokenRefused as problem:
        return _stop(3, str(problem), tally)
    except QueueTrouble as problem:
        return _stop(1, str(problem), tally)
    except TimeoutError:
        return _stop(1, f"Not done after {options.timeout:g} seconds.", tally)
    except httpx.HTTPError as problem:
        kind = type(problem).__name__
        return _stop(1, f"The queue cannot be reached ({kind}).", tally)
    print(f"{_summary(tally)} in {time.monotonic() - began:.1f} s")
    return 0 if tally.once else 1


def _stop(status: int, why: str, tally: Tally | None = None) -> int:
    print(f"worker_app: {why}", file=sys.stderr)
    if tally is not None:
        print(_summary(tally))
    return status


def _summary(tally: Tally) -> str:
    again = tally.received.total() - len(tally.received)
    parts = [
        f"sent {tally.sent} of {tally.wanted}",
        f"received {len(tally.received)}",
        f"received again {again}",
    ]
    if tally.of_others:
        parts.append(f"left to others {tally.of_others}")
    return ", ".join(parts)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Send messages and receive each once.")
    parser.add_argument("--messages", type=_count, default=1000, metavar="N")
    parser.add_argument("--concurrency", type=_count, default=8, metavar="N")
    parser.add_argument("--timeout", type=float, default=120, metavar="SECONDS")
    parser.add_argument(
        "--credentials",
        metavar="DIR|FILE|-",
        help="a mounted Secret, or JSON with the credentials in it",
    )
    return parser.parse_args(argv)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    return asyncio.run(run(_arguments(argv), os.environ, sys.stdin))


if __name__ == "__main__":
    sys.exit(main())

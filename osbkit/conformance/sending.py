"""HTTP to the broker: one request, one exchange; nothing is judged here.

What is sent is what the caller says, to the byte where it says bytes: paths go out as
they are written (`%2F`, doubled slashes), headers can be left out, bodies can be no
JSON. Redirects are not followed: platforms do not, either.

Units: seconds.
"""

import asyncio
import json as json_module
import uuid
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any
from urllib.parse import urlencode

import httpx

from osbkit.conformance.exchange import Exchange

VERSION = "X-Broker-API-Version"
IDENTITY = "X-Broker-API-Originating-Identity"
REQUEST_ID = "X-Broker-API-Request-Identity"
NOTHING = object()  # no JSON body; None would be `null`
AGENT = b"osb-conformance"


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """Basic, bearer, or nothing.

    Attributes:
        user, password: of HTTP basic authentication.
        token: of a bearer.
    """

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)

    @property
    def header(self) -> str | None:
        """The value of `Authorization`; None without a credential."""
        if self.token is not None:
            return f"Bearer {self.token}"
        if self.user is not None:
            return basic(self.user, self.password or "")
        return None

    @property
    def secrets(self) -> list[str]:
        """What must be shown nowhere."""
        header = self.header or ""
        encoded = header.partition(" ")[2]
        return [each for each in (self.password, self.token, encoded) if each]


def basic(user: str, password: str) -> str:
    """The value of `Authorization` for HTTP basic authentication."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


class Connection:
    """A broker at the other end, asked as one platform.

    Args:
        url: the broker's root, without `/v2`; a path prefix stays.
        transport: instead of a network, in tests.
        clock: seconds; measures the answers.
        timeout: for one request.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        *,
        version: str = "2.17",
        verify: Any = True,
        timeout: float = 65.0,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.url = httpx.URL(url)
        self.credentials = credentials
        self.version = version
        self._prefix = self.url.raw_path.partition(b"?")[0].rstrip(b"/")
        self._clock = clock
        self._timeout = httpx.Timeout(timeout)
        self._usual = (
            ("Host", self.url.netloc),
            ("User-Agent", AGENT),
            ("Accept", b"application/json"),
            ("Accept-Encoding", b"gzip"),
        )
        self._http = httpx.AsyncClient(
            verify=verify,
            transport=transport,
            trust_env=False,
            limits=httpx.Limits(max_connections=64, keepalive_expiry=5.0),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | None] | str | None = None,
        json: Any = NOTHING,
        content: bytes | None = None,
        headers: Mapping[str, str | bytes | None] | None = None,
        within: float | None = None,
    ) -> Exchange:
        """Send one request; whatever comes back is in the exchange.

        Args:
            path: from `/v2` on, its ids percent-encoded.
            query: names and values, those that are None left out; or the raw text.
            json: the body as a value.
            content: the body as bytes, instead.
            headers: replace the usual ones; None leaves one out.
            within: seconds for this request alone.
        """
        raw_query = query if isinstance(query, str) else _encoded(query or {})
        body = content if content is not None else _body(json)
        named = self._headers(body, headers or {})
        seen = Exchange(
            method=method,
            path=path,
            query=raw_query,
            sent=body,
            sent_headers=tuple(
                (name, value.decode("latin-1")) for name, value in named.items()
            ),
            authenticated=named.get("Authorization") == self._authorization(),
        )
        await self._exchange(seen, named, within)
        return seen

    async def _exchange(
        self, seen: Exchange, headers: Mapping[str, bytes], within: float | None
    ) -> None:
        request = self._request(seen, headers, within)
        began = self._clock()
        try:
            response = await self._http.send(request, follow_redirects=False)
        except httpx.TimeoutException:
            seen.trouble = "it did not come in time"
        except httpx.HTTPError as error:
            seen.trouble = f"the connection failed ({type(error).__name__})"
        except asyncio.CancelledError:
            seen.trouble = "the kit was stopped"
            raise
        else:
            seen.status = response.status_code
            seen.headers = response.headers
            seen.body = response.content
        finally:
            seen.seconds = self._clock() - began

    def _request(
        self, seen: Exchange, headers: Mapping[str, bytes], within: float | None
    ) -> httpx.Request:
        query = f"?{seen.query}" if seen.query else ""
        target = self._prefix + f"{seen.path}{query}".encode()
        timeout = self._timeout if within is None else httpx.Timeout(within)
        taken = {name.lower() for name in headers}
        usual = [pair for pair in self._usual if pair[0].lower() not in taken]
        request = httpx.Request(
            seen.method,
            self.url.copy_with(raw_path=target),
            headers=[
                (name.encode(), value) for name, value in [*usual, *headers.items()]
            ],
            content=seen.sent or None,
            # the target as it is: httpx would tidy it
            extensions={"timeout": timeout.as_dict(), "target": target},
        )
        if not seen.sent:
            request.headers.pop("Content-Type", None)
        return request

    def _headers(
        self, body: bytes, changed: Mapping[str, str | bytes | None]
    ) -> dict[str, bytes]:
        usual: dict[str, str | bytes | None] = {
            VERSION: self.version,
            REQUEST_ID: str(uuid.uuid4()),
        }
        if (authorization := self._authorization()) is not None:
            usual["Authorization"] = authorization
        if body:
            usual["Content-Type"] = "application/json"
        lower = {name.lower() for name in changed}
        kept = {
            name: value for name, value in usual.items() if name.lower() not in lower
        }
        return {
            name: value if isinstance(value, bytes) else value.encode()
            for name, value in {**kept, **changed}.items()
            if value is not None
        }

    def _authorization(self) -> bytes | None:
        header = self.credentials.header
        return None if header is None else header.encode()


def _encoded(query: Mapping[str, str | None]) -> str:
    return urlencode({key: each for key, each in query.items() if each is not None})


def _body(value: Any) -> bytes:
    if value is NOTHING:
        return b""
    return json_module.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")

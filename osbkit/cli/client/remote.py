"""A broker at the other end of HTTP: one request, one answer.

Knows headers, authentication and what can go wrong on the way; not what the
answers mean. Synchronous on purpose: a command waits for one answer at a time,
and nothing else runs beside it. Redirects are not followed: a PUT would become a
GET, and credentials would go where nobody sent them.

Units: seconds. Spec: "Headers", "Platform to Service Broker Authentication".
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import quote

import httpx

from osbkit.cli.terminal import Problem, Unusable

Json = dict[str, Any]
DEFAULT_URL = "http://127.0.0.1:8080"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Which broker, and as whom.

    Attributes:
        url: its root, without `/v2`; a path prefix stays.
        user, password, token: Basic, or bearer, or neither.
        api_version: sent as X-Broker-API-Version.
        timeout: seconds for one request.
    """

    url: str = DEFAULT_URL
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    api_version: str = "2.17"
    timeout: float = 60.0

    @classmethod
    def given(
        cls,
        *,
        user: str | None,
        password: str | None,
        token: str | None,
        **more: Any,
    ) -> Self:
        """As a command line and the environment give it: what is empty is left out.

        Args:
            more: the other attributes, as they are.
        """
        return cls(
            user=user or None,
            password=password or None,
            token=token.strip() if token else None,
            **more,
        )

    @property
    def anonymous(self) -> bool:
        """Whether no credential goes with the requests."""
        return self.user is None and self.token is None

    def checked(self, *, url_is: str = "--url") -> "Target":
        """Itself, if requests can be made with it.

        Args:
            url_is: what the command calls the URL.

        Raises:
            Unusable: naming the option that cannot be used, and not its value
                where that is a secret.
        """
        _check_url(self.url, url_is)
        if self.user is not None and self.token is not None:
            raise Unusable(
                "A user and a token were both given.",
                hint="Leave one out; look at OSB_USER and OSB_TOKEN, too.",
            )
        if (self.user is None) != (self.password is None):
            missing = "--user (OSB_USER)" if self.user is None else "--password"
            raise Unusable(
                f"Basic authentication needs {missing} as well.",
                hint="The password is better given as OSB_PASSWORD than typed.",
            )
        if self.token is not None and not _fits_a_header(self.token):
            raise Unusable("The token holds characters that no header can carry.")
        if not _fits_a_header(self.api_version):
            raise Unusable("--api-version must look like 2.17.")
        return self


def _check_url(url: str, url_is: str) -> None:
    option = f"{url_is} " if url_is.startswith("-") else ""
    example = f"For example: {option}{DEFAULT_URL}"
    try:
        parsed = httpx.URL(url)
        parsed.host.encode("idna")  # the resolver would raise what nobody catches
    except (httpx.InvalidURL, UnicodeError) as error:
        raise Unusable(f"{url_is} is not a valid URL.", hint=example) from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise Unusable(f"{url_is} must begin with http:// or https://.", hint=example)
    if parsed.userinfo:
        raise Unusable(
            f"{url_is} must not hold a user or a password.",
            hint="Use --user and --password, or OSB_USER and OSB_PASSWORD.",
        )
    if parsed.port is not None and not 1 <= parsed.port <= 65535:
        raise Unusable(f"{url_is} names a port that cannot be.", hint=example)
    if parsed.query or parsed.fragment:
        raise Unusable(f"{url_is} must end before any ? or #.", hint=example)


def _fits_a_header(text: str) -> bool:
    return text.isascii() and text.isprintable() and text == text.strip() != ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back.

    Attributes:
        body: the JSON object, or None when the body was something else.
        retry_after: seconds, or None; a date there counts as none.
        location: of a redirect.
    """

    status: int
    body: Json | None = field(repr=False)
    retry_after: int | None = None
    location: str | None = None
    content_type: str = ""
    request_id: str = ""

    @property
    def phrase(self) -> str:
        """The status with its name: `409 Conflict`."""
        try:
            return f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            return str(self.status)

    def text(self, key: str) -> str | None:
        """A field of the body, if it is a text that says something."""
        value = (self.body or {}).get(key)
        return value if isinstance(value, str) and value else None


class Unreachable(Problem):
    """No answer came: nobody listens, the time ran out, the connection broke."""


class Remote:
    """A broker, ready to be asked. Close it, or use it in a `with`."""

    def __init__(
        self, target: Target, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.target = target
        self.request_id = str(uuid.uuid4())  # one for all requests of a command
        headers = {
            "X-Broker-API-Version": target.api_version,
            "X-Broker-API-Request-Identity": self.request_id,
            "Accept": "application/json",
        }
        auth = None
        if target.token is not None:
            headers["Authorization"] = f"Bearer {target.token}"
        elif target.user is not None:
            auth = httpx.BasicAuth(target.user, target.password or "")
        self._http = httpx.Client(
            auth=auth, headers=headers, timeout=target.timeout, transport=transport
        )

    def __enter__(self) -> "Remote":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
    ) -> Answer:
        """Send one request; any status is an answer.

        Args:
            path: from `/v2` on, its ids percent-encoded (`instance_path`).

        Raises:
            Unreachable: there is no answer.
        """
        url = self.target.url.rstrip("/") + path
        try:
            response = self._http.request(
                method, url, params=dict(query) if query else None, json=body
            )
        except httpx.TimeoutException as error:
            raise self._too_slow() from error
        except httpx.ConnectError as error:
            raise self._nobody_there(str(error)) from error
        except httpx.HTTPError as error:
            raise Unreachable(
                f"The connection to {self.target.url} broke before the answer came.",
                hint="The same command may be given again: a broker recognises a"
                " repeated request.",
            ) from error
        return self._answer(response)

    def _answer(self, response: httpx.Response) -> Answer:
        try:
            body = response.json()
        except (ValueError, RecursionError):
            body = None
        wait = response.headers.get("Retry-After", "")
        return Answer(
            status=response.status_code,
            body=body if isinstance(body, dict) else None,
            retry_after=int(wait) if wait.isdecimal() and len(wait) < 10 else None,
            location=response.headers.get("Location"),
            content_type=response.headers.get("Content-Type", "no content type"),
            request_id=self.request_id,
        )

    def _too_slow(self) -> Unreachable:
        return Unreachable(
            f"{self.target.url} did not answer within {self.target.timeout:g} s.",
            hint="The broker may still be at work. Give the same command again to"
            " learn how it ended, or raise --timeout.",
        )

    def _nobody_there(self, reason: str) -> Unreachable:
        if "CERTIFICATE" in reason.upper():
            hint = (
                "The broker's certificate is not trusted here. SSL_CERT_FILE may name"
                " the authority that signed it."
            )
        else:
            hint = (
                "Is the broker running, and is --url (OSB_URL) right?"
                " `osbkit serve MODULE:ATTR` starts one."
            )
        return Unreachable(
            f"There is no connection to {self.target.url}.",
            details=[("reason", reason)] if reason else [],
            hint=hint,
        )


def instance_path(instance_id: str, binding_id: str | None = None) -> str:
    """The path of an instance, or of one of its bindings.

    Raises:
        Unusable: an id that cannot stand in a path.
    """
    path = f"/v2/service_instances/{_segment(instance_id)}"
    if binding_id is None:
        return path
    return f"{path}/service_bindings/{_segment(binding_id)}"


def _segment(an_id: str) -> str:
    if an_id in {"", ".", ".."}:
        raise Unusable(
            "An id must not be empty or made of dots.",
            hint="A GUID is usual: python -c 'import uuid; print(uuid.uuid4())'",
        )
    return quote(an_id, safe="")

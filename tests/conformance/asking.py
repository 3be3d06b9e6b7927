"""What platforms ask for, and what may be asked: plans, requests, their fields.

    PLANS            the catalog of `model`
    Request          one request, with the headers that count
    malformed(...)   whether it is "malformed or missing mandatory data"
    refusal_at_gate  whether it is refused before anybody looks at what it asks

Written from the tables of the specification's "Request" sections and from
docs/specification.md; it imports nothing of osbkit and knows of no broker. How a
request is answered is the affair of `model`, what an answer holds that of `expected`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Json = dict[str, Any]
Mode = Literal["sync", "async", "auto"]
PLATFORMS = ("cf", "k8s")
SECRET = "unheard-of-7c1f"  # stands in wrong values; no answer may repeat it


# --- the catalog ------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A plan, and what its offering says of it.

    Attributes:
        version: of its maintenance_info when the broker starts; None for none.
        contexts: `allow_context_updates` of its offering.
        apart: it is served by another backend than the rest of its offering.
        needs_app: it binds applications only.
    """

    name: str
    offering: str = "queue"
    mode: Mode = "auto"
    bind_mode: Mode = "auto"
    version: str | None = "1.0.0"
    bindable: bool = True
    updateable: bool = True
    rotatable: bool = True
    retrievable: bool = True
    contexts: bool = True
    apart: bool = False
    needs_app: bool = False
    fails: bool = False

    @property
    def binds(self) -> Mode:
        """What cannot be fetched is answered inline, or nobody would ever see it."""
        inline = self.bind_mode == "auto" and not self.retrievable
        return "sync" if inline else self.bind_mode


PLANS = {
    plan.name: plan
    for plan in (
        Plan(name="sync", mode="sync", bind_mode="sync"),
        Plan(name="async", mode="async", bind_mode="async", version="1.1.0"),
        Plan(name="auto", version="1.2.0+build.7"),
        Plan(name="polled", mode="async", version=None),
        Plan(name="fixed", updateable=False, rotatable=False),
        Plan(name="unbindable", bindable=False, rotatable=False, version=None),
        Plan(name="failing", mode="async", bind_mode="async", fails=True),
        Plan(name="apps", apart=True, needs_app=True),
        Plan(
            name="plain",
            offering="other",
            version=None,
            rotatable=False,
            retrievable=False,
            contexts=False,
        ),
    )
}


# --- requests ---------------------------------------------------------------------

Verb = Literal[
    "provision",
    "update",
    "deprovision",
    "fetch",
    "poll",
    "bind",
    "unbind",
    "fetch_binding",
    "poll_binding",
]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request of a platform.

    Attributes:
        body: of a GET or a DELETE its query.
        raw: sent in place of the body, which it makes unreadable.
        flag: whether `accepts_incomplete` is "true".
        no_flag: what it is if it is not; None leaves it out.
        version: X-Broker-API-Version; None leaves it out.
        identity: X-Broker-API-Request-Identity, likewise.
        user: X-Broker-API-Originating-Identity, likewise. It decides nothing.
    """

    verb: Verb
    platform: str
    instance: str
    binding: str | None = None
    body: Json = field(default_factory=dict)
    raw: str | None = None
    flag: bool = False
    no_flag: str | None = None
    version: str | None = "2.17"
    identity: str | None = field(default=None, repr=False)
    user: str | None = None

    @property
    def echo(self) -> str | None:
        """What is sent back of its identity. Spec: "Request Identity"."""
        known = self.identity or ""
        return known if 1 <= len(known) <= 1024 else None

    @property
    def minor(self) -> int:
        """Of its version; what is newer than 2.17 is served as that."""
        named = re.fullmatch(r"2\.(\d+)", self.version or "")
        return min(int(named[1]), 17) if named else 17


def refusal_at_gate(request: Request) -> int | None:
    """The status of a request that is not looked at; None if it is.

    Spec: "Platform to Service Broker Authentication", "API Version Header".
    """
    if request.platform not in PLATFORMS:
        return 401
    if request.version is None:
        return 400
    if request.version == "":
        return 412
    named = re.fullmatch(r"(\d+)\.(\d+)", request.version)
    if named is None:
        return 400
    return None if named[1] == "2" and int(named[2]) >= 11 else 412


# --- the fields of a request ------------------------------------------------------

Fits = Callable[[Any], bool]


def text(value: Any) -> bool:
    """A string."""
    return isinstance(value, str)


def words(value: Any) -> bool:
    """A string that is not empty."""
    return isinstance(value, str) and value != ""


def texts_in(*names: str) -> Fits:
    """An object in which these are strings, if they are there."""

    def fits(value: Any) -> bool:
        return isinstance(value, dict) and all(
            value.get(name) is None or text(value[name]) for name in names
        )

    return fits


an_object = texts_in()
FIELDS: dict[str, dict[str, Fits]] = {
    "provision": {
        "service_id": words,
        "plan_id": words,
        "organization_guid": words,
        "space_guid": words,
        "context": an_object,
        "parameters": an_object,
        "maintenance_info": texts_in("version"),
    },
    "update": {
        "service_id": words,
        "plan_id": words,
        "context": an_object,
        "parameters": an_object,
        "previous_values": texts_in(
            "service_id", "plan_id", "organization_id", "space_id"
        ),
        "maintenance_info": texts_in("version"),
    },
    "bind": {
        "service_id": words,
        "plan_id": words,
        "context": an_object,
        "app_guid": text,  # empty is absent
        "bind_resource": texts_in("app_guid", "route"),
        "parameters": an_object,
        "predecessor_binding_id": words,
    },
    "deprovision": {"service_id": words, "plan_id": words},
    "unbind": {"service_id": words, "plan_id": words},
}
"""The specification's tables. Null is absent; what is not named here is an extension
and ignored. Of GETs nothing counts."""
NEEDED: dict[str, tuple[str, ...]] = {
    "provision": ("service_id", "plan_id", "organization_guid", "space_guid"),
    "update": ("service_id",),
    "bind": ("service_id", "plan_id"),
    "deprovision": ("service_id", "plan_id"),
    "unbind": ("service_id", "plan_id"),
}


def malformed(request: Request) -> bool:
    """Whether a request is "malformed or missing mandatory data".

    A rotation needs no ids: its predecessor has them.
    """
    if request.raw is not None:
        return True
    body = request.body
    rotates = request.verb == "bind" and body.get("predecessor_binding_id") is not None
    needed = () if rotates else NEEDED.get(request.verb, ())
    return any(body.get(name) is None for name in needed) or any(
        body.get(name) is not None and not fits(body[name])
        for name, fits in FIELDS.get(request.verb, {}).items()
    )


def fits(parameters: Json, *, change: bool = False) -> bool:
    """Whether parameters are as the schema of every plan says.

    Args:
        change: those of an update, in which null removes one, whatever its name.
    """
    given = {
        name: value
        for name, value in parameters.items()
        if not (change and value is None)
    }
    size, color = given.get("size", 1), given.get("color", "red")
    return (
        given.keys() <= {"size", "color"}
        and type(size) is int
        and size in range(1, 10)
        and color in ("red", "green")
    )


def fits_binding(parameters: Json) -> bool:
    """The same of a binding's."""
    return parameters.keys() <= {"role"} and all(
        value in ("reader", "writer") for value in parameters.values()
    )


def version_of(body: Json) -> str | None:
    """The version of the maintenance_info that a request asks for."""
    version: str | None = (body.get("maintenance_info") or {}).get("version")
    return version


def app_of(body: Json) -> str | None:
    """The application of a bind: `bind_resource.app_guid` wins, empty is none."""
    resource = body.get("bind_resource") or {}
    return resource.get("app_guid") or body.get("app_guid") or None


def route_of(body: Json) -> str | None:
    """The route of a bind."""
    route: str | None = (body.get("bind_resource") or {}).get("route")
    return route


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(
            same(value, right[name]) for name, value in left.items()
        )
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)

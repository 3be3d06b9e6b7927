"""The three headers of the specification, and the ids in a path.

Spec: "API Version Header", "Originating Identity", "Request Identity",
"URL Properties".
"""

import base64
import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from pydantic_core import from_json

from osbkit.catalog.json_text import flaws
from osbkit.domain import Identity
from osbkit.errors import Malformed, NotThere, VersionUnsupported

Version = tuple[int, int]
OLDEST: Version = (2, 11)
NEWEST: Version = (2, 17)
VERSION = re.compile(rb"([0-9]{1,9})\.([0-9]{1,9})")
LONGEST_ID = 255
LONGEST_IDENTITY = 64 * 1024
ECHO = b"x-broker-api-request-identity"
PRINTABLE = re.compile(rb"[\x20-\x7e\x80-\xff]{1,1024}")
STANDARD = bytes.maketrans(b"-_", b"+/")  # some encode for URLs
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


@lru_cache(maxsize=256)
def version_of(value: bytes | None) -> Version:
    """The API version of a client, judged right after authentication.

    Raises:
        Malformed: 400, absent or not `MAJOR.MINOR`.
        VersionUnsupported: 412, empty or another than 2.11 to 2.x.
    """
    if value is None:
        raise Malformed("The header X-Broker-API-Version is required; send 2.17.")
    text = value.strip()
    if text == b"":
        raise VersionUnsupported("The header X-Broker-API-Version is empty; send 2.17.")
    match = VERSION.fullmatch(text)
    if match is None:
        raise Malformed(
            "The header X-Broker-API-Version must be MAJOR.MINOR; send 2.17."
        )
    major, minor = int(match[1]), int(match[2])
    if major != OLDEST[0] or minor < OLDEST[1]:
        raise VersionUnsupported(
            "This broker speaks versions 2.11 to 2.17 of the Open Service Broker API;"
            " send X-Broker-API-Version: 2.17."
        )
    return major, minor


def identity_of(value: bytes | None) -> Identity | None:
    """Whom the platform says it acts for; None where it says nothing readable.

    The header proves nothing, so one that cannot be read refuses nothing.
    """
    if value is None or len(value) > LONGEST_IDENTITY:
        return None
    platform, _, encoded = value.strip().partition(b" ")
    text = encoded.strip()
    try:
        padded = text.translate(STANDARD) + b"=" * (-len(text) % 4)
        raw = base64.b64decode(padded, validate=True)
        said = from_json(raw)
        name = platform.decode("ascii")
    except ValueError:
        return None
    if not name or not isinstance(said, dict) or flaws(raw):
        return None
    return Identity(platform=name, value=said)


def echoable(value: bytes) -> bool:
    """Whether a request identity may be sent back as it came."""
    return PRINTABLE.fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names.

    Attributes:
        path: the path with each id replaced by `-`: what the router matches.
    """

    path: str
    instance_id: str = ""
    binding_id: str = ""


UNKNOWN = "There is no such path in the Open Service Broker API."
CATALOG = Target("/v2/catalog")


def target_of(raw: bytes) -> Target:
    """Read a raw path: split first, decoded after, so `%2F` is part of an id.

    Leading double slashes and one trailing slash are tolerated.

    Raises:
        NotThere: no path of the API.
        Malformed: an id that is empty, too long, not UTF-8, or holds control
            characters.
    """
    path = raw[:-1] if raw.endswith(b"/") else raw
    parts = path.lstrip(b"/").split(b"/")
    match parts:
        case [b"v2", b"catalog"]:
            return CATALOG
        case [b"v2", b"service_instances", instance]:
            return Target("/v2/service_instances/-", id_of(instance, "instance"))
        case [b"v2", b"service_instances", instance, b"last_operation"]:
            return Target(
                "/v2/service_instances/-/last_operation", id_of(instance, "instance")
            )
        case [b"v2", b"service_instances", instance, b"service_bindings", binding]:
            return Target(
                "/v2/service_instances/-/service_bindings/-",
                id_of(instance, "instance"),
                id_of(binding, "binding"),
            )
        case [
            b"v2",
            b"service_instances",
            instance,
            b"service_bindings",
            binding,
            b"last_operation",
        ]:
            return Target(
                "/v2/service_instances/-/service_bindings/-/last_operation",
                id_of(instance, "instance"),
                id_of(binding, "binding"),
            )
    raise NotThere(UNKNOWN)


def id_of(part: bytes, what: str) -> str:
    """One id of a path, decoded. Spec: "URL Properties".

    Raises:
        Malformed: as `target_of`.
    """
    try:
        text = unquote_to_bytes(part).decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed(f"The {what} id in the path is not valid UTF-8.") from None
    if not text or len(text) > LONGEST_ID or CONTROL.search(text):
        raise Malformed(
            f"The {what} id in the path must have 1 to {LONGEST_ID} characters and no"
            " control characters."
        )
    return text

"""Labelled credentials, and the YAML file they stand in.

    credentials:
      - label: cf-prod                  # the name in logs
        platform: cf-eu10               # owner of every row this caller makes
        basic: {user: broker, password_hash: "$argon2id$…"}
        offerings: [queue]              # optional: names or ids it may see
      - label: cluster
        platform: k8s-a
        bearer: {token_hash: "sha256:…"}

`read` takes the file's bytes, `Watch` reads a file again when it changes,
`new_credential` is what `osbkit credentials new` calls. The hashes are made and
checked in `osbkit.api.hashes`; who may pass is judged in `osbkit.api.auth`. No
error text repeats a value of the file.

Units: spans are seconds of a monotonic clock.
"""

import asyncio
import re
import secrets
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from osbkit.api.hashes import CONTROL, hash_password, is_slow_hash
from osbkit.domain import Caller
from osbkit.errors import SettingsInvalid

FILE_BYTES = 1024 * 1024
LOOK_EVERY = 1.0

Kind = Literal["basic", "bearer"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_NAME_RULE = "must be 1 to 63 letters, digits and . _ -, a letter or digit first"
_SHA256 = re.compile(r"sha256:([0-9a-fA-F]{64})")

_TWICE = "a key that comes twice"
_ENTRY_KEYS = ("label", "platform", "basic", "bearer", "offerings")
_PLAIN = {
    "password": "keeps a password readable: put its hash under password_hash"
    " (`osbkit credentials hash` makes one)",
    "token": "keeps a token readable: put its hash under token_hash"
    " (`osbkit credentials new` makes a token with its hash)",
}


@dataclass(frozen=True, slots=True)
class Credential:
    """One secret that proves one caller.

    Attributes:
        caller: who it proves.
        user: the user name of a Basic credential; None for a bearer token.
        digest: SHA-256 of a secret that nobody can guess, else empty.
        slow: an argon2id or bcrypt hash, else empty.
    """

    caller: Caller
    user: str | None
    digest: bytes = field(default=b"", repr=False)
    slow: str = field(default="", repr=False)


class NewCredential(NamedTuple):
    """A secret to be shown once, and the entry that stands for it in the file."""

    secret: str
    snippet: str

    def __repr__(self) -> str:
        return "NewCredential(…)"


def new_credential(
    label: str,
    platform: str,
    kind: Kind,
    *,
    user: str | None = None,
    offerings: Iterable[str] = (),
) -> NewCredential:
    """Make a random secret and the entry that lets it pass.

    Args:
        user: of a Basic credential; the label when not given.

    Raises:
        SettingsInvalid: a label, platform, user or offering that does not fit.
    """
    secret = secrets.token_urlsafe(32)
    stored = hash_password(secret, "sha256")
    entry: dict[str, Any] = {"label": label, "platform": platform}
    if kind == "basic":
        entry["basic"] = {"user": user or label, "password_hash": stored}
    else:
        entry["bearer"] = {"token_hash": stored}
    if seen := list(offerings):
        entry["offerings"] = seen
    snippet = yaml.safe_dump([entry], sort_keys=False, allow_unicode=True, width=200)
    read(f"credentials:\n{snippet}".encode())
    return NewCredential(secret, snippet)


# --- the file -------------------------------------------------------------------


def load(path: Path) -> tuple[Credential, ...]:
    """Read a credentials file; blocks on the disk.

    Raises:
        SettingsInvalid: unreadable, or every finding in it.
    """
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES + 1)
    except OSError as error:
        raise SettingsInvalid(
            f"OSBKIT_CREDENTIALS_FILE {path} cannot be read ({error.strerror}): name a"
            " file that this process may read."
        ) from error
    return read(content)


def read(content: bytes) -> tuple[Credential, ...]:
    """Read the text of a credentials file.

    Every scalar is text, whatever YAML would make of it. An empty list is valid:
    it revokes every credential of the file.

    Raises:
        SettingsInvalid: every finding on a line of its own, with its path and fix.
    """
    findings: list[str] = []
    credentials = _credentials(content, findings)
    if findings:
        lines = "\n".join(f"  - {finding}." for finding in findings)
        raise SettingsInvalid(f"The credentials file cannot be used.\n{lines}")
    return credentials


class Watch:
    """One credentials file: whether it has changed, and what it says.

    A change is a new inode, size or time; they are looked at once a second at
    most. Replace the file in one step (rename, as Kubernetes does for a mounted
    Secret), or half of it may be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._signature: Hashable = None
        self._stale = True
        self._look_at = 0.0

    def stale(self, now: float) -> bool:
        """Whether the file must be read (again). A stat at most, once a second."""
        if not self._stale and now >= self._look_at:
            self._look_at = now + LOOK_EVERY
            self._stale = _signature(self.path) != self._signature
        return self._stale

    async def read(self, now: float) -> tuple[Credential, ...]:
        """Read the file in a thread. It is stale again only after a change.

        Raises:
            SettingsInvalid: as `load`; the same content is not tried again.
        """
        signature, outcome = await asyncio.to_thread(_look_and_load, self.path)
        self._signature = signature
        self._stale = False
        self._look_at = now + LOOK_EVERY
        if isinstance(outcome, SettingsInvalid):
            raise outcome
        return outcome


def _look_and_load(
    path: Path,
) -> tuple[Hashable, tuple[Credential, ...] | SettingsInvalid]:
    """Look first: what changes while we read is then seen at the next look."""
    signature = _signature(path)
    try:
        return signature, load(path)
    except SettingsInvalid as refused:
        return signature, refused


def _signature(path: Path) -> Hashable:
    """What changes with the file; None where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return (
        stat.st_dev,
        stat.st_ino,
        stat.st_size,
        stat.st_mtime_ns,
        stat.st_ctime_ns,
    )


# --- its grammar ----------------------------------------------------------------


class _Text(yaml.BaseLoader):
    """YAML of text, lists and mappings only; a key that comes twice is an error."""

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, Any]:
        mapping = super().construct_mapping(node, deep=deep)
        if len(mapping) != len(node.value):
            raise yaml.MarkedYAMLError(_TWICE, problem_mark=node.start_mark)
        return mapping


def _credentials(content: bytes, findings: list[str]) -> tuple[Credential, ...]:
    tree = _tree(content, findings)
    if findings:
        return ()
    if not isinstance(tree, dict) or set(tree) != {"credentials"}:
        findings.append("the file must hold one key, credentials, with a list")
        return ()
    entries = tree["credentials"]
    if not isinstance(entries, list):
        findings.append("credentials must be a list; [] lets nobody pass")
        return ()
    read_in = [
        _entry(f"credentials[{place}]", entry, findings)
        for place, entry in enumerate(entries)
    ]
    credentials = tuple(credential for credential in read_in if credential is not None)
    findings += _repeated(credentials)
    return credentials


def _tree(content: bytes, findings: list[str]) -> Any:
    """The parsed YAML. What the parser says stays unsaid: it may quote a secret."""
    if len(content) > FILE_BYTES:
        findings.append(f"the file is over {FILE_BYTES} bytes: is it the right one?")
        return None
    try:
        return yaml.load(content, Loader=_Text)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}" if mark else "the file"
        what = (
            "has a key twice: keep one"
            if error.context == _TWICE
            else "is not valid YAML: look at indentation, colons and quotes"
        )
        findings.append(f"{where} {what}")
    except (yaml.YAMLError, ValueError, RecursionError):
        findings.append("the file is not valid YAML in UTF-8")
    return None


def _entry(path: str, entry: Any, findings: list[str]) -> Credential | None:
    """One credential; None, with at least one finding, if something is wrong."""
    before = len(findings)
    fields = _mapping(path, entry, _ENTRY_KEYS, findings)
    if fields is None:
        return None
    label = _name(f"{path}.label", fields.get("label"), findings)
    platform = _name(f"{path}.platform", fields.get("platform"), findings)
    offerings = _offerings(f"{path}.offerings", fields.get("offerings"), findings)
    user, stored = _secret(path, fields, findings)
    if len(findings) > before:
        return None
    caller = Caller(label=label, platform=platform, offerings=offerings)
    if match := _SHA256.fullmatch(stored):
        return Credential(caller, user, digest=bytes.fromhex(match[1]))
    return Credential(caller, user, slow=stored)


def _secret(
    path: str, fields: Mapping[str, Any], findings: list[str]
) -> tuple[str | None, str]:
    """The user and the stored form, of `basic` or of `bearer`."""
    if ("basic" in fields) == ("bearer" in fields):
        findings.append(f"{path} must have either basic or bearer")
        return None, ""
    if "bearer" in fields:
        where = f"{path}.bearer"
        bearer = _mapping(where, fields["bearer"], ("token_hash",), findings)
        stored = bearer.get("token_hash") if bearer is not None else ""
        if bearer is not None and not _is_digest(stored):
            findings.append(
                f"{where}.token_hash must be sha256: and 64 hex digits"
                " (`osbkit credentials new` makes a token with its hash)"
            )
        return None, stored or ""
    where = f"{path}.basic"
    basic = _mapping(where, fields["basic"], ("user", "password_hash"), findings)
    if basic is None:
        return None, ""
    user, stored = basic.get("user"), basic.get("password_hash")
    if not _is_user(user):
        findings.append(
            f"{where}.user must be 1 to 255 characters without colon or control"
            " characters"
        )
    if not (_is_digest(stored) or is_slow_hash(stored)):
        findings.append(
            f"{where}.password_hash must be an argon2id or bcrypt hash"
            " (`osbkit credentials hash` makes one), or sha256: and 64 hex digits"
        )
    return user, stored or ""


def _mapping(
    path: str, value: Any, keys: tuple[str, ...], findings: list[str]
) -> Mapping[str, Any] | None:
    if not isinstance(value, dict):
        findings.append(f"{path} must be a mapping of {', '.join(keys)}")
        return None
    for key in value:
        if key in keys:
            continue
        near = get_close_matches(str(key), keys, n=1)
        if key in _PLAIN:
            findings.append(f"{path}.{key} {_PLAIN[key]}")
        elif near:
            findings.append(f"{path}.{key} is no key here: did you mean {near[0]}?")
        else:  # unsaid: by a slip of the quotes it may be a secret
            findings.append(f"{path} has a key besides {', '.join(keys)}: remove it")
    return value


def _name(path: str, value: Any, findings: list[str]) -> str:
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    findings.append(f"{path} {_NAME_RULE}")
    return ""


def _offerings(path: str, value: Any, findings: list[str]) -> frozenset[str] | None:
    if value is None:
        return None
    names = value if isinstance(value, list) else []
    if names and all(isinstance(name, str) and name for name in names):
        return frozenset(names)
    findings.append(
        f"{path} must list names or ids of offerings; leave it out to show all"
    )
    return None


def _is_user(value: Any) -> bool:
    """RFC 7617: no colon in a user-id, no control characters."""
    return (
        isinstance(value, str)
        and 1 <= len(value) <= 255
        and ":" not in value
        and not CONTROL.search(value)
    )


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _repeated(credentials: tuple[Credential, ...]) -> Iterator[str]:
    """Labels and secrets that would leave open who a caller is."""
    labels = Counter(credential.caller.label for credential in credentials)
    secret = Counter((c.user, c.digest, c.slow) for c in credentials)
    for label, times in labels.items():
        if times > 1:
            yield f"the label {label} is there {times} times: give each its own"
    for credential in credentials:
        held = secret.pop((credential.user, credential.digest, credential.slow), 1)
        if held > 1:
            yield (
                f"the secret of {credential.caller.label} is there {held} times:"
                " give each caller its own"
            )

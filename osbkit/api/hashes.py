"""The forms a secret is kept in: made, recognised, checked.

    kept as             for                            one check
    sha256:<64 hex>     a random secret of 256 bits    1 µs
    $argon2id$…         a password somebody chose      17 ms (m=19456, t=2, p=1)
    $2b$… (bcrypt)      the same, at most 72 bytes     200 ms (cost 12)

Through passlib's interface, from the distribution libpass: passlib 1.7.4 itself
fails on every bcrypt hash of today. Nothing here waits or knows of a request.
"""

import hashlib
import re
from importlib import metadata
from typing import Any, Literal

from passlib.hash import argon2 as _argon2
from passlib.hash import bcrypt

from osbkit.errors import SettingsInvalid

PASSWORD_BYTES = 4096  # passlib's own limit
BCRYPT_BYTES = 72
RANDOM_CHARACTERS = 32

Scheme = Literal["argon2id", "bcrypt", "sha256"]

argon2: Any = _argon2  # its stub leaves `using` untyped

CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # RFC 7617 forbids them
_BCRYPT = re.compile(r"\$2[aby]\$")
_ARGON2ID = re.compile(r"\$argon2id\$")


def refuse_plain_passlib() -> None:
    """Stop where passlib stands beside libpass.

    Both put their files into the same package, so which code runs is chance.

    Raises:
        SettingsInvalid: with the two commands that mend it.
    """
    try:
        metadata.distribution("passlib")
    except metadata.PackageNotFoundError:
        return
    raise SettingsInvalid(
        "The distribution passlib is installed beside libpass and overwrites its"
        " files: run `pip uninstall passlib libpass`, then `pip install libpass`."
    )


def digest_of(secret: bytes) -> bytes:
    """What is kept of a secret that cannot be guessed."""
    return hashlib.sha256(secret).digest()


def verify(password: bytes, stored: str) -> bool:
    """Check a password against an argon2id or bcrypt hash: 17 ms and more of CPU.

    False, too, for what the scheme cannot take: over 4,096 bytes, and for bcrypt
    over 72 bytes or with a NUL (bcrypt 5 raises ValueError there).
    """
    scheme = bcrypt if _BCRYPT.match(stored) else argon2
    try:
        return scheme.verify(password, stored)
    except ValueError:
        return False


def decoy(stored: str) -> str:
    """A hash that costs as much to check as `stored` and that nothing matches."""
    if _BCRYPT.match(stored):
        return stored[:29] + "." * 31  # prefix, cost and salt; 31 of checksum
    head, _, checksum = stored.rpartition("$")
    return f"{head}${'A' * len(checksum)}"


def warm_up() -> None:
    """One throw-away hash and verify of each scheme.

    libpass loads a scheme's code at its first use, and a verify whose method was
    looked up before that raises AssertionError; so do it before two threads can.
    """
    for cheap in (
        argon2.using(memory_cost=8, time_cost=1, parallelism=1),
        bcrypt.using(rounds=4),
    ):
        stored = cheap.hash("warm up")
        cheap.verify("warm up", stored)


def is_slow_hash(text: object) -> bool:
    """Whether it is a complete argon2id or bcrypt hash."""
    if not isinstance(text, str):
        return False
    if _BCRYPT.match(text):
        scheme = bcrypt
    elif _ARGON2ID.match(text):
        scheme = argon2
    else:
        return False
    try:
        return scheme.from_string(text).checksum is not None
    except ValueError:
        return False


def hash_password(password: str, scheme: Scheme = "argon2id") -> str:
    """The form in which a password or a random token goes into the file.

    Raises:
        SettingsInvalid: empty or with control characters; over 72 bytes for bcrypt;
            under 32 characters for sha256, which is for random secrets only.
    """
    secret = password.encode()
    if not secret:
        raise SettingsInvalid("The password is empty: give one.")
    if CONTROL.search(password):
        raise SettingsInvalid(
            "The password holds control characters, which Basic authentication does"
            " not carry: leave them out."
        )
    if len(secret) > PASSWORD_BYTES:
        raise SettingsInvalid(
            f"The password is over {PASSWORD_BYTES} bytes: take a shorter one."
        )
    if scheme == "sha256":
        if len(password) < RANDOM_CHARACTERS:
            raise SettingsInvalid(
                f"sha256 is for random secrets of {RANDOM_CHARACTERS} characters and"
                " more: take argon2id for a password."
            )
        return f"sha256:{digest_of(secret).hex()}"
    if scheme == "bcrypt":
        if len(secret) > BCRYPT_BYTES:
            raise SettingsInvalid(
                f"bcrypt takes at most {BCRYPT_BYTES} bytes: take argon2id."
            )
        return bcrypt.using(rounds=12).hash(secret)
    stored: str = argon2.using(
        type="ID", memory_cost=19456, time_cost=2, parallelism=1
    ).hash(secret)
    return stored

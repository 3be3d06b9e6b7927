"""Encryption at rest: AES-256-GCM under a ring of labelled keys.

    sealed = 1 | len(label) | label | nonce (12) | ciphertext and tag

The associated data is table, column and row uid, so a value that was moved to
another row or column does not open. The first key of the ring seals, all open.
A value is canonical JSON; `None` and `{}` are stored as NULL.
"""

import base64
import binascii
import json
import os
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from osbkit.errors import DatabaseUnusable, SettingsInvalid
from osbkit.store.entropy import random_bytes

_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)
FORMAT = 1
NONCE = 12
KEY = 32


def canonical(value: Any) -> str:
    """JSON text that is equal for equal values: sorted keys, no blanks."""
    return _ENCODER.encode(value)


class KeyRing:
    """Labelled keys of 32 bytes; the first one seals.

    Attributes:
        label: of the key that seals.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = {label: AESGCM(key) for label, key in keys.items()}
        self.label = next(iter(keys))
        self._head = bytes([FORMAT, len(self.label)]) + self.label.encode()

    @classmethod
    def from_text(cls, text: str) -> "KeyRing":
        """Read `label:base64,label:base64`.

        Raises:
            SettingsInvalid: no key, a label twice, or a key that is not 32 bytes
                of base64. The text itself is never part of the message.
        """
        keys: dict[str, bytes] = {}
        for number, part in enumerate(filter(None, text.split(",")), start=1):
            label, _, encoded = part.strip().partition(":")
            try:
                key = base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                key = b""
            if len(key) != KEY or not label or not label.isascii() or len(label) > 32:
                raise SettingsInvalid(
                    f"OSBKIT_ENCRYPTION_KEYS: entry {number} is not"
                    " `label:base64 of 32 bytes`; `osbkit keys new` prints one."
                )
            if label in keys:
                raise SettingsInvalid(
                    f"OSBKIT_ENCRYPTION_KEYS: the label of entry {number} is used"
                    " twice."
                )
            keys[label] = key
        if not keys:
            raise SettingsInvalid(
                "OSBKIT_ENCRYPTION_KEYS holds no key; `osbkit keys new` prints one."
            )
        return cls(keys)

    @property
    def labels(self) -> list[str]:
        """Of all keys, the one that seals in front."""
        return list(self._keys)

    def newest(self, blob: bytes) -> bool:
        """Whether a value is sealed with the first key."""
        return blob.startswith(self._head)

    def seal(self, value: Any, place: str, uid: str) -> bytes | None:
        """Encrypt a JSON value for one column of one row."""
        if value is None or value == {}:
            return None
        nonce = random_bytes(NONCE)
        text = canonical(value).encode()
        cipher = self._keys[self.label].encrypt(nonce, text, f"{place}/{uid}".encode())
        return self._head + nonce + cipher

    def open(self, blob: bytes | None, place: str, uid: str) -> Any:
        """Decrypt what `seal` made for the same place and row.

        Raises:
            DatabaseUnusable: no key of the ring opens it, or the value was
                changed or moved.
        """
        if blob is None:
            return None
        start = 2 + blob[1] if len(blob) > 1 and blob[0] == FORMAT else len(blob)
        label = blob[2:start].decode("ascii", "replace")
        key = self._keys.get(label)
        if key is None:
            raise DatabaseUnusable(
                f"A row is sealed with the key labelled {label!r}, which is not in"
                " OSBKIT_ENCRYPTION_KEYS; add that key again, after the first."
            )
        try:
            text = key.decrypt(
                blob[start : start + NONCE],
                blob[start + NONCE :],
                f"{place}/{uid}".encode(),
            )
        except (InvalidTag, ValueError):  # ValueError: cut within the nonce
            raise DatabaseUnusable(
                f"A value of {place} does not open with the key labelled {label!r}:"
                " the key is another one, or the row was changed from outside."
            ) from None
        return json.loads(text)


def new_key() -> str:
    """A key as OSBKIT_ENCRYPTION_KEYS wants it: base64 of 32 random bytes."""
    return base64.b64encode(os.urandom(KEY)).decode()


def ring_of(db: sa.Connection) -> KeyRing:
    """The ring that the store put on its connections."""
    ring: KeyRing = db.info["osbkit_ring"]
    return ring

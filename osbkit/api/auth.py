"""Who sent a request: Basic and bearer credentials, judged before anything else.

    Authorization ── cached() ── hit ─────────────────────────────────── Caller
                        └─ miss ── authenticate() ── random secret: SHA-256 ─┤
                                        ├─ password: argon2id, bcrypt ───────┤
                                        └─ neither ── Unauthorized    remembered 60 s

Nothing here knows of HTTP beyond the bytes of one header; `osbkit.api.gate` calls
it. The credentials file is `osbkit.api.credentials`, the hashes `osbkit.api.hashes`.

- A slow check runs in a thread, one per header at a time however many requests
  carry it; beyond a short queue the answer is 429.
- A failed Basic header costs one user's slow checks whether or not its user
  exists, as soon as any credential has a slow hash.
- What is remembered is a keyed digest of the header and of the credentials that
  were in force: no secret is kept, and after a change every look-up misses.

Spec: "Platform to Service Broker Authentication". Units: seconds of a monotonic
clock.
"""

import asyncio
import binascii
import hmac
import os
import secrets
import time
from base64 import b64decode
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b

from osbkit.api import hashes
from osbkit.api.credentials import Credential, Watch
from osbkit.domain import Caller
from osbkit.errors import SettingsInvalid, TooManyRequests, Unauthorized
from osbkit.settings import Settings
from osbkit.telemetry import log

DEFAULT_PLATFORM = "default"
ANONYMOUS = Caller(label="anonymous", platform=DEFAULT_PLATFORM)

REMEMBERED_FOR = 60.0
REMEMBERED_AT_MOST = 1024
WAITING_PER_CORE = 8
HEADER_BYTES = 8192

Verify = Callable[[bytes, str], bool]


@dataclass(frozen=True, slots=True)
class Presented:
    """What a header claims; `user` is None for a bearer token."""

    user: bytes | None
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One slow hash to check; `credential` is None for a decoy."""

    credential: Credential | None
    stored: str = field(repr=False)


class Authenticator:
    """Tells the caller of a request from its Authorization header.

    Call `cached` first, on every request: it is synchronous and takes about a
    microsecond. On None, await `authenticate`. The application's lifespan calls
    `open` and `close`, once each, in the event loop that serves.

    Args:
        clock: a monotonic clock, in seconds.
        verify: the slow check, called in a thread; tests count its calls.
        cores: how many slow checks run at once; as many as this process may use.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.monotonic,
        verify: Verify = hashes.verify,
        cores: int | None = None,
    ) -> None:
        self._anybody = settings.auth == "disabled"
        self._quick = tuple(_quick_start(settings))
        path = settings.credentials_file
        self._watch = None if path is None or self._anybody else Watch(path)
        self._reading = asyncio.Lock()
        self._problems: tuple[str, ...] = ()
        self._clock = clock
        self._verify = verify
        self._cores = cores or _cores()
        self._pool: ThreadPoolExecutor | None = None
        self._key = secrets.token_bytes(32)
        self._flights: dict[bytes, asyncio.Future[Credential | None]] = {}
        self._known = Known(self._quick, self._key)
        self._remembered: dict[bytes, tuple[Caller, float]] = {}

    async def open(self) -> None:
        """Read the credentials file and make the slow schemes ready.

        Raises:
            SettingsInvalid: no credential at all, a file that cannot be used, or
                the distribution passlib beside libpass.
        """
        if self._anybody:
            log.warning(
                "auth.disabled",
                platform=DEFAULT_PLATFORM,
                ignored=[credential.caller.label for credential in self._quick],
            )
            return
        hashes.refuse_plain_passlib()
        await asyncio.to_thread(hashes.warm_up)
        if self._watch is not None:
            self._force(self._quick + await self._watch.read(self._clock()))
        if not self._known.credentials:
            raise SettingsInvalid(
                "No credential is set: set OSBKIT_BASIC_USER and"
                " OSBKIT_BASIC_PASSWORD, OSBKIT_BEARER_TOKEN, or"
                " OSBKIT_CREDENTIALS_FILE with at least one entry; or say"
                " OSBKIT_AUTH=disabled to serve everybody."
            )
        self._pool = ThreadPoolExecutor(self._cores, "osbkit-auth")
        log.info("auth.ready", labels=self._known.labels)

    async def close(self) -> None:
        """End the threads: checks that run are waited for, others cancelled."""
        if self._pool is not None:
            await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    def problems(self) -> list[str]:
        """Sentences for `/health/ready`; empty when the newest file is in force."""
        return list(self._problems)

    def cached(self, authorization: bytes | None) -> Caller | None:
        """The caller of a header that was proved within the last minute.

        None says only that `authenticate` must judge it: the header is new, its
        time is up, or the credentials file may have changed.
        """
        if self._anybody:
            return ANONYMOUS
        if authorization is None or len(authorization) > HEADER_BYTES:
            return None
        now = self._clock()
        if self._watch is not None and self._watch.stale(now):
            return None
        found = self._remembered.get(self._known.fingerprint(authorization))
        return found[0] if found is not None and now < found[1] else None

    async def authenticate(self, authorization: bytes | None) -> Caller:
        """The caller of any header.

        Raises:
            Unauthorized: the same for whatever is wrong with the header.
            TooManyRequests: more new passwords at once than can be checked soon.
        """
        while True:
            await self.refresh()
            caller = self.cached(authorization)
            if caller is not None:
                return caller
            presented = _presented(authorization)
            if authorization is None or presented is None:
                raise Unauthorized
            known = self._known
            credential = await self._judge(known, authorization, presented)
            if known is self._known:
                break  # else the file changed meanwhile: judge by what it says now
        if credential is None:
            raise Unauthorized
        return credential.caller

    async def refresh(self) -> None:
        """Read the credentials file again if it changed.

        A file that cannot be used leaves the last good one in force.
        """
        if self._watch is None or not self._watch.stale(self._clock()):
            return
        async with self._reading:
            if not self._watch.stale(self._clock()):
                return
            try:
                fresh = await self._watch.read(self._clock())
            except SettingsInvalid as refused:
                log.error("credentials.refused", findings=str(refused).splitlines())
                self._problems = (
                    "The credentials file changed and cannot be used; the last good"
                    " one is in force. The log names the findings.",
                )
                return
            self._problems = ()
            self._force(self._quick + fresh)
            log.info("credentials.read", labels=self._known.labels)

    def _force(self, credentials: tuple[Credential, ...]) -> None:
        """Judge by these credentials from now on; what is remembered under others
        is found no more."""
        if credentials != self._known.credentials:
            self._known = Known(credentials, self._key)

    async def _judge(
        self, known: "Known", authorization: bytes, presented: Presented
    ) -> Credential | None:
        fingerprint = known.fingerprint(authorization)
        credential = known.at_once(presented)
        if credential is not None:
            self._remember(fingerprint, credential)
            return credential
        attempts = known.attempts(presented)
        if not attempts:
            return None
        return await self._slowly(fingerprint, presented.secret, attempts)

    async def _slowly(
        self, fingerprint: bytes, secret: bytes, attempts: tuple[Attempt, ...]
    ) -> Credential | None:
        """Check in a thread; requests with the same header share one check.

        The check belongs to none of them: one that is cancelled leaves it running
        for the others, and its outcome is remembered when it lands.
        """
        flight = self._flights.get(fingerprint)
        if flight is None:
            if len(self._flights) >= self._cores * (1 + WAITING_PER_CORE):
                raise TooManyRequests(retry_after=1)
            flight = asyncio.get_running_loop().run_in_executor(
                self._pool, _first_match, self._verify, secret, attempts
            )
            self._flights[fingerprint] = flight
            flight.add_done_callback(partial(self._landed, fingerprint))
        return await asyncio.shield(flight)

    def _landed(
        self, fingerprint: bytes, flight: asyncio.Future[Credential | None]
    ) -> None:
        """Leave the queue and enter the memory in one step: no second check fits
        between the two."""
        del self._flights[fingerprint]
        if flight.cancelled() or flight.exception() is not None:
            return
        credential = flight.result()
        if credential is not None:
            self._remember(fingerprint, credential)

    def _remember(self, fingerprint: bytes, credential: Credential) -> None:
        self._remembered.pop(fingerprint, None)
        if len(self._remembered) >= REMEMBERED_AT_MOST:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[fingerprint] = (
            credential.caller,
            self._clock() + REMEMBERED_FOR,
        )


class Known:
    """The credentials in force, arranged for judging; never changed.

    Args:
        key: 32 random bytes of this process; they keep look-ups by a digest from
            telling anything about users or secrets.
    """

    def __init__(self, credentials: tuple[Credential, ...], key: bytes) -> None:
        self.credentials = credentials
        self.labels = [credential.caller.label for credential in credentials]
        self._key = key
        self._seed = blake2b(_version(credentials), digest_size=32, key=key)
        self._bearers = tuple(c for c in credentials if c.user is None)
        users: defaultdict[bytes, list[Credential]] = defaultdict(list)
        for credential in credentials:
            if credential.user is not None:
                users[self._digest(credential.user.encode())].append(credential)
        self._users = {user: tuple(held) for user, held in users.items()}
        self._decoys = tuple(
            tuple(Attempt(None, hashes.decoy(c.slow)) for c in held if c.slow)
            for held in self._users.values()
            if any(c.slow for c in held)
        )

    def fingerprint(self, authorization: bytes) -> bytes:
        """What a header is remembered by: keyed BLAKE2b of the credentials' version
        (64 bytes, so no length is needed to part the two) and the header."""
        seed = self._seed.copy()
        seed.update(authorization)
        return seed.digest()

    def at_once(self, presented: Presented) -> Credential | None:
        """The credential whose random secret this is. Every candidate is compared."""
        candidates = self._bearers
        if presented.user is not None:
            candidates = self._users.get(self._digest(presented.user), ())
        digest = hashes.digest_of(presented.secret)
        match = None
        for candidate in candidates:
            if candidate.digest and hmac.compare_digest(candidate.digest, digest):
                match = candidate
        return match

    def attempts(self, presented: Presented) -> tuple[Attempt, ...]:
        """The slow hashes to check; for a user without any, somebody else's decoys.

        The same name always gets the same decoys, and names get them as often as
        there are users with such hashes: no time tells a user from a stranger.
        """
        if presented.user is None:
            return ()
        user = self._digest(presented.user)
        own = tuple(Attempt(c, c.slow) for c in self._users.get(user, ()) if c.slow)
        if own or not self._decoys:
            return own
        return self._decoys[int.from_bytes(user) % len(self._decoys)]

    def _digest(self, user: bytes) -> bytes:
        return blake2b(user, digest_size=32, key=self._key, person=b"user").digest()


def _cores() -> int:
    """How many cores this process may use; macOS does not say."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _version(credentials: tuple[Credential, ...]) -> bytes:
    """The same bytes for the same credentials, 64 of them."""
    said = [
        (
            c.caller.label,
            c.caller.platform,
            None if c.caller.offerings is None else sorted(c.caller.offerings),
            c.user,
            c.digest,
            c.slow,
        )
        for c in credentials
    ]
    return blake2b(repr(said).encode()).digest()


def _quick_start(settings: Settings) -> Iterable[Credential]:
    """The credentials that stand in the environment itself, kept as digests."""
    if settings.basic_user is not None and settings.basic_password is not None:
        yield Credential(
            Caller(label="basic", platform=DEFAULT_PLATFORM),
            settings.basic_user,
            digest=hashes.digest_of(
                settings.basic_password.get_secret_value().encode()
            ),
        )
    if settings.bearer_token is not None:
        yield Credential(
            Caller(label="bearer", platform=DEFAULT_PLATFORM),
            None,
            digest=hashes.digest_of(settings.bearer_token.get_secret_value().encode()),
        )


def _first_match(
    verify: Verify, secret: bytes, attempts: tuple[Attempt, ...]
) -> Credential | None:
    """The first credential whose hash fits; a decoy that fits is none."""
    for attempt in attempts:
        if verify(secret, attempt.stored):
            return attempt.credential
    return None


def _presented(authorization: bytes | None) -> Presented | None:
    """Take a header apart; None for everything that is no Basic and no Bearer."""
    if authorization is None or len(authorization) > HEADER_BYTES:
        return None
    scheme, _, rest = authorization.strip(b" \t").partition(b" ")
    rest = rest.lstrip(b" \t")
    if scheme.lower() == b"bearer" and rest:
        return Presented(None, rest)
    if scheme.lower() == b"basic" and rest:
        return _basic(rest)
    return None


def _basic(encoded: bytes) -> Presented | None:
    """RFC 7617: base64 of UTF-8 `user:password`; the first colon parts them.

    Missing padding is forgiven, as some clients leave it out; line breaks, other
    alphabets and other characters are not.
    """
    try:
        decoded = b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True)
        decoded.decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    user, colon, password = decoded.partition(b":")
    return Presented(user, password) if colon else None

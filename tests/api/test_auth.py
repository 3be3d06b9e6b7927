"""Who may pass: every form of a header, the slow checks, the memory of them."""

import asyncio
import base64
import binascii
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from passlib.hash import argon2, bcrypt
from pydantic import SecretStr

from osbkit.api import auth, hashes
from osbkit.api.auth import ANONYMOUS, Authenticator
from osbkit.domain import Caller
from osbkit.errors import SettingsInvalid, TooManyRequests, Unauthorized
from osbkit.settings import Settings

ARGON2: Any = argon2  # its stub leaves `using` untyped
RANDOM = "random-secret-that-nobody-can-guess-0123456789"


def argon2id(password: str) -> str:
    cheap = ARGON2.using(type="ID", memory_cost=8, time_cost=1, parallelism=1)
    return str(cheap.hash(password))


def bcrypted(password: str) -> str:
    return bcrypt.using(rounds=4).hash(password)


def random(secret: str) -> str:
    return hashes.hash_password(secret, "sha256")


def basic(user: str, password: str, scheme: str = "Basic") -> bytes:
    pair = base64.b64encode(f"{user}:{password}".encode())
    return scheme.encode() + b" " + pair


def a_basic(user: str, stored: str, label: str = "", **more: object) -> dict[str, Any]:
    held = {"user": user, "password_hash": stored}
    return {"label": label or user, "platform": "p", "basic": held} | more


def a_bearer(label: str, stored: str) -> dict[str, Any]:
    return {"label": label, "platform": "p", "bearer": {"token_hash": stored}}


def write(file: Path, *entries: dict[str, Any]) -> Path:
    """Put a credentials file in its place in one step."""
    fresh = file.with_suffix(".new")
    fresh.write_text(yaml.safe_dump({"credentials": list(entries)}))
    return fresh.replace(file)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Spy:
    """The real slow check, counted; it waits at the gate while that is closed."""

    def __init__(self) -> None:
        self.checked: list[str] = []
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, password: bytes, stored: str) -> bool:
        self.checked.append(stored)
        self.entered.set()
        assert self.gate.wait(timeout=60)
        return hashes.verify(password, stored)

    @property
    def count(self) -> int:
        return len(self.checked)


class Log:
    """Keeps events as (name, fields)."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda name, **fields: self.events.append((f"{level} {name}", fields))

    def names(self) -> list[str]:
        return [name for name, _ in self.events]


@pytest.fixture
def log(monkeypatch):
    log = Log()
    monkeypatch.setattr(auth, "log", log)
    return log


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def spy():
    return Spy()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "credentials.yaml"


@asynccontextmanager
async def opened(settings: Settings, **parts: Any) -> AsyncIterator[Authenticator]:
    authenticator = Authenticator(settings, **parts)
    await authenticator.open()
    try:
        yield authenticator
    finally:
        await authenticator.close()


def from_file(file: Path, *entries: dict[str, Any]) -> Settings:
    write(file, *entries)
    return Settings(credentials_file=file)


def quick_start(**more: Any) -> Settings:
    return Settings(
        basic_user="broker",
        basic_password=SecretStr("grün:1"),
        bearer_token=SecretStr("t0ken"),
        **more,
    )


async def refused(authenticator: Authenticator, header: bytes | None) -> bool:
    assert authenticator.cached(header) is None
    with pytest.raises(Unauthorized) as error:
        await authenticator.authenticate(header)
    return error.value.description == Unauthorized().description


# --- the start --------------------------------------------------------------------


@pytest.mark.parametrize("with_file", [False, True], ids=["nothing", "an empty file"])
async def test_without_any_credential_the_start_is_refused_naming_the_settings(
    file, with_file
):
    settings = from_file(file) if with_file else Settings()

    with pytest.raises(SettingsInvalid) as error:
        await Authenticator(settings).open()

    for name in (
        "OSBKIT_BASIC_USER",
        "OSBKIT_BASIC_PASSWORD",
        "OSBKIT_BEARER_TOKEN",
        "OSBKIT_CREDENTIALS_FILE",
        "OSBKIT_AUTH=disabled",
    ):
        assert name in str(error.value)


async def test_a_file_with_findings_refuses_the_start(file):
    settings = from_file(file, {"label": "a"})

    with pytest.raises(SettingsInvalid, match=r"credentials\[0\]\.platform"):
        await Authenticator(settings).open()


async def test_passlib_beside_libpass_refuses_the_start(monkeypatch):
    def found() -> None:
        raise SettingsInvalid("passlib is there")

    monkeypatch.setattr(hashes, "refuse_plain_passlib", found)

    with pytest.raises(SettingsInvalid, match="passlib is there"):
        await Authenticator(quick_start()).open()


@pytest.mark.parametrize("header", [None, b"Basic x", basic("broker", "wrong")])
async def test_disabled_lets_everybody_pass_and_warns_once(log, header):
    async with opened(quick_start(auth="disabled")) as authenticator:
        assert authenticator.cached(header) == ANONYMOUS
        assert await authenticator.authenticate(header) == ANONYMOUS

    fields = {"platform": "default", "ignored": ["basic", "bearer"]}
    assert log.events == [("warning auth.disabled", fields)]
    assert Caller("anonymous", "default", None) == ANONYMOUS


async def test_disabled_needs_no_credential_and_reads_no_file(file):
    settings = Settings(auth="disabled", credentials_file=file)

    async with opened(settings) as authenticator:
        assert authenticator.problems() == []


# --- the forms of a header ----------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "label"),
    [
        pytest.param(basic("broker", "grün:1"), "basic", id="Basic, colon and umlaut"),
        pytest.param(basic("broker", "grün:1", "basic"), "basic", id="lower case"),
        pytest.param(basic("broker", "grün:1", "BASIC "), "basic", id="two spaces"),
        pytest.param(basic("broker", "grün:1") + b" ", "basic", id="blank behind"),
        pytest.param(
            basic("broker", "grün:1").rstrip(b"="), "basic", id="padding left out"
        ),
        pytest.param(b"Bearer t0ken", "bearer", id="Bearer"),
        pytest.param(b"bearer  t0ken", "bearer", id="bearer, lower case, two spaces"),
    ],
)
async def test_quick_start_credentials_pass_as_platform_default(header, label):
    """AUTH-02, AUTH-04."""
    async with opened(quick_start()) as authenticator:
        caller = await authenticator.authenticate(header)

        assert caller == Caller(label, "default", None)
        assert authenticator.cached(header) == caller


def raw(pair: bytes) -> bytes:
    return b"Basic " + base64.b64encode(pair)


MALFORMED = {
    "no header": None,
    "empty": b"",
    "blanks": b" \t ",
    "scheme only": b"Basic",
    "scheme and blank": b"Bearer ",
    "another scheme": b'Digest username="broker"',
    "no scheme": base64.b64encode("broker:grün:1".encode()),
    "tab after the scheme": basic("broker", "grün:1").replace(b" ", b"\t"),
    "credentials in clear": "Basic broker:grün:1".encode(),
    "not base64": b"Basic !!!!",
    "base64 of another alphabet": b"Basic " + base64.urlsafe_b64encode(b"\xfb\xff:x"),
    "base64 with a blank": b"Basic YnJva2Vy OmdyPG4=",
    "base64 with a line break": b"Basic YnJva2Vy\nOmdyPG4=",
    "base64 that is cut off": b"Basic YnJva",
    "base64 with too much padding": b"Basic YQ======",
    "base64 with padding inside": b"Basic YQ==YQ==",
    "no colon": raw(b"broker"),
    "no user": raw(":grün:1".encode()),
    "no password": raw(b"broker:"),
    "only a colon": raw(b":"),
    "not UTF-8": raw("broker:grün:1".encode("latin-1")),
    "NUL": raw("broker:grün:1\0".encode()),
    "NUL in the user": raw("broker\0:grün:1".encode()),
    "wrong password": basic("broker", "grün:2"),
    "wrong user": basic("Broker", "grün:1"),
    "longer password": basic("broker", "grün:1" * 500),
    "wrong token": b"Bearer t0ken2",
    "token in two words": b"Bearer t0 ken",
    "token as a password": basic("broker", "t0ken"),
    "password as a token": "Bearer grün:1".encode(),
    "two credentials": basic("broker", "grün:1") + b", Bearer t0ken",
    "comma before": b"," + basic("broker", "grün:1"),
    "huge": b"Basic " + b"QQ" * 500_000,
    "huge token": b"Bearer " + b"x" * 500_000,
    "bytes above ASCII": b"B\xe4sic \xff\xfe",
}


@pytest.mark.parametrize("header", MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("slow", [False, True], ids=["random", "hashed"])
async def test_every_other_header_is_unauthorized_with_the_same_words(
    file, header, slow
):
    """AUTH-03: "MUST … 401 Unauthorized" whatever is wrong."""
    hashed = [a_basic("broker", argon2id("x")), a_basic("b", bcrypted("y"))]
    write(file, *(hashed if slow else []))

    async with opened(quick_start(credentials_file=file)) as authenticator:
        assert await refused(authenticator, header)


@pytest.fixture(scope="module")
def known_users(tmp_path_factory):
    """Users a (argon2id), b (bcrypt), c (both), and a random token."""
    return from_file(
        tmp_path_factory.mktemp("known") / "credentials.yaml",
        a_basic("a", argon2id("right")),
        a_basic("b", bcrypted("right")),
        a_basic("c", argon2id("right"), "c1"),
        a_basic("c", bcrypted("right"), "c2"),
        a_bearer("t", random(RANDOM)),
    )


HEADERS = st.one_of(
    st.binary(),
    st.builds(
        lambda scheme, rest: scheme + rest,
        st.sampled_from([b"Basic ", b"basic  ", b"Bearer ", b"BEARER\t", b"Basic"]),
        st.one_of(st.binary(), st.binary().map(base64.b64encode)),
    ),
    st.builds(
        lambda user, password: raw(user + b":" + password),
        st.one_of(st.sampled_from([b"a", b"b", b"c"]), st.binary(max_size=8)),
        st.one_of(st.binary(), st.binary(min_size=70, max_size=80)),
    ),
)


@given(header=HEADERS)
@examples(max_examples=150, deadline=None)
async def test_no_header_is_more_than_unauthorized(known_users, header):
    """AUTH-03, with bytes nobody thought of."""
    async with opened(known_users) as authenticator:
        assert await refused(authenticator, header)


@given(
    user=st.sampled_from(["a", "b", "c"]),
    scheme=st.sampled_from(["Basic", "basic", "BASIC  "]),
)
@examples(max_examples=20, deadline=None)
async def test_the_right_password_passes_in_every_spelling(known_users, user, scheme):
    async with opened(known_users) as authenticator:
        caller = await authenticator.authenticate(basic(user, "right", scheme))

    assert caller.label.startswith(user)


# --- the file -----------------------------------------------------------------------


async def test_each_credential_of_the_file_names_its_own_caller(file):
    settings = from_file(
        file,
        a_basic("broker", argon2id("one"), "cf", platform="cf", offerings=["queue"]),
        a_basic("broker", bcrypted("two"), "sap", platform="sap"),
        a_basic("broker", random(RANDOM), "robot"),
        a_bearer("k8s", random("k" * 43)),
    )

    async with opened(settings) as authenticator:
        callers = [
            await authenticator.authenticate(header)
            for header in (
                basic("broker", "one"),
                basic("broker", "two"),
                basic("broker", RANDOM),
                b"Bearer " + b"k" * 43,
            )
        ]

    assert callers == [
        Caller("cf", "cf", frozenset({"queue"})),
        Caller("sap", "sap", None),
        Caller("robot", "p", None),
        Caller("k8s", "p", None),
    ]


async def test_environment_and_file_count_together(file):
    write(file, a_basic("other", argon2id("x")))

    async with opened(quick_start(credentials_file=file)) as authenticator:
        quick = await authenticator.authenticate(b"Bearer t0ken")
        filed = await authenticator.authenticate(basic("other", "x"))

    assert (quick.platform, filed.platform) == ("default", "p")


async def test_a_password_rotates_without_a_gap(file, clock):
    old, new = (
        a_basic("u", argon2id("old"), "old"),
        a_basic("u", argon2id("new"), "new"),
    )
    settings = from_file(file, old)

    async with opened(settings, clock=clock) as authenticator:
        assert (await authenticator.authenticate(basic("u", "old"))).label == "old"

        write(file, old, new)
        clock.now += 1
        assert (await authenticator.authenticate(basic("u", "old"))).label == "old"
        assert (await authenticator.authenticate(basic("u", "new"))).label == "new"

        write(file, new)
        clock.now += 1
        assert await refused(authenticator, basic("u", "old"))
        assert (await authenticator.authenticate(basic("u", "new"))).label == "new"


@pytest.mark.parametrize("left", [[], [a_bearer("b", random(RANDOM))]])
async def test_a_removed_credential_stops_within_a_second_remembered_or_not(
    file, clock, left
):
    settings = from_file(file, a_basic("u", argon2id("x")), *left)

    async with opened(settings, clock=clock) as authenticator:
        await authenticator.authenticate(basic("u", "x"))
        clock.now += 1
        assert authenticator.cached(basic("u", "x")) is not None

        write(file, *left)
        clock.now += 1

        assert await refused(authenticator, basic("u", "x"))


async def test_a_credential_removed_while_it_is_checked_does_not_pass(file, clock, spy):
    gone, stays = a_basic("u", argon2id("x")), a_bearer("b", random(RANDOM))
    settings = from_file(file, gone, stays)

    async with opened(settings, clock=clock, verify=spy) as authenticator:
        spy.gate.clear()
        asked = asyncio.create_task(authenticator.authenticate(basic("u", "x")))
        await asyncio.sleep(0)
        write(file, stays)
        clock.now += 1
        await authenticator.authenticate(f"Bearer {RANDOM}".encode())
        spy.gate.set()

        with pytest.raises(Unauthorized):
            await asked
        assert await refused(authenticator, basic("u", "x"))
    assert spy.count == 1


@pytest.mark.parametrize(
    ("before", "header", "after"),
    [
        pytest.param(
            a_basic("u", argon2id("x")),
            basic("u", "x"),
            a_basic("u", argon2id("y")),
            id="password",
        ),
        pytest.param(
            a_basic("u", random(RANDOM)),
            basic("u", RANDOM),
            a_basic("u", random(RANDOM + "2")),
            id="random secret",
        ),
        pytest.param(
            a_basic("u", random(RANDOM), "l"),
            basic("u", RANDOM),
            a_basic("v", random(RANDOM), "l"),
            id="user",
        ),
        pytest.param(
            a_bearer("b", random(RANDOM)),
            f"Bearer {RANDOM}".encode(),
            a_bearer("b", random(RANDOM + "2")),
            id="token",
        ),
    ],
)
async def test_what_was_changed_under_the_same_label_stops_the_old(
    file, clock, before, header, after
):
    async with opened(from_file(file, before), clock=clock) as authenticator:
        await authenticator.authenticate(header)
        write(file, after)
        clock.now += 1

        assert await refused(authenticator, header)


async def test_changed_offerings_take_effect_though_the_secret_is_the_same(file, clock):
    stored = argon2id("x")
    settings = from_file(file, a_basic("u", stored, offerings=["a"]))

    async with opened(settings, clock=clock) as authenticator:
        await authenticator.authenticate(basic("u", "x"))
        write(file, a_basic("u", stored, offerings=["b"]))
        clock.now += 1

        caller = await authenticator.authenticate(basic("u", "x"))

    assert caller.offerings == frozenset({"b"})


@pytest.mark.parametrize("broken", ["credentials: [{label: hunter2}]", None])
async def test_a_broken_file_leaves_the_last_good_one_in_force_and_says_so(
    file, clock, log, broken
):
    settings = from_file(file, a_basic("u", argon2id("x")))

    async with opened(settings, clock=clock) as authenticator:
        if broken is None:
            file.unlink()
        else:
            file.write_text(broken)
        for _ in range(5):
            clock.now += 1
            assert (await authenticator.authenticate(basic("u", "x"))).label == "u"
        assert len(authenticator.problems()) == 1
        assert log.names() == ["info auth.ready", "error credentials.refused"]
        assert "hunter2" not in f"{authenticator.problems()} {log.events}"

        write(file, a_basic("v", argon2id("y")))
        clock.now += 1
        assert await refused(authenticator, basic("u", "x"))
        assert authenticator.problems() == []
        assert log.events[-1] == ("info credentials.read", {"labels": ["v"]})


async def test_readiness_may_look_at_the_file_without_a_request(file, clock):
    settings = from_file(file, a_basic("u", argon2id("x")))

    async with opened(settings, clock=clock) as authenticator:
        file.unlink()
        clock.now += 1
        await authenticator.refresh()

        assert len(authenticator.problems()) == 1


async def test_many_requests_read_a_changed_file_once(file, clock, log):
    settings = from_file(file, a_bearer("b", random(RANDOM)))
    header = f"Bearer {RANDOM}".encode()

    async with opened(settings, clock=clock) as authenticator:
        write(file, a_bearer("c", random(RANDOM)))
        clock.now += 1
        callers = await asyncio.gather(
            *(authenticator.authenticate(header) for _ in range(20))
        )

    assert {caller.label for caller in callers} == {"c"}
    assert log.names() == ["info auth.ready", "info credentials.read"]


async def test_the_same_content_with_a_new_time_forgets_nothing(file, clock, spy):
    entry = a_basic("u", argon2id("x"))
    settings = from_file(file, entry)

    async with opened(settings, clock=clock, verify=spy) as authenticator:
        await authenticator.authenticate(basic("u", "x"))
        write(file, entry)
        clock.now += 1
        await authenticator.authenticate(basic("u", "x"))

    assert spy.count == 1


# --- the slow check -------------------------------------------------------------------


async def test_one_slow_check_per_credential_and_minute(file, clock, spy):
    settings = from_file(file, a_basic("u", argon2id("x")), a_basic("v", bcrypted("y")))

    async with opened(settings, clock=clock, verify=spy) as authenticator:
        for _ in range(59):
            clock.now += 1
            for header in (basic("u", "x"), basic("v", "y")):
                await authenticator.authenticate(header)
                assert authenticator.cached(header) is not None
        assert spy.count == 2

        clock.now += 2
        assert authenticator.cached(basic("u", "x")) is None
        await authenticator.authenticate(basic("u", "x"))
        assert spy.count == 3


async def test_requests_with_the_same_header_share_one_check(file, spy):
    settings = from_file(file, a_basic("u", argon2id("x")))

    async with opened(settings, verify=spy) as authenticator:
        spy.gate.clear()
        asked = [
            asyncio.create_task(authenticator.authenticate(basic("u", "x")))
            for _ in range(100)
        ]
        await asyncio.sleep(0)
        spy.gate.set()
        callers = await asyncio.gather(*asked)

    assert {caller.label for caller in callers} == {"u"}
    assert spy.count == 1


async def test_no_second_check_fits_between_the_end_of_one_and_its_memory(file, spy):
    settings = from_file(file, a_basic("u", argon2id("x")))

    async with opened(settings, verify=spy) as authenticator:
        asked = [asyncio.create_task(authenticator.authenticate(basic("u", "x")))]
        while not asked[0].done():
            asked.append(
                asyncio.create_task(authenticator.authenticate(basic("u", "x")))
            )
            await asyncio.sleep(0)
        await asyncio.gather(*asked)

    assert spy.count == 1


async def test_a_cancelled_request_leaves_the_check_to_the_others(file, spy):
    settings = from_file(file, a_basic("u", argon2id("x")))

    async with opened(settings, verify=spy) as authenticator:
        spy.gate.clear()
        first, second = (
            asyncio.create_task(authenticator.authenticate(basic("u", "x")))
            for _ in range(2)
        )
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        spy.gate.set()

        assert (await second).label == "u"
        assert first.cancelled()
        assert authenticator.cached(basic("u", "x")) is not None
    assert spy.count == 1


async def test_a_failure_is_never_remembered(file, spy):
    settings = from_file(file, a_basic("u", argon2id("x")))

    async with opened(settings, verify=spy) as authenticator:
        for _ in range(3):
            assert await refused(authenticator, basic("u", "wrong"))

    assert spy.count == 3


@pytest.mark.parametrize("user", ["u", "v", "stranger", "robot", "broker", ""])
async def test_a_failure_costs_one_slow_check_whether_the_user_exists_or_not(
    file, spy, user
):
    """Counted, not timed: u and v have slow hashes, robot and broker random secrets,
    the others nothing."""
    stored = {"u": argon2id("x"), "v": bcrypted("y"), "robot": random(RANDOM)}
    write(file, *(a_basic(name, kept) for name, kept in stored.items()))
    settings = quick_start(credentials_file=file)

    async with opened(settings, verify=spy) as authenticator:
        assert await refused(authenticator, basic(user, "wrong"))
        assert await refused(authenticator, basic(user, "wrong again"))

    assert spy.count == 2
    if user not in {"u", "v"}:  # the same decoy each time, and nobody's hash
        assert spy.checked[0] == spy.checked[1]
        assert spy.checked[0] in {hashes.decoy(stored[name]) for name in "uv"}


async def test_strangers_meet_every_scheme_that_users_have(file, spy):
    settings = from_file(file, a_basic("u", argon2id("x")), a_basic("v", bcrypted("y")))

    async with opened(settings, verify=spy, cores=8) as authenticator:
        for number in range(64):  # 2 in 2^64 that one of the two is never met
            assert await refused(authenticator, basic(f"stranger{number}", "x"))

    assert len(set(spy.checked)) == 2


async def test_a_decoy_that_fits_lets_nobody_pass(file):
    settings = from_file(file, a_basic("u", argon2id("x")))

    async with opened(settings, verify=lambda password, stored: True) as authenticator:
        assert await refused(authenticator, basic("stranger", "x"))


async def test_random_secrets_and_tokens_cost_no_slow_check(file, spy):
    settings = from_file(
        file,
        a_basic("u", argon2id("x")),
        a_basic("robot", random(RANDOM)),
        a_bearer("t", random("t" * 43)),
    )

    async with opened(settings, verify=spy) as authenticator:
        await authenticator.authenticate(basic("robot", RANDOM))
        await authenticator.authenticate(b"Bearer " + b"t" * 43)
        assert await refused(authenticator, b"Bearer wrong")

    assert spy.count == 0


async def test_beyond_a_short_queue_new_passwords_get_429_and_known_ones_pass(
    file, spy
):
    settings = from_file(file, a_basic("u", argon2id("x")))
    room = 1 + auth.WAITING_PER_CORE

    async with opened(settings, verify=spy, cores=1) as authenticator:
        await authenticator.authenticate(basic("u", "x"))
        spy.gate.clear()
        asked = [
            asyncio.create_task(authenticator.authenticate(basic("u", f"wrong{n}")))
            for n in range(room)
        ]
        await asyncio.sleep(0)
        with pytest.raises(TooManyRequests) as error:
            await authenticator.authenticate(basic("u", "one too many"))
        again = asyncio.create_task(authenticator.authenticate(basic("u", "wrong0")))
        assert (await authenticator.authenticate(basic("u", "x"))).label == "u"
        spy.gate.set()
        outcomes = await asyncio.gather(*asked, again, return_exceptions=True)

        assert error.value.retry_after == 1
        assert [type(outcome) for outcome in outcomes] == [Unauthorized] * (room + 1)
        assert await refused(authenticator, basic("u", "room again"))


async def test_as_many_checks_run_at_once_as_there_are_cores(file, spy, monkeypatch):
    monkeypatch.delattr("os.sched_getaffinity", raising=False)  # as on macOS
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    settings = from_file(file, a_basic("u", argon2id("x")))

    async with opened(settings, verify=spy) as authenticator:
        spy.gate.clear()
        asked = [
            asyncio.create_task(authenticator.authenticate(basic("u", f"wrong{n}")))
            for n in range(4)
        ]
        assert await asyncio.to_thread(spy.entered.wait, 60)
        running_at_most = spy.count
        spy.gate.set()
        await asyncio.wait(asked)

    assert running_at_most <= 2
    assert spy.count == 4


async def test_a_check_that_breaks_is_not_mistaken_for_a_wrong_password(file):
    def out_of_memory(password: bytes, stored: str) -> bool:
        raise MemoryError

    settings = from_file(file, a_basic("u", argon2id("x")))

    async with opened(settings, verify=out_of_memory) as authenticator:
        with pytest.raises(MemoryError):
            await authenticator.authenticate(basic("u", "x"))
        assert authenticator.cached(basic("u", "x")) is None


async def test_closing_cancels_what_waits_for_a_thread(file, spy):
    settings = from_file(file, a_basic("u", argon2id("x")))

    async with opened(settings, verify=spy, cores=1) as authenticator:
        spy.gate.clear()
        asked = [
            asyncio.create_task(authenticator.authenticate(basic("u", f"wrong{n}")))
            for n in range(2)
        ]
        assert await asyncio.to_thread(spy.entered.wait, 60)
        closing = asyncio.create_task(authenticator.close())
        await asyncio.wait([asked[1]])
        spy.gate.set()
        await closing
        outcomes = await asyncio.gather(*asked, return_exceptions=True)

    assert [type(o) for o in outcomes] == [Unauthorized, asyncio.CancelledError]


# --- the memory -------------------------------------------------------------------


async def test_the_oldest_memory_goes_when_it_is_full(clock, monkeypatch):
    monkeypatch.setattr(auth, "REMEMBERED_AT_MOST", 3)

    async with opened(quick_start(), clock=clock) as authenticator:
        headers = [b"Bearer" + b" " * n + b"t0ken" for n in range(1, 5)]
        for header in headers:
            await authenticator.authenticate(header)

        held = [authenticator.cached(header) is not None for header in headers]
    assert held == [False, True, True, True]


async def test_what_is_proved_again_counts_as_new(clock, monkeypatch):
    monkeypatch.setattr(auth, "REMEMBERED_AT_MOST", 3)
    first, second, *others = (b"Bearer" + b" " * n + b"t0ken" for n in range(1, 5))

    async with opened(quick_start(), clock=clock) as authenticator:
        await authenticator.authenticate(first)
        clock.now += 30
        await authenticator.authenticate(second)
        clock.now += 30
        for header in (first, *others):
            await authenticator.authenticate(header)

        assert authenticator.cached(first) is not None
        assert authenticator.cached(second) is None


async def test_only_the_very_same_header_is_remembered():
    proved = basic("broker", "grün:1")

    async with opened(quick_start()) as authenticator:
        await authenticator.authenticate(proved)

        assert authenticator.cached(proved) is not None
        for place in range(len(proved)):
            other = bytes([proved[place] ^ 0x20])
            near = proved[:place] + other + proved[place + 1 :]
            assert authenticator.cached(near) is None
            assert authenticator.cached(proved[:place]) is None
        assert authenticator.cached(proved + b" ") is None


async def test_memory_ends_after_sixty_seconds(clock):
    async with opened(quick_start(), clock=clock) as authenticator:
        await authenticator.authenticate(b"Bearer t0ken")
        clock.now += 59.9
        assert authenticator.cached(b"Bearer t0ken") is not None
        clock.now += 0.1
        assert authenticator.cached(b"Bearer t0ken") is None


async def test_memory_holds_at_most_1024_entries():
    assert auth.REMEMBERED_AT_MOST == 1024
    async with opened(quick_start()) as authenticator:
        for blanks in range(1, 1100):
            await authenticator.authenticate(b"Bearer" + b" " * blanks + b"t0ken")

        assert len(authenticator._remembered) == 1024


async def test_no_secret_is_kept_readable():
    async with opened(quick_start()) as authenticator:
        header = basic("broker", "grün:1")
        await authenticator.authenticate(header)
        kept = f"{vars(authenticator)} {vars(authenticator._known)}"

    assert "grün" not in kept
    assert "t0ken" not in kept
    assert binascii.b2a_base64(b"broker:gr").decode().strip() not in kept


async def test_the_same_header_is_remembered_otherwise_in_another_process():
    one, two = Authenticator(quick_start()), Authenticator(quick_start())

    assert one._known.fingerprint(b"Bearer t0ken") != two._known.fingerprint(
        b"Bearer t0ken"
    )

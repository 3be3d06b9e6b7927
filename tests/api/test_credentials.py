"""The credentials file: its grammar, its findings, its changes, its hashes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from passlib.hash import argon2, bcrypt

from osbkit.api import credentials, hashes
from osbkit.api.credentials import Watch, load, new_credential, read
from osbkit.domain import Caller
from osbkit.errors import SettingsInvalid

ARGON2ID = "$argon2id$v=19$m=32,t=1,p=1$c2FsdHNhbHQ$" + "A" * 43
BCRYPT = "$2b$04$" + "a" * 21 + "u" + "." * 31
DIGEST = "sha256:" + "0a" * 32

GOOD = f"""
credentials:
  - label: cf-prod
    platform: cf-eu10
    basic: {{user: broker, password_hash: "{ARGON2ID}"}}
    offerings: [queue, 5f1c]
  - label: cf-prod-next
    platform: cf-eu10
    basic: {{user: broker, password_hash: "{BCRYPT}"}}
  - label: robot
    platform: cf-eu10
    basic: {{user: on, password_hash: "{DIGEST}"}}
  - label: k8s
    platform: k8s-a
    bearer: {{token_hash: "{DIGEST}"}}
"""


def entry(**fields: object) -> str:
    """A file with one entry: a good one, with these fields in its place."""
    good = {
        "label": "a",
        "platform": "p",
        "basic": {"user": "u", "password_hash": DIGEST},
    }
    changed = {k: v for k, v in (good | fields).items() if v is not None}
    return yaml.safe_dump({"credentials": [changed]})


def findings(text: str | bytes) -> list[str]:
    with pytest.raises(SettingsInvalid) as refused:
        read(text.encode() if isinstance(text, str) else text)
    heading, *lines = str(refused.value).splitlines()
    assert heading == "The credentials file cannot be used."
    assert all(line.startswith("  - ") and line.endswith(".") for line in lines)
    return [line.removeprefix("  - ") for line in lines]


def test_a_file_names_for_each_credential_its_label_platform_and_offerings():
    found = read(GOOD.encode())

    assert [credential.caller for credential in found] == [
        Caller("cf-prod", "cf-eu10", frozenset({"queue", "5f1c"})),
        Caller("cf-prod-next", "cf-eu10", None),
        Caller("robot", "cf-eu10", None),
        Caller("k8s", "k8s-a", None),
    ]
    assert [credential.user for credential in found] == ["broker", "broker", "on", None]
    assert [credential.slow for credential in found] == [ARGON2ID, BCRYPT, "", ""]
    assert [credential.digest for credential in found[2:]] == [b"\x0a" * 32] * 2


def test_every_scalar_is_text_whatever_yaml_would_make_of_it():
    text = GOOD.replace("cf-prod-next", "017").replace("cf-eu10", "no")

    assert read(text.encode())[1].caller == Caller("017", "no")


def test_an_empty_list_revokes_everything():
    assert read(b"credentials: []") == ()


def test_no_hash_shows_in_a_credential():
    shown = repr(read(GOOD.encode()))

    assert "$2b$" not in shown
    assert "argon2" not in shown
    assert "\\n" not in shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", "the file must hold one key, credentials", id="nothing"),
        pytest.param("- label: a", "the file must hold one key", id="a list"),
        pytest.param("credentials: []\nmore: 1", "must hold one key", id="more keys"),
        pytest.param("credentials:", "credentials must be a list", id="no list"),
        pytest.param("credentials: [a]", "credentials[0] must be a mapping", id="text"),
        pytest.param("credentials: [", "line 1 is not valid YAML", id="cut off"),
        pytest.param("a: 1\nb:\n  - c: *d", "line 3 is not valid YAML", id="alias"),
        pytest.param("a: &a [*a]", "line 1 is not valid YAML", id="a loop"),
        pytest.param("? [a]\n: b", "line 1 is not valid YAML", id="a key of lists"),
        pytest.param("a: 1\n---\nb: 2", "line 2 is not valid YAML", id="two documents"),
        pytest.param("x:\n  a: 1\n  a: 2", "line 2 has a key twice", id="key twice"),
        pytest.param("[" * 1000, "the file is not valid YAML in UTF-8", id="nested"),
        pytest.param(b"\xff\xfa", "the file is not valid YAML in UTF-8", id="bytes"),
        pytest.param(b"#" * (2**20 + 1), "the file is over 1048576 bytes", id="long"),
    ],
)
def test_a_file_of_another_shape_gives_one_finding(text, expected):
    (finding,) = findings(text)

    assert expected in finding


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"label": None}, "credentials[0].label must be 1 to 63 letters"),
        ({"label": "a b"}, "credentials[0].label must be 1 to 63 letters"),
        ({"label": "x" * 64}, "credentials[0].label must be 1 to 63 letters"),
        ({"platform": ["p"]}, "credentials[0].platform must be 1 to 63 letters"),
        ({"offerings": []}, "credentials[0].offerings must list names or ids"),
        ({"offerings": "queue"}, "credentials[0].offerings must list names or ids"),
        ({"offerings": [["q"]]}, "credentials[0].offerings must list names or ids"),
        ({"basic": None}, "credentials[0] must have either basic or bearer"),
        ({"bearer": {"token_hash": DIGEST}}, "must have either basic or bearer"),
        ({"basic": "u:p"}, "credentials[0].basic must be a mapping of user"),
        ({"platfrom": "x"}, "credentials[0].platfrom is no key here: did you mean"),
        ({"hunter2": ""}, "credentials[0] has a key besides label, platform"),
    ],
)
def test_a_wrong_entry_is_named_by_path_and_fix(fields, expected):
    (finding,) = findings(entry(**fields))

    assert expected in finding


@pytest.mark.parametrize(
    "user",
    [
        pytest.param(None, id="missing"),
        pytest.param("", id="empty"),
        pytest.param("a:b", id="colon"),
        pytest.param("a\tb", id="control character"),
        pytest.param("x" * 256, id="too long"),
        pytest.param(["u"], id="a list"),
    ],
)
def test_a_user_must_fit_the_header(user):
    basic = {"password_hash": DIGEST} | ({} if user is None else {"user": user})

    (finding,) = findings(entry(basic=basic))

    assert "credentials[0].basic.user must be 1 to 255 characters" in finding


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param("hunter2", id="a password"),
        pytest.param(["hunter2"], id="a list"),
        pytest.param("sha256:hunter2", id="no hex"),
        pytest.param("sha256:" + "0" * 63, id="short digest"),
        pytest.param("sha512:" + "0" * 64, id="another digest"),
        pytest.param(ARGON2ID.replace("2id", "2i"), id="argon2i"),
        pytest.param("$argon2id$v=19$m=32,t=1,p=1$c2FsdHNhbHQ", id="no checksum"),
        pytest.param("$argon2id$hunter2", id="half an argon2id"),
        pytest.param("$2b$04$hunter2", id="half a bcrypt"),
        pytest.param(BCRYPT[:29], id="bcrypt without checksum"),
        pytest.param("$2x$" + BCRYPT[4:], id="the buggy bcrypt"),
        pytest.param("$6$rounds=5000$salt$hunter2", id="another scheme"),
    ],
)
def test_only_hashes_that_can_be_checked_are_taken(stored):
    (finding,) = findings(entry(basic={"user": "u", "password_hash": stored}))

    assert "credentials[0].basic.password_hash must be an argon2id or bcrypt" in finding
    assert "hunter2" not in finding


@pytest.mark.parametrize("stored", [ARGON2ID, BCRYPT, "hunter2", None, [DIGEST]])
def test_a_token_is_kept_as_a_digest_only(stored):
    (finding,) = findings(entry(basic=None, bearer={"token_hash": stored}))

    assert "credentials[0].bearer.token_hash must be sha256: and 64 hex" in finding
    assert "hunter2" not in finding


@pytest.mark.parametrize(
    ("fields", "command"),
    [
        ({"basic": {"user": "u", "password": "hunter2"}}, "osbkit credentials hash"),
        ({"basic": None, "bearer": {"token": "hunter2"}}, "osbkit credentials new"),
        ({"password": "hunter2"}, "osbkit credentials hash"),
        ({"token": "hunter2"}, "osbkit credentials new"),
    ],
)
def test_a_readable_secret_is_refused_with_the_command_that_hashes_it(fields, command):
    finding = findings(entry(**fields))[0]

    assert "readable" in finding
    assert command in finding
    assert "hunter2" not in finding


def test_all_findings_come_at_once():
    text = yaml.safe_dump(
        {
            "credentials": [
                {"label": "", "platform": "p", "basic": {"user": "u"}},
                {"label": "b", "platform": "", "bearer": {}},
                "c",
            ]
        }
    )

    assert [finding.split()[0] for finding in findings(text)] == [
        "credentials[0].label",
        "credentials[0].basic.password_hash",
        "credentials[1].platform",
        "credentials[1].bearer.token_hash",
        "credentials[2]",
    ]


def test_labels_and_secrets_belong_to_one_caller():
    twice = GOOD.replace("label: robot", "label: k8s") + (
        f"\n  - {{label: other, platform: q, bearer: {{token_hash: '{DIGEST}'}}}}"
    )

    assert findings(twice) == [
        "the label k8s is there 2 times: give each its own.",
        "the secret of k8s is there 2 times: give each caller its own.",
    ]


def test_an_unreadable_file_is_named_with_its_setting(tmp_path):
    with pytest.raises(
        SettingsInvalid, match=r"OSBKIT_CREDENTIALS_FILE .*No such file"
    ):
        load(tmp_path / "missing.yaml")


# --- changes --------------------------------------------------------------------


def replace(file: Path, text: str) -> None:
    """As Kubernetes and careful editors do it: in one step."""
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(file)


async def test_a_file_is_stale_until_it_was_read_and_after_each_change(tmp_path):
    file = tmp_path / "credentials.yaml"
    file.write_text(GOOD)
    watch = Watch(file)

    assert watch.stale(now=100.0)
    assert len(await watch.read(now=100.0)) == 4
    assert not watch.stale(now=200.0)
    replace(file, "credentials: []")
    assert watch.stale(now=201.0)
    assert await watch.read(now=201.0) == ()


async def test_the_disk_is_asked_once_a_second_at_most(tmp_path, monkeypatch):
    file = tmp_path / "credentials.yaml"
    file.write_text(GOOD)
    watch = Watch(file)
    await watch.read(now=100.0)
    looked: list[Path] = []
    signature = credentials._signature

    def spy(path: Path) -> object:
        looked.append(path)
        return signature(path)

    monkeypatch.setattr(credentials, "_signature", spy)

    for tenth in range(1, 31):
        watch.stale(now=100.0 + tenth / 10)

    assert len(looked) == 3


@pytest.mark.parametrize("text", ["credentials: 1", None], ids=["broken", "missing"])
async def test_a_file_that_cannot_be_used_is_read_once_and_again_when_it_changes(
    tmp_path, text
):
    file = tmp_path / "credentials.yaml"
    if text is not None:
        file.write_text(text)
    watch = Watch(file)

    with pytest.raises(SettingsInvalid):
        await watch.read(now=100.0)
    assert not watch.stale(now=102.0)
    replace(file, GOOD)
    assert watch.stale(now=104.0)
    assert len(await watch.read(now=104.0)) == 4


async def test_a_new_time_of_the_same_content_counts_as_a_change(tmp_path):
    file = tmp_path / "credentials.yaml"
    file.write_text(GOOD)
    watch = Watch(file)
    await watch.read(now=100.0)

    os.utime(file, (1, 1))

    assert watch.stale(now=101.0)


# --- hashes ---------------------------------------------------------------------


def test_a_password_is_hashed_with_the_documented_cost():
    stored = hashes.hash_password("grün:1")

    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert hashes.is_slow_hash(stored)
    assert hashes.verify("grün:1".encode(), stored)
    assert not hashes.verify(b"gruen:1", stored)


def test_bcrypt_is_checked_up_to_72_bytes_and_matches_nothing_beyond():
    stored = bcrypt.using(rounds=4).hash(b"x" * 72)

    assert hashes.is_slow_hash(stored)
    assert hashes.verify(b"x" * 72, stored)
    assert not hashes.verify(b"x" * 73, stored)
    assert not hashes.verify(b"x\0", stored)


@pytest.mark.parametrize(
    ("password", "scheme", "fix"),
    [
        ("", "argon2id", "is empty"),
        ("x" * 4097, "argon2id", "over 4096 bytes"),
        ("a\nb", "argon2id", "control characters"),
        ("x" * 73, "bcrypt", "at most 72 bytes: take argon2id"),
        ("ü" * 37, "bcrypt", "at most 72 bytes: take argon2id"),
        ("short", "sha256", "take argon2id for a password"),
    ],
)
def test_a_password_that_does_not_fit_its_scheme_is_refused(password, scheme, fix):
    with pytest.raises(SettingsInvalid, match=fix) as refused:
        hashes.hash_password(password, scheme)

    assert not password or password not in str(refused.value)


def test_bcrypt_hashes_have_cost_12():
    assert hashes.hash_password("x" * 72, "bcrypt").startswith("$2b$12$")


def test_an_overlong_password_matches_nothing():
    stored = argon2.using(memory_cost=32, time_cost=1, parallelism=1).hash("x")

    assert not hashes.verify(b"x" * 5000, stored)


@pytest.mark.parametrize("stored", [ARGON2ID, BCRYPT])
def test_a_decoy_has_the_cost_of_its_model_and_matches_nothing(stored):
    decoy = hashes.decoy(stored)

    assert hashes.is_slow_hash(decoy)
    assert decoy.rpartition("$")[0] == stored.rpartition("$")[0]
    assert not hashes.verify(b"x", decoy)


def test_a_decoy_carries_nothing_of_the_hash_it_stands_for():
    argon = argon2.using(memory_cost=32, time_cost=1, parallelism=1).hash("x")
    blow = bcrypt.using(rounds=4).hash("x")

    assert not hashes.verify(b"x", hashes.decoy(argon))
    assert not hashes.verify(b"x", hashes.decoy(blow))


def test_schemes_are_ready_in_a_fresh_process_after_the_warm_up():
    """libpass swaps a scheme's code in at its first use: trap of the lazy back end."""
    script = (
        "from osbkit.api import hashes; hashes.warm_up()\n"
        "from passlib.hash import argon2, bcrypt\n"
        f"assert not argon2.verify('x', {ARGON2ID!r})\n"
        "assert bcrypt.verify('x', bcrypt.using(rounds=4).hash('x'))\n"
    )

    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        cwd=Path(hashes.__file__).parents[2],
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")


def test_passlib_beside_libpass_stops_the_start(tmp_path, monkeypatch):
    hashes.refuse_plain_passlib()  # libpass alone passes
    dist = tmp_path / "passlib-1.7.4.dist-info"
    dist.mkdir()
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: passlib\nVersion: 1\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(SettingsInvalid, match="pip uninstall passlib libpass"):
        hashes.refuse_plain_passlib()


# --- what the command line calls ------------------------------------------------


def test_a_new_basic_credential_passes_with_the_secret_that_is_shown_once():
    secret, snippet = new_credential("cf", "cf-eu10", "basic", offerings=["queue"])

    (credential,) = read(f"credentials:\n{snippet}".encode())
    assert credential.caller == Caller("cf", "cf-eu10", frozenset({"queue"}))
    assert credential.user == "cf"
    assert credential.digest == hashes.digest_of(secret.encode())
    assert secret not in snippet


def test_a_new_bearer_token_has_256_bits_and_is_never_the_same():
    first, second = (new_credential("k", "k8s", "bearer") for _ in "12")

    assert len(first.secret) == 43
    assert first.secret != second.secret
    (credential,) = read(f"credentials:\n{first.snippet}".encode())
    assert credential.user is None
    assert credential.digest == hashes.digest_of(first.secret.encode())
    assert first.secret not in repr(first)


def test_a_user_name_that_yaml_would_misread_survives():
    _, snippet = new_credential("k", "p", "basic", user='yes, "a" #b')

    assert read(f"credentials:\n{snippet}".encode())[0].user == 'yes, "a" #b'


def test_a_new_credential_obeys_the_rules_of_the_file():
    with pytest.raises(SettingsInvalid, match=r"credentials\[0\]\.label must be"):
        new_credential("two words", "p", "bearer")


def test_a_random_token_of_ones_own_can_be_hashed():
    token = "t" * 32

    assert hashes.hash_password(token, "sha256") == (
        f"sha256:{hashes.digest_of(token.encode()).hex()}"
    )

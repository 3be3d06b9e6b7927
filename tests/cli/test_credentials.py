"""`osbkit credentials` and `osbkit keys`: what they print is what the server reads."""

import hashlib
import json

import pytest

from osbkit.api import credentials, hashes
from osbkit.store.sealing import KeyRing


@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_a_new_credential_is_an_entry_of_the_file(osbkit, kind):
    result = osbkit(
        "credentials", "new", "--label", "cf-prod", "--platform", "cf-eu10",
        f"--{kind}", "--offering", "queue", "--json",
    )  # fmt: skip

    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    secret = told["password" if kind == "basic" else "token"]
    [made] = credentials.read(f"credentials:\n{told['entry']}".encode())
    assert made.digest == hashlib.sha256(secret.encode()).digest()
    assert made.user == ("cf-prod" if kind == "basic" else None)
    assert made.caller.label == "cf-prod"
    assert made.caller.platform == "cf-eu10"
    assert made.caller.offerings == frozenset({"queue"})
    assert secret not in told["entry"]


def test_a_person_gets_secret_and_entry_apart(osbkit):
    result = osbkit(
        "credentials", "new", "--label", "a", "--platform", "p", "--user", "u"
    )

    assert result.exit_code == 0, result.output
    first, _, entry = result.stdout.partition("under `credentials:`\n")
    assert "user" in first
    assert "not shown again" in first
    [made] = credentials.read(f"credentials:\n{entry}".encode())
    assert made.user == "u"


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--label", "no spaces", "--platform", "p"], id="label"),
        pytest.param(
            ["--label", "a", "--platform", "p", "--user", "a:b"], id="colon in user"
        ),
        pytest.param(
            ["--label", "a", "--platform", "p", "--bearer", "--user", "u"],
            id="a token has no user",
        ),
        pytest.param(["--label", "a"], id="no platform"),
    ],
)
def test_a_credential_that_cannot_be_is_a_usage_error(osbkit, options):
    result = osbkit("credentials", "new", *options)

    assert result.exit_code == 2
    assert result.stdout == ""


def test_hash_reads_a_password_from_standard_input(osbkit):
    result = osbkit("credentials", "hash", input="correct horse\n")

    assert result.exit_code == 0, result.output
    stored = result.stdout.strip()
    assert stored.startswith("$argon2id$")
    assert hashes.verify(b"correct horse", stored)
    assert "horse" not in result.output


def test_an_empty_password_has_no_hash(osbkit):
    result = osbkit("credentials", "hash", input="\n")

    assert result.exit_code == 2
    assert "empty" in result.stderr


def test_a_password_is_never_an_argument(osbkit):
    assert osbkit("credentials", "hash", "s3cret").exit_code == 2


@pytest.mark.parametrize("options", [[], ["--label", "blue"]])
def test_new_keys_seal(osbkit, options):
    one = osbkit("keys", "new", *options).stdout.strip()
    other = osbkit("keys", "new", "--label", "older").stdout.strip()

    ring = KeyRing.from_text(f"{one},{other}")

    assert ring.label == one.partition(":")[0]
    assert ring.label == "blue" if options else ring.label.startswith("k20")
    assert one.partition(":")[2] != other.partition(":")[2]


@pytest.mark.parametrize("label", ["", "a:b", "a,b", "é", "x" * 33, "-x"])
def test_a_label_that_the_setting_cannot_hold_is_refused(osbkit, label):
    result = osbkit("keys", "new", f"--label={label}")

    assert result.exit_code == 2
    assert "--label" in result.stderr


def test_a_password_that_is_no_text_is_refused(osbkit):
    result = osbkit("credentials", "hash", input=b"\xff\xfe\n")

    assert result.exit_code == 1
    assert "UTF-8" in result.stderr

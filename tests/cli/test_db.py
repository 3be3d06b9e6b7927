"""`osbkit db`, on a real SQLite file."""

import pytest

from osbkit.store import migrate
from tests.migrations.made_up import NEWER, future


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'broker.db'}"


def test_upgrade_takes_an_empty_database_to_this_version(osbkit, url):
    before = osbkit("db", "current", "--database-url", url)
    upgraded = osbkit("db", "upgrade", "--database-url", url)
    after = osbkit("db", "current", "--database-url", url)

    assert before.stdout == "empty\n"
    assert upgraded.exit_code == 0, upgraded.output
    assert f"at {migrate.head()} now; before: empty" in upgraded.stdout
    assert after.stdout == f"{migrate.head()}\n"


def test_upgrade_twice_changes_nothing(osbkit, url):
    osbkit("db", "upgrade", "--database-url", url)

    again = osbkit("db", "upgrade", "--database-url", url)

    assert again.exit_code == 0
    assert "already" in again.stdout


def test_check_fails_until_the_database_is_upgraded(osbkit, url):
    behind = osbkit("db", "check", "--database-url", url)
    osbkit("db", "upgrade", "--database-url", url)
    there = osbkit("db", "check", "--database-url", url)

    assert behind.exit_code == 1
    assert "osbkit db upgrade" in behind.stderr
    assert there.exit_code == 0


def test_newer_schema_that_this_version_may_serve_is_told_and_left(
    osbkit, url, tmp_path
):
    with future(tmp_path / "newer", migrate.head()):
        migrate.upgrade(url)

    said = {
        command: osbkit("db", command, "--database-url", url)
        for command in ("current", "check", "upgrade")
    }

    assert all(one.exit_code == 0 for one in said.values())
    head = migrate.head()
    assert f"{NEWER} (newer than {head}, whose code may still" in said["current"].stdout
    assert f"code from {head} on may run on it" in said["check"].stdout
    assert f"at {NEWER} already" in said["upgrade"].stdout


def test_newer_schema_that_this_version_may_not_serve_is_a_sentence(
    osbkit, url, tmp_path
):
    with future(tmp_path / "newer", NEWER):
        migrate.upgrade(url)

    said = {
        command: osbkit("db", command, "--database-url", url)
        for command in ("current", "check", "upgrade")
    }

    assert said["current"].exit_code == 0
    assert "whose code may not run" in said["current"].stdout
    for command in ("check", "upgrade"):
        assert said[command].exit_code == 1
        assert f"at schema {NEWER}" in said[command].stderr
        assert "or a newer one" in said[command].stderr


def test_the_database_of_the_settings_is_the_default(osbkit, url, monkeypatch):
    monkeypatch.setenv("OSBKIT_DATABASE_URL", url)

    osbkit("db", "upgrade")

    assert migrate.current(url) == migrate.head()


@pytest.mark.parametrize("command", ["upgrade", "current", "check"])
def test_a_database_that_cannot_be_used_is_a_sentence(osbkit, command):
    result = osbkit("db", command, "--database-url", "nonsense")

    assert result.exit_code == 1
    assert "sqlite:///osbkit.db" in result.stderr
    assert "Traceback" not in result.output


def test_a_wrong_setting_is_a_sentence(osbkit, monkeypatch):
    monkeypatch.setenv("OSBKIT_DATABSE_URL", "sqlite:///x.db")

    result = osbkit("db", "current")

    assert result.exit_code == 1
    assert "did you mean OSBKIT_DATABASE_URL?" in result.stderr

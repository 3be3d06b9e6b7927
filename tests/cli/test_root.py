"""The command itself: its groups, its version, its help."""

import pytest

from osbkit import __version__
from osbkit.cli import main

GROUPS = {"client", "check", "serve", "db", "catalog", "credentials", "keys"}


def test_version_is_the_version_of_the_package(osbkit):
    assert osbkit("--version").stdout == f"osbkit {__version__}\n"


def test_help_names_every_group(osbkit):
    text = osbkit("--help").stdout

    assert all(group in text for group in GROUPS)


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_every_group_has_help(osbkit, group):
    result = osbkit(group, "--help")

    assert result.exit_code == 0
    assert "Usage" in result.stdout


def test_nothing_said_shows_the_help_and_is_a_usage_error(osbkit):
    assert osbkit().exit_code == 2


def test_main_is_the_command(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["osbkit", "--version"])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 0
    assert capsys.readouterr().out == f"osbkit {__version__}\n"


def test_client_commands_are_the_eight_of_the_specification(osbkit):
    text = osbkit("client", "--help").stdout

    for verb in (
        "catalog", "provision", "update", "bind", "fetch", "poll", "unbind",
        "deprovision",
    ):  # fmt: skip
        assert verb in text

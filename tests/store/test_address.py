"""What OSBKIT_DATABASE_URL names, and what is said when a driver is missing."""

import importlib
from typing import Any

import pytest

from osbkit.errors import SettingsInvalid
from osbkit.store import address
from tests import servers


def without(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Let every driver be installed but one."""

    def find(name: str) -> Any:
        if name == missing:
            raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", find)


@pytest.mark.parametrize(
    ("url", "driver", "extra"),
    [
        ("postgresql://u:hunter2@h/d", "asyncpg", "postgresql"),
        ("postgresql://u:hunter2@h/d", "psycopg", "postgresql"),
        ("mariadb://u:hunter2@h/d", "asyncmy", "mariadb"),
        ("mysql://u:hunter2@h/d", "asyncmy", "mariadb"),
    ],
)
def test_missing_driver_names_the_extra(monkeypatch, url, driver, extra):
    without(monkeypatch, driver)

    with pytest.raises(SettingsInvalid) as refused:
        address.server_of(url)

    assert f"pip install 'osbkit[{extra}]'" in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("postgresql://u:p@h/d", "postgresql"),
        ("postgres://u:p@h/d", "postgresql"),
        ("postgresql+psycopg://u:p@h/d?sslmode=require", "postgresql"),
        ("mariadb+pymysql://u:p@h/d", "mariadb"),
        ("mysql://u:p@h/d", "mysql"),
    ],
)
def test_the_driver_is_our_choice(monkeypatch, url, kind):
    without(monkeypatch, "")
    server = address.server_of(url)

    assert server is not None
    assert server.kind == kind
    assert server.where() == f"{kind}://h/d"
    assert "u:p@" not in repr(server)


def test_a_file_is_no_server():
    assert address.server_of("sqlite:///osbkit.db") is None


@pytest.mark.parametrize("kind", servers.KINDS)
def test_db_commands_upgrade_a_server_and_tell_its_schema(kind):
    from typer.testing import CliRunner

    from osbkit.cli import app
    from osbkit.store import migrate

    url = servers.fresh(kind)

    def told(command: str) -> Any:
        return CliRunner().invoke(app, ["db", command, "--database-url", url])

    assert told("current").stdout == "empty\n"
    assert told("check").exit_code != 0
    assert "before: empty" in told("upgrade").stdout
    assert "already" in told("upgrade").stdout
    assert told("check").exit_code == 0
    assert told("current").stdout == f"{migrate.head()}\n"

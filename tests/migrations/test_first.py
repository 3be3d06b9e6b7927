"""The first migration: the tables of the code, on every database it is meant for.

The statements for PostgreSQL, MariaDB and MySQL are printed, not run.
"""

import base64
import re
import sqlite3
from contextlib import closing
from io import StringIO
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from osbkit.errors import DatabaseUnusable, SettingsInvalid
from osbkit.store import address, migrate
from osbkit.store.migrate import Standing
from osbkit.store.sqlite import LockFile, SqliteStore
from osbkit.store.tables import SEALED, metadata
from tests.migrations.made_up import NEWER, NEWEST, Log, future

KEYS = "test:" + base64.b64encode(bytes(32)).decode()
DIALECTS = ["sqlite", "postgresql", "mariadb", "mysql"]
EXACT = {
    "mariadb": "COLLATE utf8mb4_nopad_bin",
    "mysql": "COLLATE utf8mb4_0900_bin",
}
BLOB = {
    "sqlite": "BLOB",
    "postgresql": "BYTEA",
    "mariadb": "MEDIUMBLOB",
    "mysql": "MEDIUMBLOB",
}

SINCE_FIRST = [
    one.revision
    for one in ScriptDirectory.from_config(migrate.config()).walk_revisions()
    if one.down_revision is not None
]


def printed(dialect: str) -> str:
    """The statements of an upgrade from nothing."""
    config = migrate.config()
    config.set_main_option("dialect", dialect)
    config.output_buffer = StringIO()
    command.upgrade(config, "head", sql=True)
    return str(config.output_buffer.getvalue())


def tables(statements: str) -> dict[str, dict[str, str]]:
    """Table → column → the rest of its line."""
    found: dict[str, dict[str, str]] = {}
    for name, body in re.findall(r"CREATE TABLE (\w+) \((.*?)\n\)", statements, re.S):
        lines = [line.strip().rstrip(",") for line in body.strip().splitlines()]
        found[name] = dict(line.split(" ", 1) for line in lines if line)
        found[name] = {key.strip('"`'): rest for key, rest in found[name].items()}
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "broker.db"


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"


# --- on SQLite, for real ------------------------------------------------------------


def test_upgrade_from_nothing_makes_the_tables_of_the_code(path):
    migrate.upgrade_file(path)

    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_names_of_keys_and_indexes_are_those_of_the_code(path, tmp_path):
    migrate.upgrade_file(path)
    metadata.create_all(other := sa.create_engine(f"sqlite:///{tmp_path / 'other.db'}"))
    migrated = sa.create_engine(f"sqlite:///{path}")
    inspected = [sa.inspect(engine) for engine in (migrated, other)]

    for table in metadata.tables:
        ours, theirs = (
            (one.get_pk_constraint(table), one.get_unique_constraints(table))
            for one in inspected
        )
        assert ours == theirs, table
        ours_, theirs_ = (one.get_indexes(table) for one in inspected)
        assert ours_ == theirs_, table
    for engine in (migrated, other):
        engine.dispose()


def test_upgrade_of_a_current_file_does_nothing_at_all(path, monkeypatch):
    migrate.upgrade_file(path)
    before = path.stat().st_mtime_ns
    monkeypatch.setattr(migrate, "run", pytest.fail)

    migrate.upgrade_file(path)

    assert path.stat().st_mtime_ns == before


def test_upgrade_that_breaks_off_leaves_nothing_half_done(path, monkeypatch):
    def die(*_: object) -> None:
        raise RuntimeError("killed between two statements")

    with monkeypatch.context() as patched:
        patched.setattr("alembic.op.create_index", die)
        with pytest.raises(RuntimeError):
            migrate.upgrade_file(path)

    assert migrate.revision_of(path) is None
    migrate.upgrade_file(path)
    assert migrate.revision_of(path) == migrate.head()


def test_unknown_schema_is_refused_and_left_alone(path):
    migrate.upgrade_file(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM meta WHERE name = 'schema.oldest'")
        db.execute("UPDATE alembic_version SET version_num = '0099'")
        db.commit()

    with pytest.raises(DatabaseUnusable) as refused:
        migrate.upgrade_file(path)

    assert "schema 0099" in str(refused.value)
    assert f"knows {migrate.head()}" in str(refused.value)
    assert migrate.revision_of(path) == "0099"


async def test_schema_that_a_newer_version_expanded_is_served(
    path, tmp_path, monkeypatch
):
    with future(tmp_path / "newer", migrate.head()):
        migrate.upgrade_file(path)

    monkeypatch.setattr(migrate, "log", log := Log())
    migrate.upgrade_file(path)
    store = SqliteStore(path, KEYS)
    await store.open()
    await store.ping()
    await store.close()

    assert migrate.revision_of(path) == NEWER
    head = migrate.head()
    fields = {"found": NEWER, "known": head, "oldest": head}
    assert log.events == [("schema.ahead", fields)] * 2


async def test_schema_that_a_newer_version_contracted_is_refused(path, tmp_path):
    """Also where an expansion before it had let this version run."""
    with future(tmp_path / "newer", migrate.head(), NEWER):
        migrate.upgrade_file(path)

    with pytest.raises(DatabaseUnusable, match=f"schema {NEWEST}.*a newer one"):
        await SqliteStore(path, KEYS).open()

    assert migrate.revision_of(path) == NEWEST


def test_version_between_runs_on_what_the_newest_left_for_it(path, tmp_path):
    with future(tmp_path / "newest", migrate.head(), NEWER):
        migrate.upgrade_file(path)

    with future(tmp_path / "newer", migrate.head()):
        assert migrate.found_at(path).standing is Standing.AHEAD
    with future(tmp_path / "newest"):
        assert migrate.found_at(path).standing is Standing.BEHIND


def test_commands_of_db_upgrade_and_tell_the_schema(url, path):
    assert migrate.current(url) is None
    assert not path.exists()

    migrate.upgrade(url)

    assert migrate.current(url) == migrate.head()


def test_file_without_tables_of_ours_has_no_schema(path):
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE other (a)")
        db.commit()

    assert migrate.revision_of(path) is None


def test_file_that_is_served_is_not_upgraded_beside_its_server(url, path, monkeypatch):
    monkeypatch.setattr(LockFile.take, "__kwdefaults__", {"wait": 0})
    server = LockFile(path)
    server.take()
    try:
        with pytest.raises(DatabaseUnusable, match="serves this SQLite file"):
            migrate.upgrade(url)
    finally:
        server.release()

    migrate.upgrade(url)
    LockFile(path).release()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        pytest.param("hunter2", "not a database URL", id="no URL"),
        pytest.param("oracle://u:hunter2@h/d", "serves sqlite, postgresql", id="other"),
        pytest.param("postgresql://u:hunter2@h/d", "is no file", id="a server"),
        pytest.param("mariadb://u:hunter2@h", "must name a database", id="no database"),
        pytest.param("sqlite://", "must name a file", id="no file"),
        pytest.param("sqlite:///:memory:", "must name a file", id="memory"),
    ],
)
def test_url_that_this_version_cannot_use_is_refused_without_being_repeated(url, said):
    with pytest.raises(SettingsInvalid) as refused:
        address.file_of(url)

    assert said in str(refused.value)
    assert "OSBKIT_DATABASE_URL" in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///osbkit.db", "osbkit.db"),
        ("sqlite:////var/lib/osbkit.db", "/var/lib/osbkit.db"),
        ("sqlite+pysqlite:///a/b.db", "a/b.db"),
    ],
)
def test_url_of_a_file_names_it(url, expected):
    assert address.file_of(url) == Path(expected)


# --- the revisions ------------------------------------------------------------------


def test_revisions_are_one_line_that_ends_where_the_code_is():
    scripts = ScriptDirectory.from_config(migrate.config())

    assert scripts.get_heads() == [migrate.head()]
    assert scripts.get_bases() == ["0001"]
    for revision in scripts.walk_revisions():
        assert not revision.is_branch_point
        assert not revision.is_merge_point


def test_revisions_are_found_beside_the_code_that_runs(tmp_path, monkeypatch):
    store = tmp_path / "site" / "osbkit" / "store"
    store.mkdir(parents=True)
    monkeypatch.setattr(migrate, "__file__", str(store / "migrate.py"))
    assert migrate.folder() == tmp_path / "site" / "migrations"

    (tmp_path / "site" / "osbkit" / "migrations").mkdir()
    assert migrate.folder() == tmp_path / "site" / "osbkit" / "migrations"


# --- what is printed ----------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_table_and_column_is_made_on_every_database(dialect):
    made = tables(printed(dialect))

    for table in metadata.tables.values():
        assert {column.name for column in table.c} <= set(made[table.name])
        for column in table.c:
            line = made[table.name][column.name]
            assert ("NOT NULL" in line) is not column.nullable, line


@pytest.mark.parametrize("dialect", DIALECTS)
def test_moments_are_wide_enough_for_microseconds(dialect):
    made = tables(printed(dialect))
    moments = ["created_at", "ended_at", "run_at", "deadline", "begun_at"]

    for name in moments:
        assert made["operations"][name].startswith("BIGINT"), name
    assert made["bindings"]["expires_at"].startswith("BIGINT")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_sealed_columns_hold_bytes(dialect):
    made = tables(printed(dialect))

    for column in SEALED:
        line = made[column.table.name][column.name]
        assert line.split(" ")[0] == BLOB[dialect], line


@pytest.mark.parametrize("dialect", DIALECTS)
def test_identifiers_are_compared_byte_for_byte(dialect):
    made = tables(printed(dialect))
    identifiers = [
        ("instances", "instance_id"),
        ("bindings", "instance_id"),
        ("bindings", "binding_id"),
        ("operations", "instance_id"),
        ("operations", "live_key"),
        ("operations", "id"),
        ("meta", "name"),
    ]

    for table, name in identifiers:
        line = made[table][name]
        assert line.startswith("VARCHAR("), line
        assert EXACT.get(dialect, "") in line
        assert ("COLLATE" in line) is (dialect in EXACT)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_keys_that_are_locks_are_made_under_their_names(dialect):
    statements = printed(dialect)

    for said in (
        "CONSTRAINT pk_instances PRIMARY KEY (instance_id)",
        "CONSTRAINT pk_bindings PRIMARY KEY (instance_id, binding_id)",
        "CONSTRAINT pk_operations PRIMARY KEY (id)",
        "CONSTRAINT uq_operations_live_key UNIQUE (live_key)",
        "INDEX ix_operations_instance_id_ended_at ON operations",
        "INDEX ix_operations_ended_at_run_at ON operations",
    ):
        assert said in statements, said


def test_keys_fit_what_innodb_allows():
    """3,072 bytes a key, 65,535 bytes a row without its texts and blobs."""
    for table in metadata.tables.values():
        widths = {
            column.name: 4 * column.type.length
            for column in table.c
            if isinstance(column.type, sa.String)
            and not isinstance(column.type, sa.Text)
            and column.type.length
        }
        assert sum(widths.values()) < 60_000
        keys = [list(table.primary_key), *(list(one.columns) for one in table.indexes)]
        for key in keys:
            width = sum(widths.get(column.name, 8) for column in key)
            assert width <= 3072, (table.name, key)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_revision_says_in_print_which_code_may_run_on_it(dialect, tmp_path):
    """One that says nothing would leave the word of the one before it."""
    with future(tmp_path / "newer", migrate.head()):
        steps = printed(dialect).split("-- Running upgrade ")[2:]

    assert len(steps) == len(SINCE_FIRST) + 1
    for step in steps:
        oldest = re.findall(
            r"INSERT INTO meta .*VALUES \('schema.oldest', '(\d+)'\)", step
        )
        assert len(oldest) == 1, step
        assert step.index("DELETE FROM meta WHERE") < step.index("INSERT INTO meta")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_printed_statements_write_the_revision_down(dialect):
    assert f"version_num='{migrate.head()}'" in printed(dialect)

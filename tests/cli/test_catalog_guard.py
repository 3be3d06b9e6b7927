"""`osbkit catalog diff | ids` and `osbkit serve --allow`, on databases of brokers."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from osbkit.backends.scripted import ScriptedBackend
from osbkit.settings import Settings
from osbkit.store import migrate
from tests.flows.serving import (
    AUTO,
    PASSWORD,
    QUEUE,
    SYNC,
    USER,
    Json,
    Served,
    a_catalog,
    plan,
    queue,
    serving,
)

TINY, LARGE = plan(SYNC, "tiny"), plan(AUTO, "large")
Talk = Callable[[Served], Awaitable[None]]


async def two_instances(broker: Served) -> None:
    for instance in ("i-1", "i-2"):
        assert (await broker.put(instance, plan=AUTO)).status_code == 201


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'osbkit.db'}"


@pytest.fixture
def served_before(tmp_path: Path) -> Callable[..., None]:
    """A broker with the plans `tiny` and `large` was here, and its talk."""

    def serve(talk: Talk = two_instances) -> None:
        async def whole() -> None:
            catalog = a_catalog(queue(plans=[TINY, LARGE]))
            async with serving(
                tmp_path, {"queue": ScriptedBackend()}, catalog
            ) as broker:
                await talk(broker)

        asyncio.run(whole())

    return serve


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write a catalog of the offering `queue` with these plans."""

    def write(*plans: Json, **fields: Any) -> str:
        path = tmp_path / "catalog.yaml"
        document = {"services": [queue(plans=list(plans)) | fields]}
        path.write_text(yaml.safe_dump(document))
        return str(path)

    return write


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


# --- diff -----------------------------------------------------------------------------


def test_before_the_first_start_everything_is_new(osbkit, write, database, tmp_path):
    catalog = write(TINY)

    result = osbkit("catalog", "diff", catalog, "--database-url", database)

    assert result.exit_code == 0, result.output
    assert ["added", "offering", "queue", QUEUE, "0", "–"] in rows(result.stdout)
    assert ["added", "plan", "queue/tiny", SYNC, "0", "–"] in rows(result.stdout)
    assert "A start would serve it: 2 changes." in result.stdout
    assert "no catalog was served" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["catalog.yaml"]


def test_the_catalog_last_served_changes_nothing(
    osbkit, write, database, served_before
):
    served_before()

    result = osbkit("catalog", "diff", write(TINY, LARGE), "--database-url", database)

    assert result.exit_code == 0
    assert result.stdout == "A start would serve it: 0 changes.\n"
    assert result.stderr == ""


def test_what_a_start_would_refuse_is_told_with_status_1(
    osbkit, write, database, served_before
):
    served_before()
    catalog = write(plan(SYNC, "small"), plan(str(uuid.UUID(int=9)), "huge"))

    result = osbkit("catalog", "diff", catalog, "--database-url", database)

    assert result.exit_code == 1
    table = rows(result.stdout)
    assert ["renamed", "plan", "queue/tiny", SYNC, "0", "warning"] in table
    assert ["removed", "plan", "queue/large", AUTO, "2", "refused"] in table
    assert ["added", "plan", "queue/huge", str(uuid.UUID(int=9)), "0", "–"] in table
    assert (
        f"refused: plan queue/large ({AUTO}) has left the catalog, while 2 service"
        " instances live on it. Put it back until they are deleted."
    ) in result.stdout
    assert "A start would be refused: 1 finding." in result.stdout


def test_a_reused_id_is_told_with_status_1(osbkit, tmp_path, database, served_before):
    served_before()
    path = tmp_path / "catalog.yaml"
    other = queue(plans=[TINY, LARGE]) | {"id": str(uuid.UUID(int=7))}
    path.write_text(yaml.safe_dump({"services": [other]}))

    result = osbkit("catalog", "diff", str(path), "--database-url", database)

    assert result.exit_code == 1
    assert ["reused", "plan", "queue/tiny", SYNC, "0", "refused"] in rows(result.stdout)
    assert f"Write the offering's old id back: {QUEUE}." in result.stdout


@pytest.mark.parametrize(
    ("arguments", "variable"),
    [
        pytest.param(["--allow", AUTO], "", id="its id"),
        pytest.param(["--allow", "x", "--allow", AUTO], "", id="several ids"),
        pytest.param(["--allow", "all"], "", id="all"),
        pytest.param([], AUTO, id="the setting"),
    ],
)
def test_an_allowed_change_is_not_refused(
    osbkit, write, database, served_before, monkeypatch, arguments, variable
):
    served_before()
    monkeypatch.setenv("OSBKIT_ALLOW_CATALOG_CHANGES", variable)

    result = osbkit(
        "catalog", "diff", write(TINY), "--database-url", database, *arguments
    )

    assert result.exit_code == 0, result.output
    assert ["removed", "plan", "queue/large", AUTO, "2", "allowed"] in rows(
        result.stdout
    )
    assert "A start would serve it: 1 change." in result.stdout


def test_as_json_every_field_is_there(osbkit, write, database, served_before):
    served_before()

    result = osbkit(
        "catalog", "diff", write(TINY), "--database-url", database, "--json"
    )

    assert result.exit_code == 1
    [change] = (told := json.loads(result.stdout))["changes"]
    assert told["refused"] is True
    assert change.pop("problem")
    assert change.pop("fix")
    assert change == {
        "kind": "removed",
        "of": "plan",
        "name": "queue/large",
        "id": AUTO,
        "instances": 2,
        "level": "error",
        "refused": True,
    }


def test_a_running_broker_is_not_disturbed(osbkit, write, database, served_before):
    """Its lock is not taken, its rows stay."""

    async def talk(broker: Served) -> None:
        await two_instances(broker)
        before = await broker.everything()
        arguments = ("catalog", "diff", write(TINY), "--database-url", database)
        result = await asyncio.to_thread(osbkit, *arguments)
        assert ["removed", "plan", "queue/large", AUTO, "2", "refused"] in rows(
            result.stdout
        )
        assert await broker.everything() == before
        assert (await broker.delete("i-1")).status_code == 200

    served_before(talk)


def test_nothing_is_left_beside_the_database(
    osbkit, write, database, served_before, tmp_path
):
    served_before()
    catalog = write(TINY)
    before = {path.name for path in tmp_path.iterdir()}

    osbkit("catalog", "diff", catalog, "--database-url", database)

    assert {path.name for path in tmp_path.iterdir()} == before
    assert "osbkit.db-wal" not in before


def test_the_database_of_the_settings_is_the_default(
    osbkit, write, database, served_before, monkeypatch
):
    served_before()
    monkeypatch.setenv("OSBKIT_DATABASE_URL", database)

    assert osbkit("catalog", "diff", write(TINY)).exit_code == 1


def test_a_catalog_that_breaks_a_rule_would_be_refused_as_well(osbkit, write, database):
    catalog = write(TINY, plan(SYNC, "other"))

    result = osbkit("catalog", "diff", catalog, "--database-url", database)

    assert result.exit_code == 1
    assert "is the same id as services[0].plans[0].id" in result.stderr


def test_a_directory_that_is_not_there_is_no_new_database(osbkit, write, tmp_path):
    url = f"sqlite:///{tmp_path / 'mistyped' / 'osbkit.db'}"

    result = osbkit("catalog", "diff", write(TINY), "--database-url", url)

    assert result.exit_code == 1
    assert "mistyped" in result.stderr
    assert "does not exist" in result.stderr


def older(path: Path) -> None:
    migrate.upgrade(f"sqlite:///{path}")
    with sqlite3.connect(path) as db:
        db.execute("UPDATE alembic_version SET version_num = '0001'")
    db.close()


def garbage(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        pytest.param(older, "osbkit db upgrade", id="another schema"),
        pytest.param(garbage, "cannot be read", id="no database"),
    ],
)
def test_a_database_that_cannot_be_read_is_a_sentence(
    osbkit, write, database, tmp_path, prepare, words
):
    prepare(tmp_path / "osbkit.db")

    result = osbkit("catalog", "diff", write(TINY), "--database-url", database)

    assert result.exit_code == 1
    assert words in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.output


def test_an_empty_database_holds_nothing_yet(osbkit, write, database):
    migrate.upgrade(database)

    result = osbkit("catalog", "diff", write(TINY), "--database-url", database)

    assert result.exit_code == 0
    assert "2 changes" in result.stdout


AUTHOR = """
from osbkit import Broker, Catalog
from osbkit.backends.scripted import ScriptedBackend

print("hello from the author")

def read():
    print("read")
    return catalog

catalog = Catalog.from_yaml({path!r})
broker = Broker(catalog=read, backends={{{key!r}: ScriptedBackend()}})
app = broker.app
"""


@pytest.fixture
def module(tmp_path, monkeypatch, request):
    """An author's module in the working directory; its name is new each time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"guarded_{abs(hash(request.node.name))}"

    def module(path: str, key: str) -> str:
        (tmp_path / f"{name}.py").write_text(AUTHOR.format(path=path, key=key))
        return name

    return module


@pytest.mark.parametrize("attribute", ["broker", "app"])
def test_of_a_broker_the_backends_are_compared_too(
    osbkit, write, database, served_before, module, attribute
):
    served_before()
    name = module(write(LARGE, TINY, name="messages"), "messages")

    result = osbkit(
        "catalog", "diff", f"{name}:{attribute}", "--database-url", database, "--json"
    )

    kinds = {
        (change["kind"], change["name"], change["level"])
        for change in json.loads(result.stdout)["changes"]
    }
    assert result.exit_code == 1
    assert kinds == {
        ("renamed", "queue", "warning"),
        ("stranded", "queue/large", "error"),
    }


def test_of_a_catalog_in_a_module_only_ids_are_compared(
    osbkit, write, database, served_before, module
):
    served_before()
    name = module(write(LARGE, TINY, name="messages"), "messages")

    result = osbkit("catalog", "diff", f"{name}:catalog", "--database-url", database)

    assert result.exit_code == 0, result.output
    assert "made by the backend" not in result.stdout


# --- serve ----------------------------------------------------------------------------


def test_a_refused_catalog_ends_serve_with_status_3_and_every_finding(
    write, database, served_before, module, tmp_path
):
    served_before()
    name = module(write(TINY), "queue")
    environment = {
        "OSBKIT_DATABASE_URL": database,
        "OSBKIT_BASIC_USER": USER,
        "OSBKIT_BASIC_PASSWORD": PASSWORD,
        "OSBKIT_LOG_FORMAT": "console",
    }
    command = [
        sys.executable, "-c", "from osbkit.cli import main; main()",
        "serve", f"{name}:app", "--allow", SYNC,
    ]  # fmt: skip

    ended = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )

    assert ended.returncode == 3
    assert f"plan queue/large ({AUTO}) has left the catalog" in ended.stderr
    assert f"OSBKIT_ALLOW_CATALOG_CHANGES={AUTO}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_allow_of_serve_is_the_setting_under_another_name(
    osbkit, write, module, monkeypatch
):
    seen: list[Any] = []
    monkeypatch.setattr("osbkit.cli.serve._run", seen.append)
    monkeypatch.setenv("OSBKIT_ALLOW_CATALOG_CHANGES", "other")  # put back afterwards
    name = module(write(TINY), "queue")

    result = osbkit("serve", f"{name}:app", "--allow", "a", "--allow", "b")

    assert result.exit_code == 0, result.output
    assert len(seen) == 1
    assert os.environ["OSBKIT_ALLOW_CATALOG_CHANGES"] == "a,b"
    assert Settings.from_environment().allow_catalog_changes == {"a", "b"}


# --- ids ------------------------------------------------------------------------------


def test_ids_are_written_once(osbkit, tmp_path):
    path = tmp_path / "catalog.yaml"
    path.write_text(
        "services:\n- name: queue # ours\n  description: d\n  bindable: true\n"
        f"  plans:\n  - {{name: tiny, description: d}}\n"
        f"  - {{id: {SYNC}, name: large, description: d}}\n"
    )

    first = osbkit("catalog", "ids", str(path))
    written = path.read_text()
    again = osbkit("catalog", "ids", str(path))

    assert first.exit_code == 0, first.output
    assert "2 ids written" in first.stdout
    lines = [line for line in first.stdout.splitlines() if line.startswith("services")]
    for line, where in zip(
        lines,
        ("services[0] (queue): ", "services[0].plans[0] (queue/tiny): "),
        strict=True,
    ):
        assert line.startswith(where)
        assert str(uuid.UUID(line.removeprefix(where))) in written
    assert "  name: queue # ours\n" in written
    assert again.exit_code == 0
    assert "nothing was written" in again.stdout
    assert path.read_text() == written
    assert osbkit("catalog", "validate", str(path)).exit_code == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(None, "cannot be read", id="no file"),
        pytest.param("services: [", "is not YAML", id="no YAML"),
        pytest.param("services:\n- ? name\n  : a\n", "Write it by hand", id="no place"),
    ],
)
def test_ids_that_cannot_be_written_are_a_sentence(osbkit, tmp_path, text, words):
    path = tmp_path / "catalog.yaml"
    if text is not None:
        path.write_text(text)

    result = osbkit("catalog", "ids", str(path))

    assert result.exit_code == 1
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert text is None or path.read_text() == text

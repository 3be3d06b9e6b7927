"""`osbkit reconcile`, on databases and services that a broker has left."""

import asyncio
import contextlib
import json
import sqlite3
import sys
import types
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from examples.queue_broker.backend import EmbeddedQueueBackend
from examples.queue_broker.queue_store import QueueStore
from examples.queue_broker.settings import QueueBrokerSettings
from osbkit import Broker, Catalog, ServiceBackend, Settings
from osbkit.backends.scripted import ScriptedBackend, fail
from osbkit.store import migrate
from osbkit.store.sqlite import LockFile
from osbkit.store.tables import instances, operations
from tests import servers
from tests.flows.serving import AUTO, SYNC, Served, a_catalog, serving, soon
from tests.flows.test_reconcile import KEYS, TABLES, forgotten, past

Talk = Callable[[Served], Awaitable[Any]]
LOOK = ("reconcile", "a_broker:broker", "--older-than", "0")


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend()


class Scene:
    """A broker that comes and goes, and the command line between."""

    def __init__(self, folder: Path, osbkit: Any, monkeypatch: Any) -> None:
        self.folder = folder
        self.osbkit = osbkit
        self.backends: dict[str, ServiceBackend[Any, Any]] = {}
        self.catalog = a_catalog()
        self.settings: dict[str, Any] = {
            "database_url": SecretStr(f"sqlite:///{folder / 'osbkit.db'}")
        }
        self._monkeypatch = monkeypatch

    def served(self, *talks: Talk) -> None:
        """Serve for as long as the talks take."""

        async def whole() -> None:
            async with serving(
                self.folder, self.backends, self.catalog, **self.settings
            ) as broker:
                for talk in talks:
                    await talk(broker)
                await broker.quiet()

        asyncio.run(whole())

    def command(self, *arguments: str, look: tuple[str, ...] = LOOK) -> Any:
        """Run it on a Broker of its own."""
        module: Any = types.ModuleType("a_broker")
        module.broker = Broker(
            catalog=self.catalog,
            backends=self.backends,
            settings=Settings(log_level="ERROR", auth="disabled", **self.settings),
        )
        module.something = 1
        self._monkeypatch.setitem(sys.modules, "a_broker", module)
        return self.osbkit(*look, *arguments)

    def told(self, *arguments: str) -> Any:
        """The same, as JSON."""
        result = self.command("--json", *arguments)
        assert result.exit_code in {0, 1}, result.output
        return json.loads(result.stdout)


@pytest.fixture
def scene(tmp_path, osbkit, monkeypatch, backend) -> Scene:
    made = Scene(tmp_path, osbkit, monkeypatch)
    made.backends = {"queue": backend}
    return made


async def one_instance(broker: Served) -> None:
    assert (await broker.put("i-1", plan=AUTO)).status_code == 201


async def deleted(broker: Served) -> None:
    assert (await broker.delete("i-1")).status_code == 200


def with_an_orphan(scene: Scene, backend: ScriptedBackend) -> str:
    """What outlived its deletion; its name."""
    scene.served(one_instance)
    things = dict(backend.instances)
    scene.served(deleted, past)
    backend.instances |= things
    [name] = things
    return name


# --- look -----------------------------------------------------------------------------


def test_where_all_fits_the_status_is_0(scene, backend):
    scene.served(one_instance)

    result = scene.command()

    assert result.exit_code == 0, result.output
    assert result.stdout == "orphans: 0, lost: 0, matched: 1, busy: 0\n"
    assert result.stderr == ""


def test_findings_are_told_by_name_with_status_1(scene, backend):
    async def another(broker: Served) -> None:
        await broker.put("i-2", plan=AUTO)

    orphan = with_an_orphan(scene, backend)
    scene.served(another, past)
    [lost] = set(backend.instances) - {orphan}
    del backend.instances[lost]

    result = scene.command()

    assert result.exit_code == 1
    lines = [line.split() for line in result.stdout.splitlines()]
    of = ["i-1", "(generation", "1)", "deleted,", "and", "still", "there", "–"]
    assert [orphan, "instance", "queue", *of] in lines
    there = ["i-2", "(generation", "1)", "queue/auto", "default"]
    assert [lost, "instance", "queue", *there] in lines
    assert "orphans: 1, lost: 1, matched: 0, busy: 0" in result.stdout


def test_as_json_every_field_is_there(scene, backend):
    orphan = with_an_orphan(scene, backend)
    backend.instances["stranger"] = None

    assert scene.told() == {
        "counts": {"orphans": 2, "lost": 0, "matched": 0, "busy": 0},
        "orphans": [
            {
                "name": orphan,
                "kind": "instance",
                "backend": "queue",
                "why": "deleted",
                "instance_id": "i-1",
                "generation": 1,
                "created_at": None,
                "note": "",
            },
            {
                "name": "stranger",
                "kind": "instance",
                "backend": "queue",
                "why": "unknown",
                "instance_id": None,
                "generation": None,
                "created_at": None,
                "note": "",
            },
        ],
        "lost": [],
        "busy": [],
        "not_compared": {},
    }


def test_lost_ones_and_bindings_are_told_as_json(scene, backend):
    async def bound(broker: Served) -> None:
        await one_instance(broker)
        assert (await broker.bind("b-1", "i-1")).status_code == 201

    scene.served(bound, past)
    backend.bindings.clear()

    told = scene.told()

    [lost] = told["lost"]
    assert lost.pop("name").startswith("osb-")
    assert lost == {
        "kind": "binding",
        "backend": "queue",
        "instance_id": "i-1",
        "generation": 1,
        "binding_id": "b-1",
        "binding_generation": 1,
        "offering": "queue",
        "plan": "auto",
        "platform": "default",
    }


def test_looking_changes_nothing(scene, backend):
    with_an_orphan(scene, backend)
    before = (scene.folder / "osbkit.db").read_bytes()

    scene.command()

    assert (scene.folder / "osbkit.db").read_bytes() == before
    assert backend.made("deprovision")[-1].ended == "returned"
    assert len(backend.left) == 1


def test_what_is_young_is_left_alone_by_default(scene, backend):
    scene.served(one_instance)
    things = dict(backend.instances)
    scene.served(deleted)
    backend.instances |= things

    result = scene.command(look=LOOK[:2])

    assert result.exit_code == 0
    assert "orphans: 0, lost: 0, matched: 0, busy: 1" in result.stdout


def test_rows_that_could_not_be_compared_are_noted(scene, backend):
    class Silent(ScriptedBackend):
        inventory = ServiceBackend.inventory

    scene.backends = {"queue": backend, "queue/sync": Silent()}

    async def on_sync(broker: Served) -> None:
        assert (await broker.put("i-1", plan=SYNC)).status_code == 201

    scene.served(on_sync)

    result = scene.command()
    assert result.exit_code == 0
    assert "Not compared: 1 of the backend 'queue/sync'" in result.stderr
    assert scene.command("--backend", "queue").stderr == ""
    only = scene.command("--backend", "queue/sync")
    assert only.exit_code == 3
    assert "no method inventory" in only.stderr


# --- remove ---------------------------------------------------------------------------


def test_a_recorded_removal_happens_at_the_next_start(scene, backend):
    orphan = with_an_orphan(scene, backend)

    result = scene.command("--remove", orphan, "--yes")

    assert result.exit_code == 0, result.output
    assert f"{orphan}: recorded; the broker removes it" in result.stdout
    assert backend.left == {orphan}
    busy = scene.told()
    assert [(one["name"], one["why"]) for one in busy["busy"]] == [
        (orphan, "operation")
    ]
    scene.served(past)
    assert backend.left == set()
    assert scene.command().exit_code == 0


def test_all_that_is_provably_ours_is_removed_and_strangers_stay(scene, backend):
    orphan = with_an_orphan(scene, backend)
    backend.instances["osb-stranger"] = None

    told = scene.told("--remove-all", "--yes")

    [removed] = told["removed"]
    assert (removed["name"], removed["how"]) == (orphan, "recorded")
    assert removed["operation"]
    scene.served(past)
    assert backend.left == {"osb-stranger"}
    assert scene.command("--remove-all", "--yes").exit_code == 1


def test_a_stranger_is_removed_by_its_name(scene, backend):
    backend.instances["osb-stranger"] = None
    scene.served()

    result = scene.command("--remove", "osb-stranger", "--yes")

    assert result.exit_code == 0
    assert "osb-stranger: removed.\n" in result.stdout
    assert backend.left == set()


def test_a_removal_that_fails_is_told_and_does_not_stop_the_others(scene, backend):
    backend.instances |= {"osb-a": None, "osb-b": None}
    backend.next("deprovision", fail(RuntimeError("secret")))
    scene.served()

    result = scene.command("--remove", "osb-a", "--remove", "osb-b", "--yes")

    assert result.exit_code == 1
    assert "osb-a could not be removed (RuntimeError)." in result.stderr
    assert "secret" not in result.output
    assert backend.left == {"osb-a"}


def test_without_a_yes_nothing_is_removed(scene, backend):
    orphan = with_an_orphan(scene, backend)

    result = scene.command("--remove", orphan)

    assert result.exit_code == 2
    assert "say --yes" in result.stderr
    assert scene.told()["counts"]["orphans"] == 1


@pytest.mark.parametrize(("said", "status"), [("y\n", 0), ("n\n", 1)])
def test_on_a_terminal_one_is_asked(scene, backend, monkeypatch, said, status):
    backend.instances["osb-stranger"] = None
    scene.served()
    monkeypatch.setattr("osbkit.cli.reconcile.on_terminal", lambda: True)
    scene.osbkit = partial(scene.osbkit, input=said)

    result = scene.command("--remove", "osb-stranger")

    assert result.exit_code == status
    assert "Remove 1 of them, with all that is in them?" in result.stderr
    assert bool(backend.left) == bool(status)


def test_only_an_orphan_can_be_removed(scene, backend):
    scene.served(one_instance, past)
    [name] = backend.left

    result = scene.command("--remove", name, "--yes")

    assert result.exit_code == 1
    assert f"{name} is no orphan." in result.stderr
    assert backend.left == {name}


def test_what_is_busy_is_not_removed(scene, backend):
    scene.served(one_instance)
    things = dict(backend.instances)
    scene.served(deleted)
    backend.instances |= things
    [name] = things

    result = scene.command("--remove", name, "--yes", look=LOOK[:2])

    assert result.exit_code == 1
    assert f"{name} is busy" in result.stderr


# --- adopt ----------------------------------------------------------------------------

AS_SENT = ("--plan", "queue/auto", "--organization", "org", "--space", "space")


def test_after_a_restore_an_instance_is_adopted(scene, backend):
    scene.served(one_instance, partial(forgotten_all))
    [name] = backend.left

    result = scene.command(
        *("--adopt", name, *AS_SENT, "--params", '{"a": 1}', "--yes"),
        *("--facts", '{"server": "one"}'),
    )

    assert result.exit_code == 0, result.output
    assert f"{name} is the service instance i-1 again." in result.stdout

    async def there(broker: Served) -> None:
        row = await broker.row("i-1")
        assert (row.parameters, row.facts) == ({"a": 1}, {"server": "one"})
        again = await broker.put("i-1", plan=AUTO, parameters={"a": 1})
        assert again.status_code == 200

    scene.served(there)
    assert scene.command().exit_code == 0


async def forgotten_all(broker: Served) -> None:
    await forgotten(broker, *TABLES)


def test_an_adoption_is_told_as_json(scene, backend):
    scene.served(one_instance, forgotten_all)
    [name] = backend.left

    told = scene.told("--adopt", name, *AS_SENT, "--yes")

    assert told["adopted"] == {"name": name, "instance_id": "i-1", "generation": 1}


def test_what_cannot_be_adopted_is_refused_with_a_sentence(scene, backend):
    backend.instances["osb-stranger"] = None
    scene.served()
    adopt = ("--adopt", "osb-stranger", *AS_SENT, "--yes")

    refused = scene.command(*adopt)
    assert refused.exit_code == 1
    assert "say which it is" in refused.stderr
    refused = scene.command(*adopt, "--instance", "i-9")
    assert refused.exit_code == 1
    assert "not the name of this instance" in refused.stderr


# --- what cannot be done --------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(["--older-than", "soon"], "no span of time", id="span"),
        pytest.param(["--adopt", "osb-x"], "--adopt needs --plan", id="adopt alone"),
        pytest.param(
            ["--adopt", "osb-x", *AS_SENT, "--plan", "auto"],
            "not of the form OFFERING/PLAN",
            id="plan",
        ),
        pytest.param(
            ["--adopt", "osb-x", *AS_SENT, "--remove-all"],
            "in two commands",
            id="adopt and remove",
        ),
        pytest.param(
            ["--adopt", "osb-x", *AS_SENT, "--params", "{"],
            "--params is not valid JSON",
            id="parameters",
        ),
        pytest.param(["--backend", "none"], "There is no backend 'none'", id="backend"),
    ],
)
def test_a_command_line_that_cannot_be_used_has_status_2(
    scene, backend, arguments, sentence
):
    scene.served()

    result = scene.command(*arguments)

    assert result.exit_code == 2, result.output
    assert sentence in result.stderr


def test_what_is_no_broker_is_refused(scene, backend):
    scene.command()

    result = scene.osbkit("reconcile", "a_broker:something")

    assert result.exit_code == 2
    assert "neither a Broker" in result.stderr


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5m", 90), ("2h", 7200), ("1d", 86400)]
)
def test_spans_are_read(text, seconds):
    from osbkit.cli.reconcile import _seconds

    assert _seconds(text) == seconds


def test_without_a_database_there_is_nothing_to_compare_and_none_is_made(
    scene, backend
):
    """A wrong OSBKIT_DATABASE_URL must not make everything an orphan."""
    result = scene.command()

    assert result.exit_code == 3
    assert "There is no database" in result.stderr
    assert list(scene.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("revision", "oldest", "sentence"),
    [
        pytest.param("0001", "0001", "run `osbkit db upgrade`", id="behind"),
        pytest.param("9999", "9998", "Run the version that made it", id="ahead"),
    ],
)
def test_a_database_at_another_schema_is_not_touched(
    scene, backend, revision, oldest, sentence
):
    scene.served()
    with contextlib.closing(sqlite3.connect(scene.folder / "osbkit.db")) as db:
        db.execute("UPDATE alembic_version SET version_num = ?", [revision])
        db.execute("DELETE FROM meta WHERE name = 'schema.oldest'")
        db.execute("INSERT INTO meta VALUES ('schema.oldest', ?)", [oldest])
        db.commit()

    result = scene.command()

    assert result.exit_code == 3
    assert sentence in result.stderr
    assert migrate.current(f"sqlite:///{scene.folder / 'osbkit.db'}") == revision


def test_a_running_broker_keeps_its_sqlite_file(scene, backend, monkeypatch):
    scene.served()
    monkeypatch.setattr("osbkit.store.sqlite.LOCK_WAIT", 0.0)
    monkeypatch.setattr(LockFile.take, "__kwdefaults__", {"wait": 0.0})
    lock = LockFile(scene.folder / "osbkit.db")
    lock.take()
    try:
        result = scene.command()
    finally:
        lock.release()

    assert result.exit_code == 3
    assert "Another process" in result.stderr


def test_a_service_that_cannot_be_asked_has_status_3(scene, backend):
    scene.served(one_instance)
    backend.next("inventory", fail(RuntimeError("secret")))

    result = scene.command()

    assert result.exit_code == 3
    assert "could not list what exists (RuntimeError)" in result.stderr
    assert "secret" not in result.output


def test_a_backend_that_does_not_open_has_status_3(scene, backend):
    class Closed(ScriptedBackend):
        async def open(self) -> None:
            raise RuntimeError("secret")

    scene.served()
    scene.backends = {"queue": Closed()}

    result = scene.command()

    assert result.exit_code == 3
    assert "RuntimeError" in result.stderr
    assert "secret" not in result.output


# --- the queue broker, and a server ---------------------------------------------------


def test_queues_and_tokens_of_the_example_are_compared(scene, tmp_path):
    root = Path(__file__).parents[2] / "examples" / "queue_broker"
    scene.catalog = Catalog.from_yaml(root / "catalog.yaml")
    tiny = scene.catalog.services[0].plans[0]
    ids = {"service_id": scene.catalog.services[0].id, "plan_id": tiny.id}
    settings = QueueBrokerSettings(directory=tmp_path / "queues")
    scene.backends = {
        "osbkit-queue": EmbeddedQueueBackend(QueueStore(), settings=lambda: settings)
    }

    async def talk(broker: Served) -> None:
        for instance in ("i-1", "i-2"):
            made = await broker.put(instance, **ids)
            assert made.status_code == 201
            assert (await broker.bind("b-1", instance, **ids)).status_code == 201

    scene.served(talk, past)
    assert scene.told()["counts"] == {
        "orphans": 0,
        "lost": 0,
        "matched": 4,
        "busy": 0,
    }

    scene.served(forget_the_second)
    [victim] = [one for one in scene.told()["orphans"] if one["kind"] == "instance"]
    assert (victim["instance_id"], victim["why"]) == ("i-2", "no row")
    assert victim["created_at"]
    token = next(one for one in scene.told()["orphans"] if one["kind"] == "binding")
    assert (token["binding_id"], token["why"]) == ("b-1", "no row")

    assert scene.command("--remove-all", "--yes").exit_code == 0
    scene.served(past)
    assert scene.told()["counts"] == {
        "orphans": 0,
        "lost": 0,
        "matched": 2,
        "busy": 0,
    }

    for path in (tmp_path / "queues").iterdir():
        path.unlink()
    assert scene.told()["counts"]["lost"] == 2


async def forget_the_second(broker: Served) -> None:
    from osbkit.store.tables import bindings

    def unit(db: Any) -> None:
        for table in (operations, bindings, instances):
            db.execute(table.delete().where(table.c.instance_id == "i-2"))

    await broker.running.house.store.write(unit)


def test_beside_a_server_the_broker_removes_at_once(scene, backend, monkeypatch):
    url = servers.fresh("postgresql")
    migrate.upgrade(url)
    scene.settings = {"database_url": SecretStr(url), "encryption_keys": KEYS}
    monkeypatch.setattr("osbkit.lifecycle.reconcile.SKEW", 0.0)
    orphan = with_an_orphan(scene, backend)

    async def talk(broker: Served) -> None:
        command = partial(scene.command, "--remove", orphan, "--yes")
        result = await soon(asyncio.to_thread(command))
        assert result.exit_code == 0, result.output
        assert f"{orphan}: removed." in result.stdout
        assert backend.left == set()

    scene.served(talk)


def test_bindings_are_removed_before_their_instances(scene, backend):
    """An operation on an instance is one on its bindings: they would be busy."""

    async def bound(broker: Served) -> None:
        await one_instance(broker)
        for number in range(4):
            assert (await broker.bind(f"b-{number}", "i-1")).status_code == 201

    scene.served(bound, forgotten_all)

    told = scene.told("--remove-all", "--yes")

    assert [each["how"] for each in told["removed"]] == ["recorded"] * 5
    scene.served(past)
    assert backend.left == set()

"""What the README prints works: its broker, its commands, its manifests."""

import hashlib
import importlib.util
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import yaml

from examples.queue_broker import worker_app
from examples.queue_broker.app import broker as queue_broker
from osbkit.api import hashes
from osbkit.catalog import Catalog, Unfit, findings
from osbkit.errors import SettingsInvalid
from osbkit.settings import Settings, known_names
from tests.docs.pages import README, ROOT, rows, told

USER, PASSWORD = "platform", "a password for tests"
GUIDS = {"organization_guid": "org", "space_guid": "space"}
FLAG = {"accepts_incomplete": "true"}

# --- the broker in 40 lines -------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The author's directory: the README's files, and nothing else."""
    for name, body in README.files().items():
        (tmp_path / name).write_text(body)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OSBKIT_BASIC_USER", USER)
    monkeypatch.setenv("OSBKIT_BASIC_PASSWORD", PASSWORD)
    return tmp_path


@pytest.fixture
def printed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The README's `app.py`, imported."""
    spec = importlib.util.spec_from_file_location("app_of_readme", folder / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "app_of_readme", module)
    spec.loader.exec_module(module)
    return module


@asynccontextmanager
async def platform_of(broker: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Start a broker in this process, and ask it as a platform does."""
    async with (
        broker.lifespan(),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app=broker.app),
            base_url="http://broker/v2",
            auth=(USER, PASSWORD),
            headers={"X-Broker-API-Version": "2.17"},
        ) as http,
    ):
        yield http


def test_the_broker_of_the_readme_has_at_most_forty_lines():
    lines = README.files()["app.py"].splitlines()

    assert len([line for line in lines if line.strip()]) <= 40


def test_its_catalog_has_no_findings(folder: Path):
    assert findings(Catalog.from_yaml(folder / "catalog.yaml")) == []


@pytest.mark.parametrize(
    ("plan", "kept"),
    [
        pytest.param("plain", lambda key: key, id="the offering's backend"),
        pytest.param(
            "hashed",
            lambda key: hashlib.sha256(key.encode()).hexdigest(),
            id="the plan's own backend",
        ),
    ],
)
async def test_it_makes_binds_and_removes_on_each_of_its_backends(
    folder: Path, printed: ModuleType, plan: str, kept: Any
):
    async with platform_of(printed.broker) as http:
        (offering,) = (await http.get("/catalog")).json()["services"]
        (plan_id,) = [one["id"] for one in offering["plans"] if one["name"] == plan]
        ids = {"service_id": offering["id"], "plan_id": plan_id}
        instance = "/service_instances/shop"
        binding = f"{instance}/service_bindings/web"
        body = {**ids, **GUIDS, "parameters": {"audience": "shop"}}

        made = await http.put(instance, json=body, params=FLAG)
        bound = await http.put(binding, json=ids)
        key = bound.json()["credentials"]["key"]
        written = [path.read_text() for path in (folder / plan).glob("*/*")]
        unbound = await http.delete(binding, params=ids)
        left = list((folder / plan).glob("*/*"))
        removed = await http.delete(instance, params=ids)

    assert (made.status_code, bound.status_code) == (201, 201)
    assert len(key) == 32
    assert written == [kept(key)]
    assert (unbound.status_code, left) == (200, [])
    assert (removed.status_code, list((folder / plan).iterdir())) == (200, [])


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        pytest.param(
            {"audience": "internal"},
            "The audience `internal` is reserved: name another.",
            id="Refused",
        ),
        pytest.param(
            {"audience": 7},
            "The parameters do not fit: audience must be a string.",
            id="the model",
        ),
    ],
)
async def test_what_it_refuses_is_a_400_with_a_sentence(
    folder: Path, printed: ModuleType, parameters: dict[str, Any], sentence: str
):
    async with platform_of(printed.broker) as http:
        (offering,) = (await http.get("/catalog")).json()["services"]
        ids = {"service_id": offering["id"], "plan_id": offering["plans"][0]["id"]}
        refused = await http.put(
            "/service_instances/shop",
            json={**ids, **GUIDS, "parameters": parameters},
            params=FLAG,
        )

    assert refused.status_code == 400
    assert refused.json() == {"description": sentence}
    assert not (folder / "plain").exists()


# --- the commands ------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def printed_command(beginning: str) -> list[str]:
    """A command of the README, with this environment's programs."""
    (line,) = [one for one in README.commands() if one.startswith(beginning)]
    return shlex.split(line.replace(".venv/bin", sysconfig.get_path("scripts")))


@pytest.fixture(params=[".venv/bin/osbkit serve", ".venv/bin/uvicorn app:app"])
def url(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """The README's broker, served by a command of the README."""
    port = free_port()
    command = [
        str(port) if word == "8080" else word for word in printed_command(request.param)
    ]
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "OSBKIT_PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stderr is not None
        said = []
        for line in server.stderr:
            said.append(line)
            if "Uvicorn running" in line:
                break
        assert server.poll() is None, "".join(said)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate(timeout=60)


def test_the_commands_to_run_it_serve_it(url: str):
    answer = httpx.get(
        f"{url}/v2/catalog",
        auth=(USER, PASSWORD),
        headers={"X-Broker-API-Version": "2.17"},
        timeout=60,
    )

    assert answer.json()["services"][0]["name"] == "api-keys"


def test_the_client_s_commands_are_those_that_the_demo_prints():
    script = (ROOT / "scripts" / "demo").read_text()
    shown = [
        line.strip().partition(".venv/bin/osbkit client ")[2]
        for line in README.section("## Two commands").splitlines()
        if ".venv/bin/osbkit client" in line
    ]

    assert len(shown) == 4
    assert [one for one in shown if "{client} " + one not in script] == []


# --- the manifests -----------------------------------------------------------------

MANIFESTS: dict[str, Any] = {
    manifest["kind"]: manifest
    for block in README.blocks("yaml")
    for manifest in yaml.safe_load_all(block)
}
INSTANCE = MANIFESTS["ServiceInstance"]
BINDING = MANIFESTS["ServiceBinding"]
POD = MANIFESTS["Pod"]
(CONTAINER,) = POD["spec"]["containers"]


def place(manifest: dict[str, Any]) -> tuple[str, str]:
    return manifest["metadata"]["namespace"], manifest["metadata"]["name"]


def rules_of(offering_name: str, plan_name: str) -> Any:
    """How the queue broker judges the parameters of a plan."""
    offer = queue_broker.offer()
    found = offer.catalog.by_names(offering_name, plan_name)
    assert found is not None, (offering_name, plan_name)
    offering, plan = found
    return offer.rules[offering.id, plan.id]


def test_there_is_one_manifest_of_each_kind():
    count = sum(len(list(yaml.safe_load_all(block))) for block in README.blocks("yaml"))

    assert count == len(MANIFESTS)
    assert {kind: one["apiVersion"] for kind, one in MANIFESTS.items()} == {
        "Secret": "v1",
        "ClusterServiceBroker": "servicecatalog.k8s.io/v1beta1",
        "ServiceInstance": "servicecatalog.k8s.io/v1beta1",
        "ServiceBinding": "servicecatalog.k8s.io/v1beta1",
        "Pod": "v1",
    }


def test_the_registration_finds_its_secret_and_the_service_of_deploy():
    secret, registered = MANIFESTS["Secret"], MANIFESTS["ClusterServiceBroker"]
    reference = registered["spec"]["authInfo"]["basic"]["secretRef"]
    deployed = {
        manifest["kind"]: manifest
        for manifest in yaml.safe_load_all((ROOT / "deploy/broker.yaml").read_text())
    }
    service = deployed["Service"]
    namespace = place(secret)[0]

    assert (reference["namespace"], reference["name"]) == place(secret)
    assert set(secret["stringData"]) == {"username", "password"}
    assert registered["spec"]["url"] == (
        f"http://{service['metadata']['name']}.{namespace}.svc"
    )
    assert service["spec"]["ports"][0]["port"] == 80


def test_the_instance_and_its_binding_are_what_the_queue_broker_offers():
    spec = INSTANCE["spec"]
    rules = rules_of(
        spec["clusterServiceClassExternalName"], spec["clusterServicePlanExternalName"]
    )

    assert BINDING["spec"]["instanceRef"]["name"] == place(INSTANCE)[1]
    assert place(BINDING)[0] == place(INSTANCE)[0]
    assert not isinstance(rules.create.judge(spec["parameters"]), Unfit)
    assert not isinstance(rules.bind.judge(BINDING["spec"]["parameters"]), Unfit)


async def test_the_pod_finds_its_credentials_in_environment_and_volume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OSBKIT_DATABASE_URL", f"sqlite:///{tmp_path / 'osbkit.db'}")
    monkeypatch.setenv("OSBKIT_BASIC_USER", USER)
    monkeypatch.setenv("OSBKIT_BASIC_PASSWORD", PASSWORD)
    monkeypatch.setenv("QUEUE_BROKER_DIR", str(tmp_path / "queues"))
    spec = INSTANCE["spec"]
    found = queue_broker.catalog.by_names(
        spec["clusterServiceClassExternalName"], spec["clusterServicePlanExternalName"]
    )
    assert found is not None
    ids = {"service_id": found[0].id, "plan_id": found[1].id}
    path = "/service_instances/orders"
    async with platform_of(queue_broker) as http:
        await http.put(
            path, json={**ids, **GUIDS, "parameters": spec["parameters"]}, params=FLAG
        )
        bound = await http.put(
            f"{path}/service_bindings/worker",
            json={**ids, "parameters": BINDING["spec"]["parameters"]},
        )
    secret: dict[str, str] = bound.json()["credentials"]
    (tmp_path / "mounted").mkdir()
    for key, value in secret.items():
        (tmp_path / "mounted" / key).write_text(value)

    references = {
        entry["name"]: entry["valueFrom"]["secretKeyRef"] for entry in CONTAINER["env"]
    }
    environment = {name: secret[one["key"]] for name, one in references.items()}
    by_name = worker_app.find_credentials(None, environment, sys.stdin)
    by_file = worker_app.find_credentials(str(tmp_path / "mounted"), {}, sys.stdin)

    assert {one["name"] for one in references.values()} == {
        BINDING["spec"]["secretName"]
    }
    assert place(POD)[0] == place(BINDING)[0]
    assert by_name == by_file
    assert by_name.token == secret["token"]


def test_the_pod_mounts_the_secret_where_its_program_looks():
    ((volume,), (mount,)) = POD["spec"]["volumes"], CONTAINER["volumeMounts"]
    program = CONTAINER["command"][-1]

    assert volume["name"] == mount["name"]
    assert volume["secret"]["secretName"] == BINDING["spec"]["secretName"]
    assert mount["mountPath"] == CONTAINER["args"][-1]
    assert (ROOT / program.removeprefix("/app/")).is_file()
    assert "COPY examples /app/examples" in (ROOT / "Dockerfile").read_text()


def test_what_the_cf_commands_ask_for_is_what_the_queue_broker_offers():
    lines = README.section("### Cloud Foundry").splitlines()
    commands = [shlex.split(line) for line in lines if line.startswith("    cf ")]
    given = {command[1]: command[2:] for command in commands}
    offering, plan, instance = given["create-service"][:3]
    rules = rules_of(offering, plan)

    made = rules.create.judge(json.loads(given["create-service"][-1]))
    bound = rules.bind.judge(json.loads(given["bind-service"][-1]))

    assert given["enable-service-access"] == [offering]
    assert given["bind-service"][1] == instance
    assert not isinstance(made, Unfit)
    assert not isinstance(bound, Unfit)


# --- the settings ------------------------------------------------------------------

SETTINGS = {told(cells[0])[0]: cells for cells in rows(README.section("## Settings"))}


def test_the_table_of_settings_names_each_of_them():
    files = {name + "_FILE" for name, cells in SETTINGS.items() if "*Or" in cells[2]}

    assert SETTINGS.keys() | files == set(known_names())


def test_the_defaults_of_the_table_are_those_of_the_settings():
    written = {
        name: told(cells[1])[0] for name, cells in SETTINGS.items() if told(cells[1])
    }

    assert Settings.from_environment(written) == Settings.from_environment({})
    assert {name for name, cells in SETTINGS.items() if cells[1] == "–"} == {
        "OSBKIT_" + name.upper()
        for name, field in Settings.model_fields.items()
        if field.default in (None, "", frozenset())
    }


# --- passlib -----------------------------------------------------------------------


def test_the_readme_quotes_what_is_said_where_both_distributions_are_installed(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(metadata, "distribution", lambda name: name)

    with pytest.raises(SettingsInvalid) as refused:
        hashes.refuse_plain_passlib()

    section = " ".join(README.section("## Why libpass and not passlib").split())
    assert str(refused.value) in section

"""`osbkit catalog validate | show`."""

import json
import uuid

import pytest
import yaml

from osbkit.catalog import Catalog, render


@pytest.fixture
def document():
    return {
        "services": [
            {
                "id": str(uuid.uuid4()),
                "name": "queue",
                "description": "A queue of messages",
                "bindable": True,
                "plans": [
                    {
                        "id": str(uuid.uuid4()),
                        "name": "tiny",
                        "description": "Small",
                        "x-osbkit": {"mode": "sync"},
                    },
                    {
                        "id": str(uuid.uuid4()),
                        "name": "slow",
                        "description": "Takes its time",
                        "free": False,
                        "bindable": False,
                        "x-osbkit": {"mode": "async"},
                    },
                ],
            }
        ]
    }


@pytest.fixture
def write(tmp_path):
    def write(document):
        path = tmp_path / "catalog.yaml"
        path.write_text(yaml.safe_dump(document))
        return str(path)

    return write


def test_a_valid_catalog_is_counted(osbkit, document, write):
    result = osbkit("catalog", "validate", write(document))

    assert result.exit_code == 0, result.output
    assert "can be served: 1 offering, 2 plans; 0 errors" in result.stdout


def test_every_finding_is_told_with_place_problem_and_fix(osbkit, document, write):
    tiny, slow = document["services"][0]["plans"]
    slow["id"] = tiny["id"]
    slow["name"] = ""

    result = osbkit("catalog", "validate", write(document))
    as_json = json.loads(
        osbkit("catalog", "validate", write(document), "--json").stdout
    )

    assert result.exit_code == 1
    assert as_json["valid"] is False
    paths = {finding["path"] for finding in as_json["findings"]}
    assert {"services[0].plans[1].id", "services[0].plans[1].name"} <= paths
    for finding in as_json["findings"]:
        assert finding["path"] in result.stdout
        assert finding["problem"] in result.stdout
        assert finding["fix"] in result.stdout


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("services: [{id: 5}]", id="wrong types"),
        pytest.param("services: [", id="not YAML"),
        pytest.param("", id="empty"),
    ],
)
def test_what_cannot_be_read_is_a_finding_too(osbkit, tmp_path, text):
    path = tmp_path / "catalog.yaml"
    path.write_text(text)

    result = osbkit("catalog", "validate", str(path))

    assert result.exit_code == 1
    assert result.stdout.startswith("error: ")
    assert "Traceback" not in result.output


def test_a_file_that_is_not_there_is_said_so(osbkit, tmp_path):
    for command in ("validate", "show"):
        result = osbkit("catalog", command, str(tmp_path / "none.yaml"))

        assert result.exit_code == 1
        assert "none.yaml" in result.output


def test_show_has_one_line_for_each_plan(osbkit, document, write):
    result = osbkit("catalog", "show", write(document))

    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["queue", "tiny", "sync", "auto", "yes", "yes", "no", "Small"] in rows
    assert [
        "queue", "slow", "async", "–", "no", "no", "no", "Takes", "its", "time"
    ] in rows  # fmt: skip


def test_show_as_json_is_the_wire_to_the_letter(osbkit, document, write):
    result = osbkit("catalog", "show", write(document), "--json")

    wire = render(Catalog.from_dict(document), (2, 17), None).plain
    assert result.stdout_bytes == wire + b"\n"
    assert "x-osbkit" not in result.stdout


def test_a_catalog_of_a_module_is_shown(osbkit, document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_catalog.py").write_text(
        "from osbkit.catalog import Catalog\n"
        f"catalog = Catalog.from_dict({document!r})\n"
        "other = 5\n"
    )

    shown = osbkit("catalog", "show", "my_catalog:catalog")
    wrong = osbkit("catalog", "show", "my_catalog:other")

    assert "tiny" in shown.stdout
    assert wrong.exit_code == 2
    assert "neither a Catalog nor a Broker" in wrong.stderr


@pytest.mark.parametrize("name", ["broker", "app"])
def test_a_broker_shows_its_catalog_with_the_schemas_of_its_models(
    osbkit, document, write, tmp_path, monkeypatch, name
):
    """What the author's module prints stays out of the JSON."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    document["services"][0]["plans"].pop()
    module = f"my_broker_{name}"
    (tmp_path / f"{module}.py").write_text(AUTHOR.format(path=write(document)))

    shown = osbkit("catalog", "show", f"{module}:{name}", "--json")
    validated = osbkit("catalog", "validate", f"{module}:{name}", "--json")

    assert shown.exit_code == 0, shown.output
    [plan] = json.loads(shown.stdout)["services"][0]["plans"]
    create = plan["schemas"]["service_instance"]["create"]["parameters"]
    assert create["properties"]["size"]["type"] == "integer"
    assert json.loads(validated.stdout)["valid"] is True


def test_a_broker_without_a_backend_for_a_plan_is_a_sentence(
    osbkit, document, write, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    text = AUTHOR.format(path=write(document)).replace('{"queue":', '{"other":')
    (tmp_path / "unfit_broker.py").write_text(text)

    result = osbkit("catalog", "validate", "unfit_broker:broker")

    assert result.exit_code == 1
    assert "do not fit the catalog" in result.stderr


AUTHOR = """
from osbkit import Bound, Broker, Catalog, NoParameters, ServiceBackend
from pydantic import BaseModel

class Parameters(BaseModel, extra="forbid"):
    size: int = 1

class Backend(ServiceBackend[Parameters, NoParameters]):
    async def provision(self, request, run): ...
    async def deprovision(self, request, run): ...
    async def bind(self, request, run): return Bound()
    async def unbind(self, request, run): ...

print("hello from the author")
broker = Broker(catalog=Catalog.from_yaml({path!r}), backends={{"queue": Backend()}})
app = broker.app
"""

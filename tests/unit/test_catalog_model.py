"""The catalog's records, their lookups, and YAML on the way to them."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from osbkit.catalog import (
    Catalog,
    DashboardClient,
    MaintenanceInfo,
    Plan,
    PlanSettings,
    ServiceOffering,
)
from osbkit.catalog.fields import OFFERING_FIELDS, PLAN_FIELDS, SETTINGS_KEY
from osbkit.errors import CatalogInvalid

GUID = "8c1d3b0e-0000-4000-8000-00000000000{}"

YAML = """
services:
  - id: 8c1d3b0e-0000-4000-8000-000000000001
    name: queue
    description: A message queue.
    bindable: true
    bindings_retrievable: true
    plan_updateable: true
    tags: [queue, messaging]
    metadata: {displayName: Queue, since: 2024-01-31, opens: 12:30}
    example.com/team: blue
    plans:
      - id: 8c1d3b0e-0000-4000-8000-000000000002
        name: tiny
        description: A small one.
        plan_updateable: false
        x-osbkit: {mode: sync, sync_budget: 8}
      - id: 8c1d3b0e-0000-4000-8000-000000000003
        name: slow
        description: A slow one.
        bindable: false
        free: false
        tags:
        maximum_polling_duration: 600
        maintenance_info: {version: "1.0.0"}
        x-osbkit: {mode: async, deadline: 90.5}
"""


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "catalog.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def findings_of(tmp_path: Path, text: str | bytes) -> list[Any]:
    with pytest.raises(CatalogInvalid) as refused:
        Catalog.from_yaml(written(tmp_path, text))
    return list(refused.value.findings)


def an_offering(**fields: Any) -> ServiceOffering:
    plan = Plan(id=GUID.format(2), name="tiny", description="A plan.")
    known: dict[str, Any] = {
        "id": GUID.format(1),
        "name": "queue",
        "description": "An offering.",
        "bindable": True,
        "plans": [plan],
    }
    return ServiceOffering(**{**known, **fields})


def test_yaml_becomes_records(tmp_path: Path) -> None:
    catalog = Catalog.from_yaml(written(tmp_path, YAML))

    (offering,) = catalog.services
    tiny, slow = offering.plans
    assert offering.tags == ("queue", "messaging")
    assert (tiny.free, slow.free) == (True, False)
    assert tiny.osbkit == PlanSettings(mode="sync", sync_budget=8.0)
    assert slow.osbkit == PlanSettings(mode="async", deadline=90.5)
    assert slow.osbkit.bind_mode == "auto"
    assert slow.maintenance_info == MaintenanceInfo(version="1.0.0")
    assert slow.maximum_polling_duration == 600


def test_python_makes_the_same_catalog_as_yaml(tmp_path: Path) -> None:
    read = Catalog.from_yaml(written(tmp_path, YAML))

    assert Catalog.from_dict(read.document()) == read
    made = Catalog(services=[an_offering(), an_offering(name="b")])
    assert isinstance(made.services, tuple)
    assert Catalog.from_dict(made.document()) == made


def test_words_of_yaml_are_what_json_would_make_of_them(tmp_path: Path) -> None:
    text = (
        "services: []\nx: {a: 2024-01-31, b: 12:30, c: no, d: 010, e: 1e3, f: ~, g: }"
    )

    made: Any = Catalog.from_yaml(written(tmp_path, text))

    assert made.x == {
        "a": "2024-01-31",
        "b": "12:30",
        "c": "no",
        "d": 10,
        "e": 1000.0,
        "f": None,
        "g": None,
    }


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path, b"\xef\xbb\xbfservices: []")

    assert Catalog.from_yaml(path).document() == {"services": ()}


def test_json_is_read_as_well(tmp_path: Path) -> None:
    read = Catalog.from_yaml(written(tmp_path, YAML))

    path = written(tmp_path, json.dumps(read.document(), indent=2))

    assert Catalog.from_yaml(path) == read


def test_anchors_and_merge_keys_work(tmp_path: Path) -> None:
    text = "services: []\nx: &x {a: 1, b: 1}\ny: {<<: *x, b: 2}"

    made: Any = Catalog.from_yaml(written(tmp_path, text))

    assert made.y == {"a": 1, "b": 2}


def test_vendor_fields_are_kept(tmp_path: Path) -> None:
    offering = Catalog.from_yaml(written(tmp_path, YAML)).services[0]

    assert offering.model_extra == {"example.com/team": "blue"}


def test_lookups_are_by_offering_and_plan_together(tmp_path: Path) -> None:
    catalog = Catalog.from_yaml(written(tmp_path, YAML))
    (offering,) = catalog.services
    tiny = offering.plans[0]

    assert catalog.offering(offering.id) is offering
    assert catalog.offering(tiny.id) is None
    assert catalog.plan(offering.id, tiny.id) is tiny
    assert catalog.plan(tiny.id, tiny.id) is None
    assert catalog.by_names("queue", "tiny") == (offering, tiny)
    assert catalog.by_names("queue", "large") is None


def test_a_plan_is_not_found_under_another_offering() -> None:
    """One broker's classic fault: any plan under any service."""
    other = Plan(id=GUID.format(4), name="tiny", description="Another.")
    catalog = Catalog(
        services=[
            an_offering(),
            an_offering(id=GUID.format(3), name="other", plans=[other]),
        ]
    )

    assert catalog.plan(GUID.format(1), GUID.format(4)) is None
    assert catalog.plan(GUID.format(3), GUID.format(4)) is other


def test_a_copy_finds_what_it_holds() -> None:
    catalog = Catalog(services=[an_offering()])

    copy = catalog.model_copy(update={"services": (an_offering(id="new"),)})

    assert copy.offering("new") is not None
    assert copy.offering(GUID.format(1)) is None
    assert catalog.offering("new") is None


@pytest.mark.parametrize("of_offering", [True, False])
@pytest.mark.parametrize("of_plan", [True, False, None])
def test_the_plan_overrides_its_offering(
    of_offering: bool, of_plan: bool | None
) -> None:
    """CAT-12, CAT-28, CAT-30."""
    plan = Plan(
        id="p",
        name="p",
        description="d",
        bindable=of_plan,
        plan_updateable=of_plan,
    )
    offering = an_offering(
        bindable=of_offering, plan_updateable=of_offering, plans=[plan]
    )
    catalog = Catalog(services=[offering])

    expected = of_offering if of_plan is None else of_plan
    assert catalog.bindable(offering, plan) is expected
    assert catalog.plan_updateable(offering, plan) is expected


@pytest.mark.parametrize(
    ("offerings", "visible"),
    [
        pytest.param(None, True, id="all"),
        pytest.param(frozenset({"queue"}), True, id="by name"),
        pytest.param(frozenset({GUID.format(1)}), True, id="by id"),
        pytest.param(frozenset({"tiny", GUID.format(2)}), False, id="others"),
        pytest.param(frozenset(), False, id="none"),
    ],
)
def test_a_caller_sees_what_it_may(
    offerings: frozenset[str] | None, visible: bool
) -> None:
    assert an_offering().visible_to(offerings) is visible


def test_records_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        an_offering().name = "other"  # type: ignore[misc]


def test_null_is_the_same_as_absent() -> None:
    """CAT-41."""
    nulls: dict[str, Any] = {"tags": None, "requires": None, "metadata": None}

    assert an_offering(**nulls) == an_offering()
    assert "tags" not in an_offering(**nulls).model_dump(exclude_unset=True)


def test_a_dashboard_secret_stays_out_of_texts() -> None:
    client = DashboardClient(id="a", secret="hunter2", redirect_uri="https://d.test")

    with pytest.raises(CatalogInvalid) as refused:
        Catalog.from_dict(
            {"services": [{"dashboard_client": {"id": "a", "secret": ["hunter2"]}}]}
        )
    with pytest.raises(ValidationError) as wrong:
        an_offering(dashboard_client={"id": "a", "secret": ["hunter2"]})

    assert "hunter2" not in repr(client)
    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in str(wrong.value)


def test_the_table_of_versions_names_every_field() -> None:
    """The near-misses of the rules and the wire read the same table."""
    fields = {
        field.serialization_alias or name for name, field in Plan.model_fields.items()
    }

    assert set(OFFERING_FIELDS) == set(ServiceOffering.model_fields)
    assert set(PLAN_FIELDS) == fields - {SETTINGS_KEY}


@pytest.mark.parametrize(
    ("text", "path", "problem"),
    [
        pytest.param("a: b: c", "catalog.yaml:1:", "is not YAML", id="syntax"),
        pytest.param("", "catalog.yaml", "is empty", id="empty"),
        pytest.param("- a", "catalog.yaml", "is not an object", id="a list"),
        pytest.param("a: 1\n---\na: 1", ":2:1", "another document", id="two documents"),
        pytest.param(b"a: \xff", "catalog.yaml", "is not UTF-8 (byte 3)", id="bytes"),
        pytest.param("a: \x01", "catalog.yaml", "is not YAML", id="control character"),
        pytest.param(
            "&a {x: *a}", "catalog.yaml", "is not YAML", id="alias into itself"
        ),
        pytest.param("a: !!python/name:os.system ", ":1:4", "tag", id="python tag"),
        pytest.param("a: !!int b", "catalog.yaml", "is not YAML", id="wrong number"),
        pytest.param("? [a]\n: b", "catalog.yaml", "is not YAML", id="a list as key"),
        pytest.param("[" * 5000, "catalog.yaml", "is not YAML", id="5,000 brackets"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_finding(
    tmp_path: Path, text: str | bytes, path: str, problem: str
) -> None:
    (finding,) = findings_of(tmp_path, text)

    assert path in finding.path
    assert problem in finding.problem
    assert finding.fix.endswith(".")


def test_a_file_that_is_not_there_is_one_finding(tmp_path: Path) -> None:
    with pytest.raises(CatalogInvalid, match=r"missing\.yaml: cannot be read"):
        Catalog.from_yaml(tmp_path / "missing.yaml")


def test_keys_that_stand_twice_or_are_no_text_are_findings(tmp_path: Path) -> None:
    text = "services:\n- plans:\n  - id: a\n    free: true\n    id: b\n1: x\n"

    found = {finding.path: finding for finding in findings_of(tmp_path, text)}

    twice = found["services[0].plans[0].id"]
    assert twice.problem == "stands twice, in lines 3 and 5"
    assert found["catalog"].problem == "the key in line 6 is not text"


def test_wrong_types_and_broken_rules_are_told_at_once(tmp_path: Path) -> None:
    """CAT-04 to CAT-33 where they speak of types."""
    text = """
services:
- id: 12
  name: queue
  description:
  bindable: yes
  tags: messaging
  requires: [flying]
  instances_retrievable: "true"
  plans:
  - {id: a, name: small one, description: d, free: 1, bindable: x,
     binding_rotatable: 0, maximum_polling_duration: 6.5, metadata: [],
     maintenance_info: {version: 1.0},
     x-osbkit: {mode: fast, bind_mode: 1, deadline: 0, sync_budget: "9", moda: x}}
  - no plan
  id: 13
"""
    found = findings_of(tmp_path, text)

    tiny = "services[0].plans[0]"
    assert {finding.path: finding.problem for finding in found[1:]} == {
        "services[0].id": "is not text",
        "services[0].description": "is missing",
        "services[0].bindable": "is not a boolean",
        "services[0].tags": "is not a list",
        "services[0].requires[0]": "is no permission that there is",
        "services[0].instances_retrievable": "is not a boolean",
        f"{tiny}.name": "is hard to type on a command line",
        f"{tiny}.free": "is not a boolean",
        f"{tiny}.bindable": "is not a boolean",
        f"{tiny}.binding_rotatable": "is not a boolean",
        f"{tiny}.maximum_polling_duration": "is not a whole number",
        f"{tiny}.metadata": "is not an object",
        f"{tiny}.maintenance_info.version": "is not text",
        f"{tiny}.x-osbkit.mode": "is not one of the words allowed here",
        f"{tiny}.x-osbkit.bind_mode": "is not one of the words allowed here",
        f"{tiny}.x-osbkit.deadline": "is not above 0",
        f"{tiny}.x-osbkit.sync_budget": "is not a number",
        f"{tiny}.x-osbkit.moda": "is no setting of osbkit",
        "services[0].plans[1]": "is not an object",
    }
    assert found[0].path == "services[0].id"
    assert found[0].problem.startswith("stands twice, in lines 3 and ")
    assert all(finding.fix.endswith(".") for finding in found)
    assert all(finding.level == "error" for finding in found)


def test_a_finding_says_where_what_and_the_fix_with_names(tmp_path: Path) -> None:
    text = YAML.replace("free: false", 'free: "no"')

    with pytest.raises(CatalogInvalid) as refused:
        Catalog.from_yaml(written(tmp_path, text))

    assert str(refused.value) == (
        "The catalog cannot be served: 1 finding.\n"
        "  - services[0].plans[1].free (queue/slow): is not a boolean."
        " Write true or false, without quotes."
    )

"""What a catalog must obey: each rule once kept and once broken."""

import datetime
from collections.abc import Callable
from typing import Any

import pytest

from osbkit.catalog import Catalog, Finding, findings, validate
from osbkit.errors import CatalogInvalid, StartRefused

DRAFT_04 = "http://json-schema.org/draft-04/schema#"
OFFERING = "services[0]"
PLAN = "services[0].plans[0]"
Change = Callable[[dict[str, Any]], Any]


def a_document() -> dict[str, Any]:
    """A catalog that breaks no rule and uses every field."""
    schema = {"$schema": DRAFT_04, "type": "object", "properties": {"a": {}}}
    return {
        "services": [
            {
                "id": "00000000-0000-4000-8000-000000000001",
                "name": "queue",
                "description": "A message queue.",
                "tags": ["queue", "messaging"],
                "requires": ["syslog_drain", "route_forwarding", "volume_mount"],
                "bindable": True,
                "instances_retrievable": True,
                "bindings_retrievable": True,
                "allow_context_updates": True,
                "metadata": {
                    "displayName": "Queue",
                    "imageUrl": "data:,",
                    "longDescription": "Long.",
                    "providerDisplayName": "Us",
                    "documentationUrl": "https://docs.test",
                    "supportUrl": "https://help.test",
                    "shareable": True,
                    "anything": [None, {"else": 1.5}],
                },
                "dashboard_client": {
                    "id": "dashboard",
                    "secret": "s",
                    "redirect_uri": "https://dashboard.test",
                },
                "plan_updateable": True,
                "plans": [
                    {
                        "id": "00000000-0000-4000-8000-000000000002",
                        "name": "tiny",
                        "description": "A small one.",
                        "metadata": {
                            "displayName": "Tiny",
                            "bullets": ["one", "two"],
                            "costs": [{"amount": {"usd": 9, "eur": 8.5}, "unit": "M"}],
                        },
                        "free": False,
                        "bindable": True,
                        "binding_rotatable": True,
                        "plan_updateable": True,
                        "schemas": {
                            "service_instance": {
                                "create": {"parameters": schema},
                                "update": {"parameters": schema},
                            },
                            "service_binding": {"create": {"parameters": schema}},
                        },
                        "maximum_polling_duration": 600,
                        "maintenance_info": {
                            "version": "2.1.1-rc.1+abcdef",
                            "description": "New.",
                        },
                        "x-osbkit": {"mode": "async", "deadline": 500},
                    },
                    {
                        "id": "00000000-0000-4000-8000-000000000003",
                        "name": "large",
                        "description": "A large one.",
                    },
                ],
            },
            {
                "id": "00000000-0000-4000-8000-000000000004",
                "name": "other",
                "description": "Another.",
                "bindable": False,
                "plans": [
                    {
                        "id": "00000000-0000-4000-8000-000000000005",
                        "name": "tiny",
                        "description": "The same name in another offering is fine.",
                    }
                ],
            },
        ]
    }


def offering(key: str, value: Any) -> Change:
    return lambda document: document["services"][0].update({key: value})


def plan(key: str, value: Any) -> Change:
    return lambda document: document["services"][0]["plans"][0].update({key: value})


def parameters(schema: Any) -> Change:
    return plan("schemas", {"service_instance": {"create": {"parameters": schema}}})


def changed(*changes: Change) -> Catalog:
    document = a_document()
    for change in changes:
        change(document)
    return Catalog.from_dict(document)


def found_after(*changes: Change) -> list[Finding]:
    return findings(changed(*changes))


def test_a_catalog_that_keeps_every_rule_has_no_findings() -> None:
    assert found_after() == []
    assert validate(Catalog.from_dict(a_document())) == []


SCHEMA = f"{PLAN}.schemas.service_instance.create.parameters"

ERRORS: list[Any] = [
    # ids
    ("CAT-07: empty id", offering("id", " "), f"{OFFERING}.id", "is empty"),
    ("id of 64", plan("id", "a" * 64), f"{PLAN}.id", "more than 63"),
    ("blank in an id", plan("id", "a b"), f"{PLAN}.id", "escaped in a URL"),
    ("umlaut in an id", offering("id", "ä"), f"{OFFERING}.id", "escaped in a URL"),
    (
        "CAT-20: plan id of another plan",
        plan("id", "00000000-0000-4000-8000-000000000005"),
        "services[1].plans[0].id",
        f"is the same id as {PLAN}.id",
    ),
    (
        "plan id of its offering",
        plan("id", "00000000-0000-4000-8000-000000000001"),
        f"{PLAN}.id",
        f"is the same id as {OFFERING}.id",
    ),
    # names
    ("CAT-04: empty name", offering("name", ""), f"{OFFERING}.name", "is empty"),
    ("name of 64", plan("name", "a" * 64), f"{PLAN}.name", "more than 63"),
    ("CAT-06: blank", offering("name", "my queue"), f"{OFFERING}.name", "hard to"),
    ("CAT-24: slash", plan("name", "a/b"), f"{PLAN}.name", "hard to type"),
    (
        "CAT-05: name of another offering",
        offering("name", "other"),
        "services[1].name",
        f"is the same name as {OFFERING}.name",
    ),
    (
        "CAT-23: name of another plan",
        plan("name", "large"),
        "services[0].plans[1].name",
        f"is the same name as {PLAN}.name",
    ),
    # descriptions
    (
        "CAT-09: blank description",
        offering("description", "\t "),
        f"{OFFERING}.description",
        "is empty",
    ),
    (
        "CAT-25: description of 10,001",
        plan("description", "a" * 10_001),
        f"{PLAN}.description",
        "more than 10000",
    ),
    # lists
    ("CAT-19: no plans", offering("plans", []), f"{OFFERING}.plans", "is empty"),
    ("CAT-10: empty tag", offering("tags", ["a", ""]), f"{OFFERING}.tags[1]", "empty"),
    ("tags of 2,049", offering("tags", ["a" * 2049]), f"{OFFERING}.tags", "2048"),
    (
        "CAT-11: unknown permission",
        offering("requires", ["syslog_drain", "root"]),
        f"{OFFERING}.requires[1]",
        "is no permission",
    ),
    # dashboard
    (
        "PROFILE-14: empty secret",
        offering("dashboard_client", {"id": "a", "secret": "", "redirect_uri": "u"}),
        f"{OFFERING}.dashboard_client.secret",
        "is empty",
    ),
    # plans
    (
        "CAT-32: no time to poll",
        plan("maximum_polling_duration", 0),
        f"{PLAN}.maximum_polling_duration",
        "is not above 0",
    ),
    (
        "MAINT-01: two numbers",
        plan("maintenance_info", {"version": "1.0"}),
        f"{PLAN}.maintenance_info.version",
        "is no semantic version",
    ),
    (
        "MAINT-01: leading zero",
        plan("maintenance_info", {"version": "1.02.0"}),
        f"{PLAN}.maintenance_info.version",
        "is no semantic version",
    ),
    (
        "a third key of maintenance_info",
        plan("maintenance_info", {"version": "1.0.0", "public": True}),
        f"{PLAN}.maintenance_info.public",
        "refused by Cloud Foundry",
    ),
    (
        "maintenance_info of more than 2,000",
        plan("maintenance_info", {"version": "1.0.0", "description": "a" * 2000}),
        f"{PLAN}.maintenance_info",
        "more than 2000",
    ),
    (
        "settings in the offering",
        offering("x-osbkit", {"mode": "sync"}),
        f"{OFFERING}.x-osbkit",
        "holds no settings here",
    ),
    # metadata
    *(
        (f"PROFILE-10: {name}", offering("metadata", {name: value}), path, "is not")
        for name, value, path in [
            ("displayName", 1, f"{OFFERING}.metadata.displayName"),
            ("imageUrl", [], f"{OFFERING}.metadata.imageUrl"),
            ("longDescription", True, f"{OFFERING}.metadata.longDescription"),
            ("providerDisplayName", {}, f"{OFFERING}.metadata.providerDisplayName"),
            ("documentationUrl", None, f"{OFFERING}.metadata.documentationUrl"),
            ("supportUrl", 1.5, f"{OFFERING}.metadata.supportUrl"),
            ("shareable", "true", f"{OFFERING}.metadata.shareable"),
        ]
    ),
    *(
        (f"PROFILE-11: {id_}", plan("metadata", {name: value}), path, "not")
        for id_, name, value, path in [
            ("displayName", "displayName", 1, f"{PLAN}.metadata.displayName"),
            ("no list of bullets", "bullets", "a", f"{PLAN}.metadata.bullets"),
            ("a bullet", "bullets", ["a", 1], f"{PLAN}.metadata.bullets[1]"),
            ("no list of costs", "costs", {}, f"{PLAN}.metadata.costs"),
            ("a cost", "costs", [9], f"{PLAN}.metadata.costs[0]"),
            (
                "no unit",
                "costs",
                [{"amount": {"usd": 1}}],
                f"{PLAN}.metadata.costs[0].unit",
            ),
            (
                "no amount",
                "costs",
                [{"unit": "M", "amount": 3}],
                f"{PLAN}.metadata.costs[0].amount",
            ),
        ]
    ),
    (
        "PROFILE-11: a price as text",
        plan("metadata", {"costs": [{"unit": "M", "amount": {"usd": "9"}}]}),
        f"{PLAN}.metadata.costs[0].amount.usd",
        "is no number",
    ),
    (
        "PROFILE-11: true for a price",
        plan("metadata", {"costs": [{"unit": "M", "amount": {"usd": True}}]}),
        f"{PLAN}.metadata.costs[0].amount.usd",
        "is no number",
    ),
    # not JSON
    (
        "a date",
        offering("metadata", {"since": datetime.date(2024, 1, 31)}),
        f"{OFFERING}.metadata.since",
        "is a date, which JSON does not have",
    ),
    (
        "not a number",
        plan("metadata", {"max": float("nan")}),
        f"{PLAN}.metadata.max",
        "is no finite number",
    ),
    (
        "half a character",
        offering("metadata", {"face": "\ud83d"}),
        f"{OFFERING}.metadata.face",
        "holds half a character",
    ),
    (
        "a number as key",
        offering("metadata", {"a": {1: 2}}),
        f"{OFFERING}.metadata.a",
        "has a key that is no text",
    ),
    # binding
    (
        "async binding without GET",
        lambda document: (
            plan("x-osbkit", {"bind_mode": "async"})(document),
            offering("bindings_retrievable", False)(document),
        ),
        f"{PLAN}.x-osbkit.bind_mode",
        "credentials could not be fetched",
    ),
    # schemas
    ("SCHEMA-02: no $schema", parameters({"type": "object"}), f"{SCHEMA}.$schema", ""),
    (
        "SCHEMA-07: draft-03",
        parameters(
            {"$schema": "http://json-schema.org/draft-03/schema#", "type": "object"}
        ),
        f"{SCHEMA}.$schema",
        "is no draft",
    ),
    (
        "SCHEMA-06: no object",
        parameters({"$schema": DRAFT_04, "type": "array"}),
        f"{SCHEMA}.type",
        "is not object",
    ),
    (
        "SCHEMA-04: 64 KiB",
        parameters({"$schema": DRAFT_04, "type": "object", "title": "a" * 65_536}),
        SCHEMA,
        "more than the 65536 allowed",
    ),
]


def a_schema(**more: Any) -> dict[str, Any]:
    return {"$schema": DRAFT_04, "type": "object", **more}


def a_property(part: dict[str, Any], **more: Any) -> Change:
    return parameters(a_schema(properties={"a": part}, **more))


PROPERTY = f"{SCHEMA}.properties.a"
SCHEMA_ERRORS: list[Any] = [
    (
        "SCHEMA-05: unknown type",
        a_property({"type": "text"}),
        f"{PROPERTY}.type",
        "does not satisfy",
    ),
    (
        "numeric exclusiveMinimum",
        a_property({"type": "integer", "exclusiveMinimum": 3}),
        f"{PROPERTY}.exclusiveMinimum",
        "is a number, which draft-04",
    ),
    (
        "numeric exclusiveMaximum",
        a_property({"maximum": 3, "exclusiveMaximum": 3.5}),
        f"{PROPERTY}.exclusiveMaximum",
        "is a number, which draft-04",
    ),
    (
        "empty required",
        parameters(a_schema(required=[])),
        f"{SCHEMA}.required",
        "at least one entry",
    ),
    (
        "required as in draft-03",
        a_property({"required": True}),
        f"{PROPERTY}.required",
        "at least one entry",
    ),
    (
        "SCHEMA-03: reference to a host",
        a_property({"$ref": "https://example.com/a.json#/b"}),
        f"{PROPERTY}.$ref",
        "leads out of the schema",
    ),
    (
        "SCHEMA-03: reference to a file",
        a_property({"$ref": "other.json"}),
        f"{PROPERTY}.$ref",
        "leads out of the schema",
    ),
    (
        "reference to nothing",
        a_property({"$ref": "#/definitions/b"}, definitions={"c": {}}),
        f"{PROPERTY}.$ref",
        "leads to nothing",
    ),
    (
        "reference in the depth",
        a_property({"anyOf": [{"items": {"not": {"$ref": "b"}}}]}),
        f"{PROPERTY}.anyOf[0].items.not.$ref",
        "leads out of the schema",
    ),
    (
        "reference into itself",
        a_property(
            {"$ref": "#/definitions/b"}, definitions={"b": {"$ref": "#/definitions/b"}}
        ),
        SCHEMA,
        "leads back to itself",
    ),
    (
        "reference into itself by a detour",
        parameters(
            a_schema(
                allOf=[{"$ref": "#/definitions/b"}],
                definitions={"b": {"anyOf": [{}, {"$ref": "#"}]}},
            )
        ),
        SCHEMA,
        "leads back to itself",
    ),
    (
        "an id further in",
        a_property({"id": "https://example.com/b"}),
        f"{PROPERTY}.id",
        "changes what a $ref",
    ),
    (
        "pattern nobody can read",
        a_property({"type": "string", "pattern": "[a"}),
        f"{PROPERTY}.pattern",
        "is no regular expression",
    ),
    (
        "pattern that Python lacks",
        a_property({"patternProperties": {r"^\p{L}$": {}}}),
        PROPERTY + r'.patternProperties["^\\p{L}$"]',
        "is no regular expression",
    ),
]


@pytest.mark.parametrize(
    ("change", "path", "problem"),
    [pytest.param(*case, id=name) for name, *case in [*ERRORS, *SCHEMA_ERRORS]],
)
def test_a_broken_rule_is_an_error_with_path_and_fix(
    change: Change, path: str, problem: str
) -> None:
    found = found_after(change)

    about = [
        finding
        for finding in found
        if finding.path == path and problem in finding.problem
    ]
    assert [finding.level for finding in about] == ["error"], found
    assert all(finding.fix.endswith((".", "#")) for finding in found)


WARNINGS: list[Any] = [
    (
        "CAT-08: no GUID",
        lambda document: (
            offering("id", "queue-id")(document),
            plan("id", "tiny-id")(document),
        ),
        f"{OFFERING}.id",
        "is no GUID, as 1 more ids",
    ),
    ("CAT-42: odd id", offering("id", "urn:queue"), f"{OFFERING}.id", "in a URL"),
    ("CAT-06: underscore", plan("name", "my_plan"), f"{PLAN}.name", "hard to type"),
    ("CAT-06: hyphen", offering("name", "-"), f"{OFFERING}.name", "hard to type"),
    (
        "CAT-34: description of 256",
        plan("description", "a" * 256),
        f"{PLAN}.description",
        "cut it after 255",
    ),
    (
        "CAT-18: the right spelling",
        offering("plan_updatable", True),
        f"{OFFERING}.plan_updatable",
        "is not known",
    ),
    (
        "CAT-29: a plan's field in the offering",
        offering("binding_rotatable", True),
        f"{OFFERING}.binding_rotatable",
        "is a field of a plan",
    ),
    (
        "an offering's field in the plan",
        plan("bindings_retrievable", True),
        f"{PLAN}.bindings_retrievable",
        "is a field of an offering",
    ),
    (
        "no offerings",
        lambda document: document.update(services=[]),
        "services",
        "is empty, which Cloud Foundry refuses",
    ),
    (
        "async binding",
        plan("x-osbkit", {"bind_mode": "async"}),
        f"{PLAN}.x-osbkit.bind_mode",
        "Service Catalog, eden and Cloud Foundry",
    ),
    (
        "SCHEMA-08: schema of bindings that cannot be",
        plan("bindable", False),
        f"{PLAN}.schemas.service_binding.create.parameters",
        "is never used",
    ),
    (
        "rotation of bindings that cannot be",
        plan("bindable", False),
        f"{PLAN}.binding_rotatable",
        "there are no bindings",
    ),
    (
        "SCHEMA-07: draft-07",
        parameters(
            {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}
        ),
        f"{SCHEMA}.$schema",
        "is later than draft-04",
    ),
    (
        "waits longer than platforms",
        plan("x-osbkit", {"sync_budget": 60}),
        f"{PLAN}.x-osbkit.sync_budget",
        "platforms give up",
    ),
    (
        "works longer than platforms poll",
        plan("x-osbkit", {"deadline": 601}),
        f"{PLAN}.x-osbkit.deadline",
        "later than maximum_polling_duration",
    ),
]


@pytest.mark.parametrize(
    ("change", "path", "problem"),
    [pytest.param(*case, id=name) for name, *case in WARNINGS],
)
def test_a_doubt_is_a_warning_and_does_not_stop_the_start(
    change: Change, path: str, problem: str
) -> None:
    warnings = validate(changed(change))

    at_path = [finding for finding in warnings if finding.path == path]
    assert any(problem in finding.problem for finding in at_path), warnings
    assert {finding.level for finding in warnings} == {"warning"}


def test_a_binding_mode_says_nothing_where_nothing_can_be_bound() -> None:
    found = found_after(
        plan("x-osbkit", {"bind_mode": "async"}),
        plan("bindable", False),
        plan("binding_rotatable", False),
        plan("schemas", None),
        offering("bindings_retrievable", False),
    )

    assert found == []


def test_names_stand_beside_the_path() -> None:
    (finding,) = found_after(plan("description", ""))

    assert finding.names == "queue/tiny"
    assert str(finding) == (
        "services[0].plans[0].description (queue/tiny): is empty. Write a sentence."
    )


def test_everything_is_told_at_once_and_by_one_exception() -> None:
    catalog = changed(
        plan("description", ""),
        plan("maintenance_info", {"version": "one"}),
        offering("requires", ["root"]),
        offering("id", "q"),  # a warning, which is not told with the errors
    )
    more = Finding("services[1]", "has no backend", "Add one.")

    with pytest.raises(StartRefused) as refused:
        validate(catalog, more=[more])

    assert isinstance(refused.value, CatalogInvalid)
    paths = [getattr(finding, "path", "") for finding in refused.value.findings]
    assert sorted(paths) == [
        f"{OFFERING}.plans[0].description",
        f"{OFFERING}.plans[0].maintenance_info.version",
        f"{OFFERING}.requires[0]",
        "services[1]",
    ]


def test_more_findings_of_no_weight_are_returned_with_the_warnings() -> None:
    more = Finding("services", "are few", "Offer more.", "warning")

    assert validate(Catalog.from_dict(a_document()), more=[more]) == [more]


def test_a_recursive_schema_that_moves_on_is_fine() -> None:
    tree = {"type": "object", "properties": {"next": {"$ref": "#/definitions/tree"}}}

    assert (
        found_after(
            a_property({"$ref": "#/definitions/tree"}, definitions={"tree": tree})
        )
        == []
    )


def test_what_looks_like_a_keyword_but_is_data_is_left_alone() -> None:
    data = {"$ref": "https://example.com", "pattern": "[", "id": "x"}
    part = {"enum": [data], "default": data}

    assert found_after(a_property(part)) == []
    assert found_after(parameters(a_schema(properties={"pattern": {}, "id": {}}))) == []


def test_data_that_lies_in_itself_is_a_finding() -> None:
    loop: list[Any] = []
    loop += [loop, loop]
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"in": deep}

    endless = found_after(plan("metadata", {"loop": loop}))
    nested = found_after(plan("metadata", deep))

    assert {finding.problem for finding in endless} == {"lies in itself"}
    assert {finding.problem for finding in nested} == {"is nested too deeply"}


@pytest.mark.parametrize(
    "version",
    ["0.0.0", "1.0.0", "10.20.30-alpha.1+build.5", "1.0.0--", "1.0.0-0a", "2.1.1+ab"],
)
def test_every_semantic_version_is_taken(version: str) -> None:
    """MAINT-01: "a semantic version 2.0", pre-release and build included."""
    assert found_after(plan("maintenance_info", {"version": version})) == []


@pytest.mark.parametrize(
    "version", ["1", "v1.0.0", "1.0.0-", "1.0.0-01", "1.0.0+", "1.0.0 ", "\u0661.0.0"]
)
def test_nothing_else_is_a_version(version: str) -> None:
    assert found_after(plan("maintenance_info", {"version": version})) != []

"""The catalog's bytes, and the schemas that models put into them."""

import gzip
import json
from collections.abc import Callable
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from osbkit.catalog import (
    Catalog,
    CatalogPages,
    Plan,
    PlanModels,
    PlanSettings,
    ServiceOffering,
    create_schema,
    put_schemas,
    render,
    update_schema,
    validate,
)
from osbkit.catalog.fields import Version
from osbkit.errors import CatalogInvalid

NEWEST = (2, 17)
QUEUE, TINY, LARGE, OTHER, ONLY = (
    f"00000000-0000-4000-8000-00000000000{n}" for n in range(5)
)

DOCUMENT: dict[str, Any] = {
    "example.com/region": "eu",
    "services": [
        {
            "id": QUEUE,
            "name": "queue",
            "description": "Schlüssel",
            "tags": [],
            "bindable": True,
            "instances_retrievable": True,
            "bindings_retrievable": False,
            "allow_context_updates": True,
            "metadata": {"displayName": "Queue", "note": None},
            "dashboard_client": {"id": "a", "secret": "s", "redirect_uri": "u"},
            "example.com/team": "blue",
            "plans": [
                {
                    "id": TINY,
                    "name": "tiny",
                    "description": "A small one.",
                    "free": False,
                    "plan_updateable": True,
                    "binding_rotatable": True,
                    "maximum_polling_duration": 600,
                    "maintenance_info": {"version": "1.0.0"},
                    "schemas": {
                        "service_binding": {
                            "create": {
                                "parameters": {
                                    "$schema": "http://json-schema.org/draft-04/schema#",
                                    "type": "object",
                                }
                            }
                        }
                    },
                    "x-osbkit": {"mode": "sync"},
                },
                {
                    "id": LARGE,
                    "name": "large",
                    "description": "A large one.",
                    "bindable": False,
                    "metadata": None,
                },
            ],
        },
        {
            "id": OTHER,
            "name": "other",
            "description": "Another.",
            "bindable": False,
            "plans": [{"id": ONLY, "name": "p", "description": "d"}],
        },
    ],
}


def a_catalog() -> Catalog:
    return Catalog.from_dict(DOCUMENT)


def served(
    version: Version = NEWEST, offerings: frozenset[str] | None = None
) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(render(a_catalog(), version, offerings).plain)
    return body


def test_the_newest_client_gets_everything_that_was_written() -> None:
    """CAT-02, CAT-12, CAT-27, CAT-28, CAT-30: defaults are written out."""
    body = served()

    first, second = body["services"]
    tiny, large = first["plans"]
    expected = json.loads(json.dumps(DOCUMENT))
    del expected["services"][0]["plans"][0]["x-osbkit"]
    del expected["services"][0]["plans"][1]["metadata"]
    expected["services"][0] |= {"plan_updateable": False}
    expected["services"][0]["plans"][0] |= {"bindable": True}
    expected["services"][0]["plans"][1] |= {"free": True, "plan_updateable": False}
    expected["services"][1] |= {"plan_updateable": False}
    expected["services"][1]["plans"][0] |= {
        "free": True,
        "bindable": False,
        "plan_updateable": False,
    }
    assert body == expected
    assert (tiny["bindable"], large["bindable"]) == (True, False)
    assert second["bindable"] is False


FIRST_VERSIONS = [
    ("offering", "instances_retrievable", (2, 14)),
    ("offering", "bindings_retrievable", (2, 14)),
    ("offering", "allow_context_updates", (2, 15)),
    ("plan", "schemas", (2, 13)),
    ("plan", "plan_updateable", (2, 15)),
    ("plan", "maximum_polling_duration", (2, 15)),
    ("plan", "maintenance_info", (2, 15)),
    ("plan", "binding_rotatable", (2, 17)),
]


@pytest.mark.parametrize(("of", "field", "first"), FIRST_VERSIONS)
def test_a_field_is_left_out_before_its_version(
    of: str, field: str, first: Version
) -> None:
    """GEN-03: the 2.13 checkers know only closed shapes."""
    for minor in range(11, 18):
        offering = served((2, minor))["services"][0]
        found = offering if of == "offering" else offering["plans"][0]
        assert (field in found) is ((2, minor) >= first), minor


@pytest.mark.parametrize("version", [(2, 11), (2, 14), NEWEST, (2, 99), (3, 0)])
def test_every_client_gets_what_they_all_know(version: Version) -> None:
    offering = served(version)["services"][0]

    always = {"id", "name", "description", "bindable", "plan_updateable", "plans"}
    assert always | {"metadata", "dashboard_client", "example.com/team"} <= set(
        offering
    )
    assert {"id", "name", "description", "free", "bindable"} <= set(
        offering["plans"][0]
    )


@pytest.mark.parametrize("version", [(2, 11), NEWEST])
def test_settings_of_osbkit_never_reach_the_wire(version: Version) -> None:
    made = Catalog(
        services=[
            ServiceOffering(
                id=QUEUE,
                name="q",
                description="d",
                bindable=True,
                plans=[
                    Plan(
                        id=TINY,
                        name="t",
                        description="d",
                        osbkit=PlanSettings(mode="async"),
                    )
                ],
            )
        ]
    )

    for catalog in (a_catalog(), made):
        assert b"osbkit" not in render(catalog, version, None).plain


def test_what_was_not_set_is_left_out_and_never_null() -> None:
    """CAT-41; inside metadata a null is the author's."""
    plain = render(a_catalog(), NEWEST, None).plain

    assert plain.count(b"null") == 1
    assert b'"note":null' in plain


@pytest.mark.parametrize(
    ("offerings", "names"),
    [
        (None, ["queue", "other"]),
        (frozenset({"other"}), ["other"]),
        (frozenset({QUEUE}), ["queue"]),
        (frozenset({QUEUE, "other", "unknown"}), ["queue", "other"]),
        (frozenset(), []),
    ],
)
def test_a_caller_gets_the_offerings_it_may_see(
    offerings: frozenset[str] | None, names: list[str]
) -> None:
    body = served(offerings=offerings)

    assert [offering["name"] for offering in body["services"]] == names
    assert body["example.com/region"] == "eu"


def test_the_bytes_are_the_same_every_time() -> None:
    """CAT-35: the same catalog has the same ETag after a restart."""
    one, two = render(a_catalog(), NEWEST, None), render(a_catalog(), NEWEST, None)

    assert one == two
    assert gzip.decompress(one.gzip) == one.plain
    assert one.gzip[4:8] == bytes(4)  # no moment of making
    assert "Schlüssel".encode() in one.plain
    assert one.plain.startswith(b'{"example.com/region":"eu","services":[{"id":')


def test_the_etag_is_strong_and_names_content_and_encoding() -> None:
    newest, older = (render(a_catalog(), (2, minor), None) for minor in (17, 16))

    tags = {newest.etag, newest.gzip_etag, older.etag, older.gzip_etag}
    assert len(tags) == 4
    assert all(tag.startswith(b'"') and tag.endswith(b'"') for tag in tags)


def test_clients_with_the_same_bytes_share_them() -> None:
    pages = CatalogPages(a_catalog())

    newest = pages.page(NEWEST)
    assert pages.page((2, 99)) is newest
    assert pages.page(NEWEST, frozenset({"queue", OTHER})) is newest
    assert pages.page((2, 15)) is pages.page((2, 16))
    assert pages.page((2, 14)) is not pages.page((2, 15))
    assert pages.page(NEWEST, frozenset({"queue"})) is not newest
    assert pages.page((2, 16), frozenset({"queue"})) == render(
        a_catalog(), (2, 16), frozenset({"queue"})
    )


def test_a_catalog_without_newer_fields_is_one_page() -> None:
    offering = {
        "id": OTHER,
        "name": "o",
        "description": "d",
        "bindable": True,
        "plans": [],
    }
    pages = CatalogPages(Catalog.from_dict({"services": [offering]}))

    assert len({id(pages.page((2, minor))) for minor in range(11, 18)}) == 1


# --- schemas from models ------------------------------------------------------------


class Size(BaseModel, extra="forbid"):
    size: int = Field(gt=0)


class Role(BaseModel, extra="forbid"):
    role: Literal["read", "write"] = "read"


class Callback(BaseModel):
    call: Callable[[], int]


BOTH = PlanModels(create=Size, bind=Role)


def test_models_become_the_schemas_of_their_plan() -> None:
    """SCHEMA-01."""
    catalog = a_catalog()

    copy, found = put_schemas(catalog, {(OTHER, ONLY): PlanModels(create=Size)})

    assert found == []
    schemas = json.loads(render(copy, NEWEST, None).plain)["services"][1]["plans"][0][
        "schemas"
    ]
    assert schemas == {
        "service_instance": {
            "create": {"parameters": create_schema(Size)},
            "update": {"parameters": update_schema(Size)},
        }
    }
    assert copy.plan(OTHER, ONLY) is copy.services[1].plans[0]
    assert catalog.services[1].plans[0].schemas is None
    assert validate(copy, found) == []


def test_a_plan_that_is_not_bindable_gets_no_schema_of_bindings() -> None:
    """SCHEMA-08."""
    copy, found = put_schemas(
        a_catalog(), {(QUEUE, LARGE): BOTH, (QUEUE, TINY): BOTH, (OTHER, ONLY): BOTH}
    )

    schemas = copy.services[0].plans[1].schemas
    assert schemas is not None
    assert schemas.service_instance is not None
    assert schemas.service_binding is None
    assert [finding.names for finding in found] == ["queue/tiny"]


def test_other_places_may_be_written_by_hand() -> None:
    copy, found = put_schemas(a_catalog(), {(QUEUE, TINY): PlanModels(create=Size)})

    schemas = copy.services[0].plans[0].schemas
    assert found == []
    assert schemas is not None
    assert schemas.service_instance is not None
    assert schemas.service_binding is not None


def test_a_schema_from_both_sides_is_a_finding() -> None:
    catalog = a_catalog()

    copy, (finding,) = put_schemas(catalog, {(QUEUE, TINY): BOTH})

    assert str(finding) == (
        "services[0].plans[0].schemas.service_binding.create.parameters (queue/tiny):"
        " is written here and follows from Role as well. Leave it out here, or take"
        " the model from the backend."
    )
    with pytest.raises(CatalogInvalid, match="follows from Role"):
        validate(copy, [finding])


def test_a_model_without_a_schema_is_a_finding() -> None:
    copy, found = put_schemas(a_catalog(), {(OTHER, ONLY): PlanModels(create=Callback)})

    assert [finding.names for finding in found] == ["other/p"]
    assert found[0].problem.startswith("comes from Callback and cannot be written")
    with pytest.raises(CatalogInvalid, match="Callback"):
        validate(copy, found)

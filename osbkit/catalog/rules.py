"""What a catalog must obey, all of it told at once.

The rules read plain data in the shape of the wire and pass over what has the
wrong type, which the models tell; so that a file with a wrong type still hears
of everything else. They are those of the specification and the limits that the
platforms set on top of it: a catalog that passes is taken by Service Catalog,
Cloud Foundry, Korifi, SAP Service Manager and eden.

Spec: "Catalog Management"; profile: "Service Metadata", "Catalog Extensions".
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from osbkit.catalog import schema_rules
from osbkit.catalog.fields import (
    CATALOG_FIELDS,
    OFFERING_FIELDS,
    PLAN_FIELDS,
    SETTINGS_KEY,
)
from osbkit.catalog.findings import Finding, Remark, told
from osbkit.catalog.json_rules import unfit_for_json, walkable
from osbkit.catalog.metadata_rules import offering_metadata, plan_metadata
from osbkit.catalog.places import Place, spell
from osbkit.errors import CatalogInvalid

if TYPE_CHECKING:
    from osbkit.catalog.model import Catalog

Object = Mapping[Any, Any]  # a key may be no text: that is told, too

LONGEST_NAME: Final = 63  # Service Catalog, for ids as well
LONGEST_DESCRIPTION: Final = 10_000  # Cloud Foundry
LONGEST_COMMON: Final = 255  # "RECOMMENDED that strings do not exceed 255 characters"
LONGEST_TAGS: Final = 2048  # Cloud Foundry, all tags of an offering joined
LONGEST_MAINTENANCE_INFO: Final = 2000  # Cloud Foundry, as JSON
LONGEST_WAIT: Final = 60  # seconds; then every platform has given up

_FRIENDLY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")  # spec: "CLI-friendly"
_TYPABLE: Final = re.compile(r"[\w.~-]+")
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9._~-]+")  # spec: "URL Properties"
_GUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SEMANTIC_VERSION: Final = re.compile(
    r"(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)"
    r"(?:-(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
    r"(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
    r"(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?",
    re.ASCII,
)
_PLAN_AND_SETTINGS: Final = {**PLAN_FIELDS, SETTINGS_KEY: (), "osbkit": ()}
_PERMISSIONS: Final = ("syslog_drain", "route_forwarding", "volume_mount")


def findings(catalog: "Catalog") -> list[Finding]:
    """Everything that is wrong with a catalog, errors and warnings, at once."""
    document = catalog.document()
    return told(document, remarks(document))


def validate(catalog: "Catalog", more: Iterable[Finding] = ()) -> list[Finding]:
    """Refuse a catalog that breaks a rule.

    Args:
        more: findings from elsewhere, to be told in the same breath.

    Returns:
        The warnings.

    Raises:
        CatalogInvalid: holds every error.
    """
    found = [*more, *findings(catalog)]
    if errors := [finding for finding in found if finding.level == "error"]:
        raise CatalogInvalid(errors)
    return found


def remarks(document: Object) -> list[Remark]:
    """What the rules say of plain data in the shape of a catalog."""
    unfit = list(unfit_for_json(document))
    if not walkable(unfit):
        return unfit
    offerings = list(_objects(document, (), "services"))
    plans = [
        (place, plan, offering)
        for above, offering in offerings
        for place, plan in _objects(offering, above, "plans")
    ]
    return [
        *unfit,
        *_catalog_as_a_whole(document, offerings, [plan[:2] for plan in plans]),
        *chain.from_iterable(_offering(*offering) for offering in offerings),
        *chain.from_iterable(_plan(*plan) for plan in plans),
    ]


# --- the whole ------------------------------------------------------------------


def _catalog_as_a_whole(
    document: Object,
    offerings: list[tuple[Place, Object]],
    plans: list[tuple[Place, Object]],
) -> Iterator[Remark]:
    if document.get("services") in ([], ()):
        yield Remark(
            ("services",),
            "is empty, which Cloud Foundry refuses",
            "Write an offering.",
            "warning",
        )
    yield from _fields(document, (), CATALOG_FIELDS, {})
    yield from _twice(
        _texts([*offerings, *plans], "id"), "id", "Give each one an id of its own."
    )
    yield from _twice(
        _texts(offerings, "name"), "name", "Give each offering a name of its own."
    )
    clients = [
        ((*place, "dashboard_client"), client)
        for place, offering in offerings
        if isinstance(client := offering.get("dashboard_client"), Mapping)
    ]
    yield from _twice(
        _texts(clients, "id"), "id", "Give each dashboard an OAuth client of its own."
    )
    others = [
        place
        for place, text in _texts([*offerings, *plans], "id")
        if not _GUID.fullmatch(text)
    ]
    if others:
        yield Remark(
            others[0],
            "is no GUID"
            + (f", as {len(others) - 1} more ids" if len(others) > 1 else "")
            + ", and may meet the same id of another broker",
            "Write a GUID, made once; an id that is in use must stay.",
            "warning",
        )


def _objects(parent: Object, place: Place, key: str) -> Iterator[tuple[Place, Object]]:
    """The objects of a list in an object, each with its place."""
    children = parent.get(key)
    for index, child in enumerate(
        children if isinstance(children, list | tuple) else ()
    ):
        if isinstance(child, Mapping):
            yield (*place, key, index), child


def _texts(
    parents: Iterable[tuple[Place, Object]], key: str
) -> Iterator[tuple[Place, str]]:
    for place, parent in parents:
        if isinstance(text := parent.get(key), str):
            yield (*place, key), text


def _twice(texts: Iterable[tuple[Place, str]], what: str, fix: str) -> Iterator[Remark]:
    first: dict[str, Place] = {}
    for place, text in texts:
        if text in first:
            yield Remark(place, f"is the same {what} as {spell(first[text])}", fix)
        else:
            first[text] = place


# --- offerings and plans ----------------------------------------------------------


def _offering(place: Place, offering: Object) -> Iterator[Remark]:
    yield from _identity(offering, place)
    yield from _fields(offering, place, OFFERING_FIELDS, PLAN_FIELDS)
    if offering.get("plans") in ([], ()):
        yield Remark((*place, "plans"), "is empty", "Write at least one plan.")
    plans = _objects(offering, place, "plans")
    yield from _twice(
        _texts(plans, "name"), "name", "Give each plan of an offering its own name."
    )
    yield from _tags(offering.get("tags"), (*place, "tags"))
    yield from _requires(offering.get("requires"), (*place, "requires"))
    yield from offering_metadata(offering.get("metadata"), (*place, "metadata"))
    client = offering.get("dashboard_client")
    if isinstance(client, Mapping):
        for key in ("id", "secret", "redirect_uri"):
            if isinstance(text := client.get(key), str) and not text.strip():
                at = (*place, "dashboard_client", key)
                yield Remark(at, "is empty", "Write it; Cloud Foundry needs all three.")


def _plan(place: Place, plan: Object, offering: Object) -> Iterator[Remark]:
    yield from _identity(plan, place)
    yield from _fields(plan, place, _PLAN_AND_SETTINGS, OFFERING_FIELDS)
    yield from plan_metadata(plan.get("metadata"), (*place, "metadata"))
    yield from _maintenance_info(
        plan.get("maintenance_info"), (*place, "maintenance_info")
    )
    duration = plan.get("maximum_polling_duration")
    if isinstance(duration, int) and duration <= 0:
        at = (*place, "maximum_polling_duration")
        yield Remark(at, "is not above 0", "Write seconds, for instance 600.")
    bindable = plan.get("bindable")
    if bindable is None:
        bindable = offering.get("bindable")
    yield from _schemas(plan.get("schemas"), (*place, "schemas"), bindable)
    yield from _binding_words(plan, place, offering, bindable)
    yield from _waits(plan, place)


def _identity(thing: Object, place: Place) -> Iterator[Remark]:
    if isinstance(text := thing.get("id"), str):
        yield from _id(text, (*place, "id"))
    if isinstance(text := thing.get("name"), str):
        yield from _name(text, (*place, "name"))
    if isinstance(text := thing.get("description"), str):
        yield from _description(text, (*place, "description"))


def _id(text: str, place: Place) -> Iterator[Remark]:
    if not text.strip():
        yield Remark(place, "is empty", "Write a GUID.")
    elif len(text) > LONGEST_NAME:
        problem = f"has {len(text)} characters, more than {LONGEST_NAME}"
        yield Remark(place, problem, "Write a GUID.")
    elif not _UNRESERVED.fullmatch(text):
        bad = any(not "!" <= character <= "~" for character in text)
        yield Remark(
            place,
            "has characters that must be escaped in a URL",
            "Use letters, digits, hyphens, periods, underscores and tildes.",
            "error" if bad else "warning",
        )


def _name(text: str, place: Place) -> Iterator[Remark]:
    if not text.strip():
        yield Remark(place, "is empty", "Write a short name.")
    elif len(text) > LONGEST_NAME:
        problem = f"has {len(text)} characters, more than {LONGEST_NAME}"
        yield Remark(place, problem, "Write a shorter name.")
    elif not _FRIENDLY.fullmatch(text):
        yield Remark(
            place,
            "is hard to type on a command line",
            "Use letters, digits, periods and hyphens; begin with a letter or digit.",
            "warning" if _TYPABLE.fullmatch(text) else "error",
        )


def _description(text: str, place: Place) -> Iterator[Remark]:
    if not text.strip():
        yield Remark(place, "is empty", "Write a sentence.")
    elif len(text) > LONGEST_DESCRIPTION:
        yield Remark(
            place,
            f"has {len(text)} characters, more than {LONGEST_DESCRIPTION}",
            "Move the rest to metadata.longDescription.",
        )
    elif len(text) > LONGEST_COMMON:
        yield Remark(
            place,
            f"has {len(text)} characters; platforms may cut it after {LONGEST_COMMON}",
            "Move the rest to metadata.longDescription.",
            "warning",
        )


def _fields(
    thing: Object, place: Place, known: Mapping[str, Any], neighbour: Mapping[str, Any]
) -> Iterator[Remark]:
    """Vendor fields that look like a field of the specification gone wrong."""
    for key in thing:
        if not isinstance(key, str) or key in known:
            continue
        if key in (SETTINGS_KEY, "osbkit"):
            fix = f"Write {SETTINGS_KEY} in the plans that it is meant for."
            yield Remark((*place, key), "holds no settings here", fix)
        elif key in neighbour:
            whose = "a plan" if neighbour is PLAN_FIELDS else "an offering"
            fix = "Write it there; here it means nothing to a platform."
            yield Remark((*place, key), f"is a field of {whose}", fix, "warning")
        elif near := difflib.get_close_matches(key, known, n=1, cutoff=0.85):
            yield Remark(
                (*place, key),
                "is not known to the specification",
                f"Did you mean {near[0]}? A field of your own needs a prefix.",
                "warning",
            )


def _tags(tags: Any, place: Place) -> Iterator[Remark]:
    if not isinstance(tags, list | tuple):
        return
    texts = [tag for tag in tags if isinstance(tag, str)]
    for index, tag in enumerate(tags):
        if isinstance(tag, str) and not tag.strip():
            yield Remark((*place, index), "is empty", "Leave it out.")
    if (size := len("".join(texts))) > LONGEST_TAGS:
        problem = f"have {size} characters together, more than {LONGEST_TAGS}"
        yield Remark(place, problem, "Leave some out.")


def _requires(requires: Any, place: Place) -> Iterator[Remark]:
    if not isinstance(requires, list | tuple):
        return
    for index, permission in enumerate(requires):
        if isinstance(permission, str) and permission not in _PERMISSIONS:
            yield Remark(
                (*place, index),
                "is no permission that there is",
                f"Use {', '.join(_PERMISSIONS)}, or leave it out.",
            )


def _maintenance_info(info: Any, place: Place) -> Iterator[Remark]:
    if not isinstance(info, Mapping):
        return
    version = info.get("version")
    if isinstance(version, str) and not _SEMANTIC_VERSION.fullmatch(version):
        yield Remark(
            (*place, "version"),
            "is no semantic version",
            "Write three numbers, for instance 1.0.0.",
        )
    for key in info:
        if key not in ("version", "description"):
            yield Remark(
                (*place, str(key)),
                "is refused by Cloud Foundry",
                "Leave it out; only version and description may stand here.",
            )
    try:
        size = len(schema_rules.compact(dict(info)).decode())
    except (TypeError, ValueError):
        return  # not JSON: told elsewhere
    if size > LONGEST_MAINTENANCE_INFO:
        problem = f"is {size} characters as JSON, more than {LONGEST_MAINTENANCE_INFO}"
        yield Remark(place, problem, "Shorten its description.")


def _schemas(schemas: Any, place: Place, bindable: Any) -> Iterator[Remark]:
    for whose, verb in (
        ("service_instance", "create"),
        ("service_instance", "update"),
        ("service_binding", "create"),
    ):
        schema = schemas
        for key in (whose, verb, "parameters"):
            schema = schema.get(key) if isinstance(schema, Mapping) else None
        at = (*place, whose, verb, "parameters")
        if isinstance(schema, dict):
            yield from schema_rules.remarks(schema, at)
            if whose == "service_binding" and bindable is False:
                fix = "Leave it out, or make the plan bindable."
                yield Remark(at, "is never used: no bindings here", fix, "warning")


def _binding_words(
    plan: Object, place: Place, offering: Object, bindable: Any
) -> Iterator[Remark]:
    """What a plan says of bindings, against what its offering can hold."""
    if bindable is False:
        if plan.get("binding_rotatable") is True:
            at = (*place, "binding_rotatable")
            fix = "Leave it out, or make the plan bindable."
            yield Remark(at, "is true, but there are no bindings", fix, "warning")
        return
    settings = plan.get(SETTINGS_KEY)
    if not isinstance(settings, Mapping) or settings.get("bind_mode") != "async":
        return
    at = (*place, SETTINGS_KEY, "bind_mode")
    if offering.get("bindings_retrievable") is not True:
        yield Remark(
            at,
            "is async, but the credentials could not be fetched",
            "Set bindings_retrievable: true in the offering, or use auto.",
        )
    yield Remark(
        at,
        "is async; Service Catalog, eden and Cloud Foundry's clean-up of keys bind or"
        " unbind without accepts_incomplete and are refused",
        "Use auto, unless every platform of this broker binds asynchronously.",
        "warning",
    )


def _waits(plan: Object, place: Place) -> Iterator[Remark]:
    settings = plan.get(SETTINGS_KEY)
    if not isinstance(settings, Mapping):
        return
    budget, deadline = settings.get("sync_budget"), settings.get("deadline")
    if isinstance(budget, int | float) and budget >= LONGEST_WAIT:
        yield Remark(
            (*place, SETTINGS_KEY, "sync_budget"),
            f"is {LONGEST_WAIT} s or more; platforms give up before",
            "Write 40 or less, 8 for SAP Service Manager.",
            "warning",
        )
    patience = plan.get("maximum_polling_duration")
    if (
        isinstance(deadline, int | float)
        and isinstance(patience, int)
        and deadline > patience > 0
    ):
        yield Remark(
            (*place, SETTINGS_KEY, "deadline"),
            "is later than maximum_polling_duration; platforms give up before",
            "Raise maximum_polling_duration, or leave the deadline to osbkit.",
            "warning",
        )

"""The catalog: how it is answered, what stands in it, what it promises.

Spec: "Catalog Management", "Service Offering Object", "Service Plan Object".

Most checks walk over the catalog as it was read before the checks began; what lies
inside schemas, maintenance_info and metadata is judged elsewhere. A null counts as a
field that is not there, but for the check about nulls. A promise (bindable,
plan_updateable, allow_context_updates) is held against what a plan does; `requires`
is held against bindings where those are judged.

Units: characters.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from osbkit.conformance import wants
from osbkit.conformance.catalog import Json, Plan, objects
from osbkit.conformance.exchange import Exchange
from osbkit.conformance.expecting import (
    Blocked,
    Skip,
    expect,
    expect_none,
    expect_object,
    expect_rejected,
    expect_status,
    skip,
)
from osbkit.conformance.facts import Way
from osbkit.conformance.registry import check
from osbkit.conformance.target import Target

Named = tuple[str, Json]  # where an object stands, for people, and the object
Said = tuple[str, Any]

LONGEST = 255
READS = 3
PERMISSIONS = frozenset({"syslog_drain", "route_forwarding", "volume_mount"})
FRIENDLY = re.compile(r"[A-Za-z0-9.-]*[A-Za-z0-9][A-Za-z0-9.-]*", re.ASCII)
UNRESERVED = re.compile(r"[A-Za-z0-9._~-]+", re.ASCII)
NO_ENDPOINT = frozenset({404, 405})
GUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.I | re.ASCII)
LONG_AGO = "Thu, 01 Jan 1970 00:00:01 GMT"
OPTIONAL_OF_OFFERING = (
    "tags",
    "requires",
    "instances_retrievable",
    "bindings_retrievable",
    "allow_context_updates",
    "metadata",
    "dashboard_client",
    "plan_updateable",
)
OPTIONAL_OF_PLAN = (
    "metadata",
    "free",
    "bindable",
    "binding_rotatable",
    "plan_updateable",
    "schemas",
    "maximum_polling_duration",
    "maintenance_info",
)

TEXT = "Give it a text with at least one character."
BOOLEAN = "Write true or false, without quotes, or leave the field out."
OBJECT = "Write an object, or leave the field out."
FRIENDLY_ADVICE = "Use letters, digits, periods and hyphens only."
UNIQUE_ADVICE = "Give each offering and each plan a GUID of its own, for ever."


# --- walking --------------------------------------------------------------------------


def _label(place: str, thing: Json) -> str:
    name = thing.get("name")
    return f"{place} ({name[:60]})" if isinstance(name, str) and name else place


def _offerings(target: Target) -> list[Named]:
    """Every offering.

    Raises:
        Blocked: the catalog could not be read.
        Skip: it has none; it may be empty.
    """
    raw = target.catalog.raw
    if not isinstance(raw, dict) or not isinstance(raw.get("services"), list):
        answer = target.session.catalog_answer
        raise Blocked("The catalog could not be read.", *([answer] if answer else []))
    found = [
        (_label(f"services[{number}]", each), each)
        for number, each in enumerate(objects(raw["services"]))
    ]
    return found or skip("The catalog has no offering.")


def _plans_of(offering: Named) -> list[Named]:
    where, raw = offering
    return [
        (_label(f"{where}.plans[{number}]", each), each)
        for number, each in enumerate(objects(raw.get("plans")))
    ]


def _plans(target: Target) -> list[Named]:
    """Every plan.

    Raises:
        Blocked, Skip: as of `_offerings`.
    """
    found = [plan for each in _offerings(target) for plan in _plans_of(each)]
    return found or skip("The catalog has no plan.")


def _said(things: list[Named], name: str) -> list[Said]:
    """A field wherever it is said.

    Raises:
        Skip: nowhere.
    """
    found = [
        (f"{where}.{name}", each[name])
        for where, each in things
        if each.get(name) is not None
    ]
    return found or skip(f"Nothing in the catalog says {name}.")


def _all(said: list[Said], holds: Callable[[Any], bool], otherwise: str) -> None:
    expect_none(f"{where} {otherwise}" for where, value in said if not holds(value))


def _required(things: list[Named], name: str) -> None:
    """A text that is not empty."""
    expect_none(
        f"{where} has no {name}" for where, each in things if not _text(each.get(name))
    )


def _text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _boolean(value: Any) -> bool:
    return isinstance(value, bool)


def _object(value: Any) -> bool:
    return isinstance(value, dict)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _matching(things: list[Named], name: str, form: re.Pattern[str]) -> Iterator[str]:
    """Where a text is there and not of a form; others are for other checks."""
    for where, each in things:
        if _text(each.get(name)) and not form.fullmatch(each[name]):
            yield where


def _twice(things: list[Named], name: str) -> Iterator[str]:
    """Where a text stands that an earlier one already has."""
    seen: dict[str, str] = {}
    for where, each in things:
        if _text(each.get(name)) and seen.setdefault(each[name], where) != where:
            yield f"{where} has the {name} of {seen[each[name]]}"


# --- the answer -----------------------------------------------------------------------


@check("CAT-01", advice="Answer GET /v2/catalog with 200.")
async def catalog_is_200(target: Target) -> None:
    """The catalog is answered with 200, whether the client takes JSON or any type."""
    expect_status(await target.get("/v2/catalog"), 200)
    expect_status(await _asked_for(target, "Accept", "*/*"), 200, said="Accept: */*")


@check("CAT-02", advice='Answer {"services": [{…}, …]}.')
async def catalog_is_a_list_of_offerings(target: Target) -> None:
    """The catalog is an object; its `services` is an array of objects, maybe empty."""
    answer = await target.get("/v2/catalog")
    services = expect_object(answer).get("services")
    expect(isinstance(services, list), "`services` is not an array", answer)
    expect(
        all(isinstance(each, dict) for each in services or []),
        "`services` holds something that is no object",
        answer,
    )


@check("CAT-03", advice="Write ids down, such as in the code; never make them anew.")
async def ids_stay(target: Target) -> None:
    """Ids of offerings and plans are the same each time that the catalog is read."""
    first = _ids(target.catalog.raw)
    for _ in range(READS):
        answer = await target.get("/v2/catalog")
        if answer.status != 200:
            raise Blocked("The catalog could not be read again.", answer)
        again = _ids(answer.json)
        expect_none(
            [
                f"{'/'.join(names)} had another id before"
                for names in first.keys() & again.keys()
                if first[names] - again[names] and again[names] - first[names]
            ],
            answer,
        )


def _ids(raw: Any) -> dict[tuple[str, ...], set[str]]:
    """Ids by names: of an offering, or of an offering and its plan."""
    found: dict[tuple[str, ...], set[str]] = {}
    for offering in objects(raw.get("services") if isinstance(raw, dict) else None):
        name = str(offering.get("name"))
        found.setdefault((name,), set()).add(str(offering.get("id")))
        for plan in objects(offering.get("plans")):
            names = (name, str(plan.get("name")))
            found.setdefault(names, set()).add(str(plan.get("id")))
    return found


@check("CAT-35", advice="Answer 304 only to the ETag that is current.")
async def catalog_by_its_etag(target: Target) -> None:
    """A catalog with an ETag is answered 304 or 200 when asked for by it, and 200
    when asked for by another."""
    etag = (await target.get("/v2/catalog")).headers.get("etag")
    if not etag:
        skip("The catalog has no ETag.")
    same = await _asked_for(target, "If-None-Match", etag)
    expect_status(same, 200, 304, said="asked for by its ETag")
    other = await _asked_for(target, "If-None-Match", '"osb-conformance"')
    expect_status(other, 200, said="asked for by another ETag")


@check("CAT-35", advice="Ignore If-Modified-Since, or compare the moments.")
async def catalog_after_an_old_copy(target: Target) -> None:
    """The catalog is answered 200 to a platform whose copy is of 1970."""
    answer = await _asked_for(target, "If-Modified-Since", LONG_AGO)
    expect_status(answer, 200)


async def _asked_for(target: Target, header: str, value: str) -> Exchange:
    return await target.get("/v2/catalog", headers={header: value})


# --- offerings ------------------------------------------------------------------------


@check("CAT-04", advice=TEXT)
async def offerings_have_names(target: Target) -> None:
    """Each offering has a name that is not empty."""
    _required(_offerings(target), "name")


@check("CAT-05", advice="Give each offering a name of its own; case counts.")
async def names_of_offerings_are_unique(target: Target) -> None:
    """No two offerings have the same name."""
    expect_none(_twice(_offerings(target), "name"))


@check("CAT-06", advice=FRIENDLY_ADVICE)
async def names_of_offerings_are_friendly(target: Target) -> None:
    """Names of offerings are of letters, digits, periods and hyphens, and say
    something."""
    expect_none(
        f"the name of {where} is not fit for a command line"
        for where in _matching(_offerings(target), "name", FRIENDLY)
    )


@check("CAT-07", advice=UNIQUE_ADVICE)
async def offerings_have_ids_of_their_own(target: Target) -> None:
    """Each offering has an id that no other offering and no plan has."""
    expect_none(_not_unique(target, _offerings(target)))


@check("CAT-08", advice=UNIQUE_ADVICE)
async def ids_of_offerings_are_guids(target: Target) -> None:
    """Ids of offerings are GUIDs."""
    expect_none(
        f"the id of {where} is no GUID"
        for where in _matching(_offerings(target), "id", GUID)
    )


@check("CAT-09", advice=TEXT)
async def offerings_have_descriptions(target: Target) -> None:
    """Each offering has a description that is not empty."""
    _required(_offerings(target), "description")


@check("CAT-10", advice="Write an array of texts, or leave the field out.")
async def tags_are_texts(target: Target) -> None:
    """The tags of an offering are an array of texts."""
    _all(_said(_offerings(target), "tags"), _texts, "is not an array of texts")


@check("CAT-11", advice="Only syslog_drain, route_forwarding, volume_mount are known.")
async def permissions_are_known(target: Target) -> None:
    """What an offering requires is an array of permissions that platforms know."""
    _all(
        _said(_offerings(target), "requires"),
        lambda value: _texts(value) and {*value} <= PERMISSIONS,
        "is not an array of syslog_drain, route_forwarding or volume_mount",
    )


@check("CAT-12", advice='Write "bindable": true or false at each offering.')
async def offerings_say_whether_they_are_bindable(target: Target) -> None:
    """Each offering has a bindable that is true or false."""
    expect_none(
        f"{where}.bindable is not true or false"
        for where, each in _offerings(target)
        if not _boolean(each.get("bindable"))
    )


@check("CAT-13", advice=BOOLEAN)
async def instances_retrievable_is_a_boolean(target: Target) -> None:
    """The instances_retrievable of an offering is true or false."""
    said = _said(_offerings(target), "instances_retrievable")
    _all(said, _boolean, "is not true or false")


@check("CAT-14", advice=BOOLEAN)
async def bindings_retrievable_is_a_boolean(target: Target) -> None:
    """The bindings_retrievable of an offering is true or false."""
    said = _said(_offerings(target), "bindings_retrievable")
    _all(said, _boolean, "is not true or false")


@check("CAT-15", advice=BOOLEAN)
async def allow_context_updates_is_a_boolean(target: Target) -> None:
    """The allow_context_updates of an offering is true or false."""
    said = _said(_offerings(target), "allow_context_updates")
    _all(said, _boolean, "is not true or false")


@check("CAT-16", advice=OBJECT)
async def metadata_of_offerings_is_an_object(target: Target) -> None:
    """The metadata of an offering is an object."""
    _all(_said(_offerings(target), "metadata"), _object, "is not an object")


@check("CAT-17", advice=OBJECT)
async def dashboard_client_is_an_object(target: Target) -> None:
    """The dashboard_client of an offering is an object."""
    _all(_said(_offerings(target), "dashboard_client"), _object, "is not an object")


@check("CAT-18", advice="Write plan_updateable, with its e: true or false.")
async def plan_updateable_of_offerings_is_a_boolean(target: Target) -> None:
    """The plan_updateable of an offering is true or false, and spelt so."""
    offerings = _offerings(target)
    expect_none(_misspelt(offerings))
    _all(_said(offerings, "plan_updateable"), _boolean, "is not true or false")


@check("CAT-19", advice="Give each offering a plan, or leave the offering out.")
async def offerings_have_plans(target: Target) -> None:
    """Each offering has an array of plans, and one plan at least."""
    expect_none(
        f"{where} has no array of plans with a plan in it"
        for where, each in _offerings(target)
        if not isinstance(plans := each.get("plans"), list)
        or not plans
        or not all(isinstance(plan, dict) for plan in plans)
    )


def _not_unique(target: Target, things: list[Named]) -> Iterator[str]:
    """Things without an id, or with one that something else has."""
    known = [*_offerings(target)]
    known += [plan for each in known for plan in _plans_of(each)]
    ids = Counter(each["id"] for _, each in known if _text(each.get("id")))
    for where, each in things:
        if not _text(each.get("id")):
            yield f"{where} has no id"
        elif ids[each["id"]] > 1:
            yield f"the id of {where} stands somewhere else, too"


def _misspelt(things: list[Named]) -> Iterator[str]:
    """plan_updatable in place of plan_updateable; beside it, it does no harm."""
    for where, each in things:
        if "plan_updatable" in each and "plan_updateable" not in each:
            yield f"{where} says plan_updatable, which no platform reads"


# --- plans ----------------------------------------------------------------------------


@check("CAT-20", advice=UNIQUE_ADVICE)
async def plans_have_ids_of_their_own(target: Target) -> None:
    """Each plan has an id that no other plan of any offering, and no offering, has."""
    expect_none(_not_unique(target, _plans(target)))


@check("CAT-21", advice=UNIQUE_ADVICE)
async def ids_of_plans_are_guids(target: Target) -> None:
    """Ids of plans are GUIDs."""
    expect_none(
        f"the id of {where} is no GUID"
        for where in _matching(_plans(target), "id", GUID)
    )


@check("CAT-22", advice=TEXT)
async def plans_have_names(target: Target) -> None:
    """Each plan has a name that is not empty."""
    _required(_plans(target), "name")


@check("CAT-23", advice="Give each plan of an offering a name of its own; case counts.")
async def names_of_plans_are_unique(target: Target) -> None:
    """No two plans of one offering have the same name."""
    expect_none(
        twice
        for each in _offerings(target)
        for twice in _twice(_plans_of(each), "name")
    )


@check("CAT-24", advice=FRIENDLY_ADVICE)
async def names_of_plans_are_friendly(target: Target) -> None:
    """Names of plans are of letters, digits, periods and hyphens, and say something."""
    expect_none(
        f"the name of {where} is not fit for a command line"
        for where in _matching(_plans(target), "name", FRIENDLY)
    )


@check("CAT-25", advice=TEXT)
async def plans_have_descriptions(target: Target) -> None:
    """Each plan has a description that is not empty."""
    _required(_plans(target), "description")


@check("CAT-26", advice=OBJECT)
async def metadata_of_plans_is_an_object(target: Target) -> None:
    """The metadata of a plan is an object."""
    _all(_said(_plans(target), "metadata"), _object, "is not an object")


@check("CAT-27", advice=BOOLEAN)
async def free_is_a_boolean(target: Target) -> None:
    """The free of a plan is true or false."""
    _all(_said(_plans(target), "free"), _boolean, "is not true or false")


@check("CAT-28", advice=BOOLEAN)
async def bindable_of_plans_is_a_boolean(target: Target) -> None:
    """The bindable of a plan is true or false."""
    _all(_said(_plans(target), "bindable"), _boolean, "is not true or false")


@check("CAT-29", advice="Write it at the plan: true or false.")
async def binding_rotatable_is_a_boolean_of_plans(target: Target) -> None:
    """binding_rotatable is true or false, and stands at the plan."""
    expect_none(
        f"{each[0]}.binding_rotatable: it belongs to the plans"
        for each in _offerings(target)
        if "binding_rotatable" in each[1]
        and not any("binding_rotatable" in plan for _, plan in _plans_of(each))
    )
    said = _said(_plans(target), "binding_rotatable")
    _all(said, _boolean, "is not true or false")


@check("CAT-30", advice="Write plan_updateable, with its e: true or false.")
async def plan_updateable_of_plans_is_a_boolean(target: Target) -> None:
    """The plan_updateable of a plan is true or false, and spelt so."""
    plans = _plans(target)
    expect_none(_misspelt(plans))
    _all(_said(plans, "plan_updateable"), _boolean, "is not true or false")


@check("CAT-31", advice=OBJECT)
async def schemas_are_an_object(target: Target) -> None:
    """The schemas of a plan are an object."""
    _all(_said(_plans(target), "schemas"), _object, "is not an object")


@check("CAT-32", advice="Write seconds: a whole number, without quotes or fraction.")
async def maximum_polling_duration_is_in_seconds(target: Target) -> None:
    """The maximum_polling_duration of a plan is a whole number, not below zero."""
    _all(
        _said(_plans(target), "maximum_polling_duration"),
        lambda value: isinstance(value, int) and not _boolean(value) and value >= 0,
        "is not a whole number of seconds",
    )


@check("CAT-33", advice='Write {"version": "1.0.0"}, or leave the field out.')
async def maintenance_info_has_a_version(target: Target) -> None:
    """The maintenance_info of a plan is an object with a version."""
    _all(
        _said(_plans(target), "maintenance_info"),
        lambda value: _object(value) and "version" in value,
        "is not an object with a version",
    )


# --- both -----------------------------------------------------------------------------


@check("CAT-34", advice="Shorten it; long texts belong in metadata.longDescription.")
async def texts_are_short(target: Target) -> None:
    """Names, ids, descriptions and tags have at most 255 characters."""
    expect_none(
        f"{where} has {len(text)} characters"
        for where, text in _all_texts(target)
        if len(text) > LONGEST
    )


def _all_texts(target: Target) -> Iterator[tuple[str, str]]:
    for thing in _offerings(target):
        for where, each in (thing, *_plans_of(thing)):
            about = each.get("maintenance_info")
            texts = {name: each.get(name) for name in ("id", "name", "description")}
            if isinstance(about, dict):
                texts["maintenance_info.description"] = about.get("description")
            if isinstance(tags := each.get("tags"), list):
                texts |= {f"tags[{number}]": tag for number, tag in enumerate(tags)}
            for name, text in texts.items():
                if isinstance(text, str):
                    yield f"{where}.{name}", text


@check("CAT-41", advice="Leave fields without a value out.")
async def catalog_has_no_nulls(target: Target) -> None:
    """Optional fields of offerings and plans are left out rather than null."""
    expect_none(
        f"{where}.{name} is null"
        for thing in _offerings(target)
        for fields, things in (
            (OPTIONAL_OF_OFFERING, [thing]),
            (OPTIONAL_OF_PLAN, _plans_of(thing)),
        )
        for where, each in things
        for name in fields
        if name in each and each[name] is None
    )


@check("CAT-42", advice="Use letters, digits and - . _ ~ only; GUIDs do.")
async def ids_are_unreserved(target: Target) -> None:
    """Ids of offerings and plans hold unreserved characters only."""
    things = [plan for each in _offerings(target) for plan in (each, *_plans_of(each))]
    expect_none(
        f"the id of {where} must be encoded in a URL"
        for where in _matching(things, "id", UNRESERVED)
    )


# --- what it promises -----------------------------------------------------------------


@check("CAT-28", advice="Let a plan's bindable override its offering's.")
async def bindable_of_a_plan_overrides(target: Target) -> None:
    """A plan that is bindable can be bound though its offering says otherwise."""
    wanted = wants.Want(
        "with bindable: true in an offering with bindable: false",
        lambda plan: plan.bindable and plan.offering.raw.get("bindable") is False,
    )
    instance = await target.provisioned(target.plan(wants.usable, wanted))
    answer = await instance.binding().bind()
    expect(
        answer.good,
        f"the plan says bindable: true; binding it is answered {answer.status}",
        answer,
    )


@check("CAT-28", advice="Serve bindings of the plan, or say bindable: false.")
async def what_is_bindable_can_be_bound(target: Target) -> None:
    """Of an offering with plans that say bindable: true, bindings are served: not each
    of these plans answers a PUT of a binding with a 5xx, or as no endpoint."""
    target.plan(wants.usable, wants.bindable)
    offered: dict[str, list[Plan]] = {}
    for plan in target.plans(wants.usable, wants.bindable):
        offered.setdefault(plan.offering.name, []).append(plan)
    for name, plans in offered.items():
        answers = [_latest(plan.facts.bind) for plan in plans]
        expect(
            any(each is not None and _is_served(each) for each in answers),
            f"no plan of {name} serves bindings, though they say bindable: true:"
            f" {_statuses(answers)}",
            *(each for each in answers[:1] if each is not None),
        )


def _latest(way: Way) -> Exchange | None:
    """The better of the answers that were had while learning."""
    tried = [each for each in (way.with_flag, way.without_flag) if each is not None]
    return next((each for each in tried if _is_served(each)), tried[0])


def _is_served(answer: Exchange) -> bool:
    """There is such an endpoint, and it did what it wants to."""
    refused = answer.rejected and answer.status not in NO_ENDPOINT
    return answer.good or refused


def _statuses(answers: Iterable[Exchange | None]) -> str:
    found = {str(each.status or each.trouble) for each in answers if each is not None}
    return ", ".join(sorted(found))


@check("CAT-30", advice="Let a plan's plan_updateable override its offering's.")
async def plan_updateable_of_a_plan_overrides(target: Target) -> None:
    """A plan that is plan_updateable can be left though its offering says
    otherwise."""
    wanted = wants.Want(
        "with plan_updateable: true in an offering without",
        lambda plan: (
            plan.updateable and plan.offering.raw.get("plan_updateable") is not True
        ),
    )
    plan = target.plan(wants.usable, wanted)
    target.sibling(plan, wants.usable)
    instance, refused = await target.provisioned(plan), []
    for other in target.plans(wants.usable):
        if other.offering.id == plan.offering.id and other.id != plan.id:
            answer = await instance.update(plan_id=other.id)
            if answer.good:
                return
            refused.append(answer)
    expect(False, "the plan says plan_updateable: true; no change is taken", *refused)


@check("CAT-37", "BIND-28", advice="Refuse bindings of plans that are not bindable.")
async def what_is_not_bindable_is_not_bound(target: Target) -> None:
    """A plan with bindable: false cannot be bound."""
    instance = await target.provisioned(target.plan(wants.usable, wants.not_bindable))
    binding = instance.binding()
    answer = await binding.bind()
    if answer.good:
        ended = await binding.ended(answer)
        expect(
            not ended.succeeded,
            "a binding was made though the catalog says bindable: false",
            answer,
            ended.last,
        )


@check("CAT-39", "UPD-14", advice="Refuse the change with 422, or declare it.")
async def what_is_not_updateable_keeps_its_plan(target: Target) -> None:
    """A change of plan is refused where plan_updateable is not true, and the plan
    stays."""
    plan, other = _fixed(target)
    instance = await target.provisioned(plan)
    answer = await instance.update(plan_id=other.id)
    expect_rejected(answer, said="plan_updateable is not true")
    if plan.offering.instances_retrievable:
        fetched = await instance.fetch()
        expect(
            fetched.get("plan_id") in {plan.id, None},
            "the plan has changed though the change was refused",
            answer,
            fetched,
        )


def _fixed(target: Target) -> tuple[Plan, Plan]:
    """A plan that cannot be left, and one of its offering to which it might go.

    Raises:
        Skip: there is none.
    """
    for plan in target.plans(wants.usable, wants.not_updateable):
        for other in target.plans(wants.usable):
            if other.offering.id == plan.offering.id and other.id != plan.id:
                return plan, other
    raise Skip("No plan without plan_updateable: true has a sibling.")


@check("CAT-40", "UPD-15", since="2.15", advice="Take it, or declare no such updates.")
async def context_alone_can_be_updated(target: Target) -> None:
    """An update of nothing but the context is accepted where allow_context_updates
    says so."""
    plan = target.plan(wants.usable, wants.context_updates)
    instance = await target.provisioned(plan)
    context = {**instance.sent["context"], "instance_name": "renamed"}
    answer = await instance.update(context=context)
    expect(
        answer.good,
        f"allow_context_updates is true; expected a 2xx, got {answer.status}",
        answer,
    )

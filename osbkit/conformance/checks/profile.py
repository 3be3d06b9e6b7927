"""What Cloud Foundry and Kubernetes send, and the names that they look for.

Source: the specification's profile (profile.md). A platform sends a field from the API
version on that brought it, so a context has what the version in use knows.

A null in the catalog counts as a field that is not there.
"""

import json
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from osbkit.conformance import wants
from osbkit.conformance.catalog import Json, Plan, objects
from osbkit.conformance.exchange import Exchange
from osbkit.conformance.expecting import Blocked, expect, expect_none, skip
from osbkit.conformance.fields import OMIT
from osbkit.conformance.registry import check
from osbkit.conformance.resources import Binding, Instance
from osbkit.conformance.sending import IDENTITY
from osbkit.conformance.target import Target
from osbkit.conformance.wants import Want

OFFERING_TEXTS = (
    "displayName",
    "imageUrl",
    "longDescription",
    "providerDisplayName",
    "documentationUrl",
    "supportUrl",
)
FIRST_FIELDS = frozenset({"platform", "organization_guid", "space_guid", "namespace"})
NOTES = {"example.com/contact": "team@example.com", "plain": ""}
UNKNOWN_IS_FINE = "Take any object as `context`: fields that you do not know, too."

needs_no_app = Want(
    "whose bindings need no app",
    lambda plan: not plan.facts.needs_app and not plan.offering.requires,
)
needs_no_route = Want(
    "of an offering without route_forwarding",
    lambda plan: "route_forwarding" not in plan.offering.requires,
)


# --- who asks ------------------------------------------------------------------------


@check(
    "PROFILE-01",
    since="2.13",
    advice="Take any JSON object as the identity of a Cloud Foundry user.",
)
async def cloud_foundry_identity_is_accepted(target: Target) -> None:
    """A Cloud Foundry user is accepted as the originating identity."""
    user = {"user_id": "683ea748-3092-4ff4-b656-39cacc4d5360"}
    more = {**user, "user_name": "duke@example.com", "roles": ["admin"]}
    for value in (user, more):
        instance = target.instance()
        answer = await instance.provision(
            headers={IDENTITY: _identity("cloudfoundry", value)}
        )
        await _expect_done(instance, answer, "an identity of Cloud Foundry")


@check(
    "PROFILE-02",
    since="2.13",
    advice="Take any JSON object as the identity of a Kubernetes user.",
)
async def kubernetes_identity_is_accepted(target: Target) -> None:
    """A Kubernetes user is accepted as the originating identity."""
    user = {
        "username": "system:serviceaccount:catalog:controller",
        "uid": "c2dde242-5ce4-11e7-988c-000c2946f14f",
        "groups": ["system:serviceaccounts", "system:authenticated"],
        "extra": {"scopes.example.com/all": ["one", "two"], "none": []},
    }
    for value in (user, {**user, "impersonated": True}):
        instance, context = target.instance(), _kubernetes(target)
        answer = await instance.provision(
            context=context, headers={IDENTITY: _identity("kubernetes", value)}
        )
        if answer.rejected and not (await instance.provision()).good:
            skip("An instance with a context of Kubernetes cannot be made at all.")
        await _expect_done(instance, answer, "an identity of Kubernetes")


# --- where it is asked from ----------------------------------------------------------


@check("PROFILE-03", since="2.12", advice=UNKNOWN_IS_FINE)
async def context_of_any_platform_is_accepted(target: Target) -> None:
    """A context of an unknown platform, with fields of its own, is accepted."""
    instance = target.instance()
    context = {
        "platform": "another-platform",
        "region": "north",
        "labels": {"levels": [1, 2.5, None, True, {"deep": []}]},
    }
    answer = await instance.provision(context=context)
    await _expect_done(instance, answer, "a context of another platform")


@check("PROFILE-04", since="2.12", advice=UNKNOWN_IS_FINE)
async def cloud_foundry_provisions_with_its_context(target: Target) -> None:
    """Cloud Foundry's context is accepted in a provision."""
    await _provisioned_in(target.instance(), _cloud_foundry(target), "Cloud Foundry")


@check("PROFILE-04", since="2.12", advice=UNKNOWN_IS_FINE)
async def cloud_foundry_updates_with_its_context(target: Target) -> None:
    """Cloud Foundry's context is accepted in an update."""
    await _updated_in(target, _cloud_foundry(target), "Cloud Foundry")


@check("PROFILE-05", since="2.13", advice=UNKNOWN_IS_FINE)
async def cloud_foundry_binds_with_its_context(target: Target) -> None:
    """Cloud Foundry's context is accepted in a binding."""
    await _bound_in(target, _cloud_foundry(target), "Cloud Foundry")


@check("PROFILE-06", since="2.12", advice=UNKNOWN_IS_FINE)
async def kubernetes_provisions_with_its_context(target: Target) -> None:
    """Kubernetes' context is accepted in a provision."""
    await _provisioned_in(target.instance(), _kubernetes(target), "Kubernetes")


@check("PROFILE-06", since="2.12", advice=UNKNOWN_IS_FINE)
async def kubernetes_updates_with_its_context(target: Target) -> None:
    """Kubernetes' context is accepted in an update."""
    await _updated_in(target, _kubernetes(target), "Kubernetes")


@check("PROFILE-07", since="2.13", advice=UNKNOWN_IS_FINE)
async def kubernetes_binds_with_its_context(target: Target) -> None:
    """Kubernetes' context is accepted in a binding."""
    await _bound_in(target, _kubernetes(target), "Kubernetes")


@check(
    "PROFILE-08",
    since="2.12",
    advice="Do without the fields that newer API versions brought to `context`.",
)
async def small_contexts_are_accepted(target: Target) -> None:
    """A context without the fields that came after the first ones is accepted."""
    for whole in (_cloud_foundry(target), _kubernetes(target)):
        context = _small(whole)
        name = str(context["platform"])
        await _provisioned_in(target.instance(), context, f"{name}, of 2.11,")


# --- to what it is bound -------------------------------------------------------------


@check(
    "PROFILE-09",
    advice="Take any object as `bind_resource`; refuse a key for want of an app with"
    " RequiresApp.",
)
async def bind_resources_of_cloud_foundry_are_accepted(target: Target) -> None:
    """Bindings to an app or a route, and service keys, are accepted."""
    found = list(_bind_resources(target))
    if not found:
        skip("The catalog has no plan whose bindings can be made.")
    for plan, resource in found:
        instance = await target.provisioned(plan)
        binding = instance.binding()
        answer = await binding.bind(
            bind_resource=resource, app_guid=resource.get("app_guid", OMIT)
        )
        what = f"a bind_resource with {' and '.join(resource)}"
        if "app_guid" in resource or answer.error != "RequiresApp":
            await _expect_done(binding, answer, what)


# --- what the catalog says -----------------------------------------------------------


@check("PROFILE-10", advice="Write these fields of an offering's metadata as texts.")
async def usual_metadata_of_offerings_are_texts(target: Target) -> None:
    """displayName, imageUrl and the other usual metadata of an offering are strings."""
    found = [
        (f"{_name(offering.raw)}: metadata.{name}", metadata[name])
        for offering in target.catalog.offerings
        if (metadata := _object(offering.raw.get("metadata")))
        for name in OFFERING_TEXTS
        if metadata.get(name) is not None
    ]
    if not found:
        skip("No offering of the catalog has any of these fields.")
    _expect_types(target, found, str, "a string")


@check(
    "PROFILE-11",
    advice="Write `bullets` as texts, and `costs` as objects with `amount` (numbers by"
    " currency) and `unit`.",
)
async def usual_metadata_of_plans_have_their_types(target: Target) -> None:
    """bullets, costs and displayName of a plan's metadata have the usual types."""
    problems: list[str] = []
    seen = False
    for offering, plan in target.catalog.raw_plans():
        metadata = _object(plan.get("metadata"))
        for name, judge in PLAN_FIELDS.items():
            if metadata.get(name) is not None:
                seen = True
                where = f"{_name(offering)}/{_name(plan)}: metadata.{name}"
                problems += [f"{where} {each}" for each in judge(metadata[name])]
    if not seen:
        skip("No plan of the catalog has any of these fields.")
    expect_none(problems, *_catalog_answer(target))


@check("PROFILE-12", advice="Write `shareable` as true or false.")
async def shareable_is_a_boolean(target: Target) -> None:
    """metadata.shareable of an offering is a boolean."""
    found = [
        (f"{_name(offering.raw)}: metadata.shareable", metadata["shareable"])
        for offering in target.catalog.offerings
        if (metadata := _object(offering.raw.get("metadata"))).get("shareable")
        is not None
    ]
    if not found:
        skip("No offering of the catalog says whether it is shareable.")
    _expect_types(target, found, bool, "a boolean")


@check(
    "PROFILE-14",
    advice="Give `dashboard_client` an `id` and a `secret` that are not empty, or leave"
    " it out.",
)
async def dashboard_client_is_complete(target: Target) -> None:
    """A dashboard_client has an id and a secret; its redirect_uri is a string."""
    found = [
        (_name(offering.raw), offering.raw["dashboard_client"])
        for offering in target.catalog.offerings
        if isinstance(offering.raw.get("dashboard_client"), dict)
    ]
    if not found:
        skip("No offering of the catalog has a dashboard_client.")
    expect_none(
        (
            f"{name}: dashboard_client.{problem}"
            for name, client in found
            for problem in _client_problems(client)
        ),
        *_catalog_answer(target),
    )


# --- contexts ------------------------------------------------------------------------


def _cloud_foundry(target: Target) -> Json:
    """All that Cloud Foundry sends of an instance in the version in use."""
    context: Json = {
        "platform": "cloudfoundry",
        "organization_guid": str(uuid.uuid4()),
        "space_guid": str(uuid.uuid4()),
    }
    if target.knows("2.15"):
        context |= {
            "organization_name": "system",
            "space_name": "development",
            "instance_name": "my-db",
        }
    if target.knows("2.16"):
        context |= {
            "organization_annotations": NOTES,
            "space_annotations": {},
            "instance_annotations": NOTES,
        }
    return context


def _kubernetes(target: Target) -> Json:
    """All that Kubernetes sends of an instance in the version in use."""
    context: Json = {"platform": "kubernetes", "namespace": "development"}
    if target.knows("2.14"):
        context["clusterid"] = "8263feba-9b8a-23ae-99ed-abcd1234feda"
    if target.knows("2.15"):
        context["instance_name"] = "my-db"
    if target.knows("2.16"):
        context |= {"namespace_annotations": NOTES, "instance_annotations": {}}
    return context


def _small(context: Json) -> Json:
    """The same with the fields that came first, alone."""
    return {name: each for name, each in context.items() if name in FIRST_FIELDS}


def _whose(context: Json) -> Json:
    """The fields of a provision that go with a context: the same ids beside it."""
    ids = ("organization_guid", "space_guid")
    return {"context": context} | {
        name: context[name] for name in ids if name in context
    }


async def _provisioned_in(instance: Instance, context: Json, whose: str) -> None:
    answer = await instance.provision(**_whose(context))
    await _expect_done(instance, answer, f"a provision with a context of {whose}")


async def _living_in(target: Target, plan: Plan, context: Json) -> Instance:
    """A ready instance of this platform, with as much of the context as is taken.

    Raises:
        Blocked: not even the fields that came first are taken.
    """
    with suppress(Blocked):
        return await target.provisioned(plan, **_whose(context))
    return await target.provisioned(plan, **_whose(_small(context)))


async def _updated_in(target: Target, context: Json, whose: str) -> None:
    plan = target.plan(wants.updates)
    instance = await _living_in(target, plan, context)
    answer = await instance.update(**plan.facts.update_change, context=context)
    await _expect_done(instance, answer, f"an update with a context of {whose}")


async def _bound_in(target: Target, context: Json, whose: str) -> None:
    instance = await _living_in(target, target.plan(wants.binds), context)
    binding = instance.binding()
    of_bindings = {
        name: each
        for name, each in context.items()
        if name not in {"instance_name", "instance_annotations"}
    }
    answer = await binding.bind(context=of_bindings)
    await _expect_done(binding, answer, f"a binding with a context of {whose}")


async def _expect_done(one: Instance | Binding, answer: Exchange, what: str) -> None:
    """What was sent is accepted, and comes to a good end."""
    expect(answer.good, f"{what} was answered {answer.status}", answer)
    ended = await one.ended(answer)
    expect(ended.succeeded, f"{what} ended as {ended.how}", answer, ended.last)


# --- bind resources ------------------------------------------------------------------


def _bind_resources(target: Target) -> Iterator[tuple[Plan, Json]]:
    """What Cloud Foundry sends, each with a plan to which it can be sent."""
    app, space = str(uuid.uuid4()), str(uuid.uuid4())
    for plan in target.plans(wants.binds, needs_no_route)[:1]:
        yield plan, {"app_guid": app}
        yield plan, {"app_guid": app, "space_guid": space}
        if target.knows("2.16"):
            yield (
                plan,
                {"app_guid": app, "space_guid": space, "app_annotations": NOTES},
            )
    for plan in target.plans(wants.binds, needs_no_app)[:1]:
        if target.knows("2.16"):
            yield plan, {"credential_client_id": "cc_service_key_client"}
    for plan in target.plans(wants.binds, wants.requires("route_forwarding"))[:1]:
        yield plan, {"route": "conformance.example.com"}


# --- the catalog's types -------------------------------------------------------------


def _display_name(value: Any) -> Iterator[str]:
    if not isinstance(value, str):
        yield "is not a string"


def _bullets(value: Any) -> Iterator[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        yield "is not an array of strings"


def _costs(value: Any) -> Iterator[str]:
    if not isinstance(value, list) or len(objects(value)) != len(value):
        yield "is not an array of objects"
        return
    for number, cost in enumerate(value):
        amount, unit = cost.get("amount"), cost.get("unit")
        if not isinstance(amount, dict) or not all(map(_is_number, amount.values())):
            yield f"[{number}].amount is not an object of numbers"
        if not isinstance(unit, str):
            yield f"[{number}].unit is not a string"


PLAN_FIELDS: dict[str, Callable[[Any], Iterator[str]]] = {
    "displayName": _display_name,
    "bullets": _bullets,
    "costs": _costs,
}


def _client_problems(client: Json) -> Iterator[str]:
    for name in ("id", "secret"):
        if not isinstance(client.get(name), str) or not client[name]:
            yield f"{name} is not a string with at least one character"
    uri = client.get("redirect_uri")
    if uri is not None and not isinstance(uri, str):
        yield "redirect_uri is not a string"


def _expect_types(
    target: Target, found: list[tuple[str, Any]], kind: type, word: str
) -> None:
    expect_none(
        (f"{where} is not {word}" for where, each in found if type(each) is not kind),
        *_catalog_answer(target),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _name(thing: Json) -> str:
    name = thing.get("name")
    return name[:60] if isinstance(name, str) and name else "an unnamed one"


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _catalog_answer(target: Target) -> tuple[Exchange, ...]:
    answer = target.session.catalog_answer
    return () if answer is None else (answer,)


def _identity(platform: str, value: Json) -> str:
    return f"{platform} {b64encode(json.dumps(value).encode()).decode()}"

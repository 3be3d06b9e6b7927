"""Errors and content type. Spec: "Service Broker Errors", "Content Type"."""

import re
import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any

from osbkit.conformance import wants
from osbkit.conformance.catalog import Plan
from osbkit.conformance.checks.updating import to_be_updated
from osbkit.conformance.exchange import Exchange, Verb
from osbkit.conformance.expecting import (
    expect,
    expect_object,
    expect_rejected,
    expect_status,
    skip,
)
from osbkit.conformance.registry import check, every_answer
from osbkit.conformance.removal import (
    expect_gone,
    expect_unremoved,
    settled,
    unchanged,
)
from osbkit.conformance.resources import Binding, Instance
from osbkit.conformance.sending import VERSION
from osbkit.conformance.target import Target

CHANGES: frozenset[Verb] = frozenset(
    {"provision", "update", "deprovision", "bind", "unbind"}
)
CODES = frozenset(
    {"AsyncRequired", "ConcurrencyError", "RequiresApp", "MaintenanceInfoConflict"}
)
WORD = re.compile(r"[A-Za-z][A-Za-z0-9]*")
NO_WORD = "Leave `error` out where the specification names no code."


# --- the body of an error ------------------------------------------------------------


def is_error(seen: Exchange) -> bool:
    """A 4xx or 5xx with a JSON object as its body."""
    return seen.status >= 400 and isinstance(seen.json, dict)


def is_specified(seen: Exchange) -> bool:
    """To a request that the specification has: of others it says nothing."""
    return seen.verb != "other"


@every_answer(
    "ERR-03",
    when=lambda seen: is_error(seen) and "error" in seen.object,
    advice=NO_WORD,
)
def error_is_a_word(seen: Exchange) -> None:
    """The field `error` of an error is a string that is not empty."""
    expect(
        isinstance(seen.error, str) and seen.error != "",
        f"`error` is {seen.error!r}",
        seen,
    )


@every_answer(
    "ERR-04",
    when=lambda seen: (
        is_error(seen) and isinstance(seen.error, str) and seen.error != ""
    ),
    advice="Put sentences into `description`, and into `error` one word such as Gone.",
)
def error_is_a_single_word(seen: Exchange) -> None:
    """The field `error` is one word in camel case, made of letters and digits."""
    expect(WORD.fullmatch(seen.error) is not None, "`error` is more than a word", seen)


@every_answer(
    "ERR-05",
    when=lambda seen: is_error(seen) and "description" in seen.object,
    advice="Say something, or leave `description` out.",
)
def description_says_something(seen: Exchange) -> None:
    """The field `description` of an error is a string that is not empty."""
    words = seen.get("description")
    expect(
        isinstance(words, str) and words != "",
        "`description` is empty or no string",
        seen,
    )


def _belongs(seen: Exchange, name: str, *verbs: Verb) -> None:
    """The field is a boolean, and the error is one of these verbs'."""
    if name not in seen.object:
        return
    value = seen.get(name)
    expect(isinstance(value, bool), f"`{name}` is no boolean", seen)
    verb = seen.concerns or seen.verb
    expect(verb in verbs, f"`{name}` is in an error of {seen.verb}", seen)


@every_answer(
    "ERR-06",
    when=is_error,
    advice="Say it after a failed update or deprovision, and nowhere else.",
)
def instance_usable_has_its_place(seen: Exchange) -> None:
    """In errors, `instance_usable` is a boolean of updates and deprovisions."""
    _belongs(seen, "instance_usable", "update", "deprovision")


@every_answer(
    "ERR-07",
    when=is_error,
    advice="Say it after a failed update, and nowhere else.",
)
def update_repeatable_has_its_place(seen: Exchange) -> None:
    """In errors, `update_repeatable` is a boolean of updates."""
    _belongs(seen, "update_repeatable", "update")


@every_answer(
    "ERR-14",
    when=lambda seen: is_specified(seen) and seen.rejected and bool(seen.body),
    advice='Answer {"description": "what the user should know"}, or `{}`.',
)
def errors_are_objects(seen: Exchange) -> None:
    """The body of a 4xx, if there is one, is a JSON object."""
    expect_object(seen)


# --- codes and statuses --------------------------------------------------------------


@check("ERR-01", advice="Answer 4xx to what the platform did wrong.")
async def mistakes_are_4xx(target: Target) -> None:
    """A poll, fetch, deprovision or unbind of what never was is answered 4xx: no 2xx,
    no 5xx. Endpoints and methods that the specification has not are not tried."""
    unknown = target.instance(target.plan(wants.usable))
    expect_rejected(await unknown.poll(), said="a poll of an unknown instance")
    await _expect_undeletable(unknown, "a deprovision of an unknown instance")
    retrievable = target.plans(wants.usable, wants.retrievable)
    if retrievable and target.knows("2.14"):
        answer = await target.instance(retrievable[0]).fetch()
        expect_rejected(answer, said="a fetch of an unknown instance")
    for plan in target.plans(wants.binds)[:1]:
        binding = target.instance(plan).binding()
        await _expect_undeletable(binding, "an unbind of an unknown instance")


async def _expect_undeletable(one: Instance | Binding, said: str) -> None:
    """Neither with `accepts_incomplete` nor without."""
    for flag, how in ((True, "with"), (None, "without")):
        answer = await one.delete(flag=flag)
        expect_rejected(answer, said=f"{said}, {how} accepts_incomplete")


@every_answer(
    "ERR-02",
    when=lambda seen: isinstance(seen.error, str) and seen.error in CODES,
    advice="Answer 422 with this code.",
)
def codes_come_with_422(seen: Exchange) -> None:
    """Each of the four error codes comes with the status 422."""
    expect_status(seen, 422)


def _has_app(body: Any) -> bool:
    if not isinstance(body, dict):
        return False
    resource = body.get("bind_resource")
    inner = resource.get("app_guid") if isinstance(resource, dict) else None
    return bool(body.get("app_guid") or inner)


def _means_it(seen: Exchange) -> bool:
    """Whether the request could have caused the code that it was answered with."""
    match seen.error:
        case "AsyncRequired":
            return seen.verb in CHANGES and not seen.accepts_incomplete
        case "ConcurrencyError":
            return seen.verb in CHANGES or seen.verb.startswith("fetch")
        case "RequiresApp":
            return seen.verb == "bind" and not _has_app(seen.sent_json)
        case _:
            body = seen.sent_json
            named = isinstance(body, dict) and bool(body.get("maintenance_info"))
            return seen.verb in {"provision", "update"} and named


@every_answer(
    "ERR-15",
    when=lambda seen: isinstance(seen.error, str) and seen.error in CODES,
    advice="Give another failure another code, or none.",
)
def codes_mean_what_they_say(seen: Exchange) -> None:
    """Each of the four error codes answers a request that can have that failure."""
    expect(_means_it(seen), f"{seen.verb} cannot fail with {seen.error!r}", seen)


# --- what a rejected request leaves --------------------------------------------------


async def _repeat(one: Instance | Binding) -> Exchange:
    """The first request once more."""
    return await (one.bind() if isinstance(one, Binding) else one.provision())


async def _leaves(one: Instance | Binding, attempt: Exchange, before: Exchange) -> None:
    """Once rejected, the first request is answered as it was before."""
    if not attempt.rejected:
        skip(f"The request was answered {attempt.status}: it is no mistake here.")
    after = await _repeat(one)
    expect(
        after.status == before.status,
        f"before the rejected request a repeat was answered {before.status},"
        f" after it {after.status}",
        before,
        attempt,
        after,
    )


@check("ERR-12", advice="Reject before anything is written.")
async def rejected_put_leaves_the_instance(target: Target) -> None:
    """After a PUT that was rejected an instance is what it was."""
    instance = await target.provisioned(target.plan(wants.usable))
    before = await _repeat(instance)
    other = str(uuid.uuid4())
    attempt = await instance.provision(service_id=other, plan_id=other)
    await _leaves(instance, attempt, before)


@check("ERR-12", advice="Reject before anything is written.")
async def rejected_put_leaves_the_binding(target: Target) -> None:
    """After a PUT that was rejected a binding is what it was."""
    instance = await target.provisioned(target.plan(wants.binds))
    binding = await instance.bound()
    before = await _repeat(binding)
    attempt = await binding.bind(plan_id=str(uuid.uuid4()))
    await _leaves(binding, attempt, before)


@check("ERR-12", advice="Reject before anything is written.")
async def rejected_patch_leaves_the_instance(target: Target) -> None:
    """After a PATCH that was rejected an instance can be had as it was."""
    instance = await target.provisioned(target.plan(wants.usable))
    before = await _repeat(instance)
    change = {**instance.plan.facts.update_change, "plan_id": str(uuid.uuid4())}
    await _leaves(instance, await instance.update(**change), before)


OTHER_VERSIONS = ("1.0", "abc", None)  # None leaves the header out


@check("ERR-12", advice="Look at the version header before anything is done.")
async def version_refusals_make_nothing(target: Target) -> None:
    """A PUT that was rejected for its version header has made nothing."""
    plan = _versatile(target)
    instance = await target.provisioned(plan)
    refused = 0
    for version in OTHER_VERSIONS:
        made: list[Instance | Binding] = [target.instance(plan)]
        made += [instance.binding()] if plan.facts.bind.succeeded else []
        for one in made:
            answer = await settled(one, one.put(headers={VERSION: version}))
            if answer.rejected:
                refused += 1
                await expect_gone(one)
    _some(refused)


@check("ERR-12", advice="Look at the version header before anything is done.")
async def version_refusals_change_nothing(target: Target) -> None:
    """A PATCH or DELETE that was rejected for its version header has changed
    nothing."""
    plan = _versatile(target)
    refused = 0
    for version in OTHER_VERSIONS:
        headers = {VERSION: version}
        kept, answers = await target.provisioned(plan), []
        if plan.facts.bind.succeeded:
            bound = await kept.bound()
            answers.append(await expect_unremoved(bound, headers=headers))
        if change := plan.facts.update_change:
            patch = partial(kept.update, headers=headers, **change)
            answers.append(await unchanged(kept, patch))
        answers.append(await expect_unremoved(kept, headers=headers))
        refused += sum(each.rejected for each in answers)
    _some(refused)


def _versatile(target: Target) -> Plan:
    """The plan of which most can be tried, and of whose instances most is told."""
    told = wants.Want(
        "that can be fetched",
        lambda plan: (
            plan.offering.instances_retrievable and plan.offering.bindings_retrievable
        ),
    )
    for more in ((wants.binds, wants.updates, told), (wants.binds, told), (told,)):
        if target.plans(wants.usable, *more):
            return target.plan(wants.usable, *more)
    return target.plan(wants.usable)


def _some(refused: int) -> None:
    if not refused:
        skip("The broker refuses no version.")


# --- the content type of answers -----------------------------------------------------


@every_answer(
    "CT-01",
    when=lambda seen: is_specified(seen) and bool(seen.body),
    advice="Set Content-Type: application/json on every answer that has a body.",
)
def answers_say_that_they_are_json(seen: Exchange) -> None:
    """An answer with a body has the content type application/json."""
    kind = seen.headers.get("Content-Type", "")
    expect(
        kind.partition(";")[0].strip().lower() == "application/json",
        f"the content type is {kind!r}",
        seen,
    )


@every_answer(
    "CT-07",
    when=lambda seen: seen.good,
    advice="Answer `{}` where there is nothing to say.",
)
def successes_are_objects(seen: Exchange) -> None:
    """The body of every success is a JSON object; an empty body is none."""
    expect_object(seen)


# --- the content type of requests ----------------------------------------------------


async def _typed(target: Target, *kinds: str | None) -> list[Exchange]:
    """New instances asked for with each of these content types."""
    plan = target.plan(wants.usable)
    return [
        await target.instance(plan).provision(headers={"Content-Type": kind})
        for kind in kinds
    ]


def _taken_or_400(answer: Exchange, said: str) -> None:
    expect(
        answer.good or answer.status == 400,
        f"{said} is answered {answer.status or answer.trouble}",
        answer,
    )


@check("CT-02", advice="Read the body as JSON, or answer 400.")
async def body_without_type_is_taken_or_400(target: Target) -> None:
    """A body without a content type is processed, or rejected with 400."""
    for answer in await _typed(target, None):
        _taken_or_400(answer, "a body without a content type")


@check("CT-03", advice="Answer 400, not 415 nor 422, or read the body as JSON.")
async def wrong_type_is_400(target: Target) -> None:
    """A body under a wrong content type is rejected with 400, if it is rejected."""
    kinds = ("text/plain", "application/x-www-form-urlencoded", "no type")
    for kind, answer in zip(kinds, await _typed(target, *kinds), strict=True):
        _taken_or_400(answer, f"a body under {kind}")


@check("CT-06", advice="Compare the media type without its parameters.")
async def charset_does_no_harm(target: Target) -> None:
    """The content type may name a charset, with a blank before it or without."""
    kinds = ("application/json; charset=utf-8", "application/json;charset=UTF-8")
    for kind, answer in zip(kinds, await _typed(target, *kinds), strict=True):
        expect(answer.good, f"{kind} is answered {answer.status}", answer)


# --- malformed bodies ----------------------------------------------------------------

UNREADABLE: Mapping[str, bytes] = {
    "JSON that breaks off": b'{"service_id": "',
    "bytes that are no UTF-8": b'{"service_id": "\xff\xfe"}',
    "a form": b"service_id=1&plan_id=2",
}
NO_OBJECTS: Mapping[str, bytes] = {
    "no body": b"",
    "an array": b"[]",
    "a string": b'"text"',
    "null": b"null",
    "a number": b"7",
}


@check("CT-04", advice="Answer 400 Bad Request to a body that cannot be read.")
async def unreadable_body_is_400(target: Target) -> None:
    """A body that is not JSON is rejected with 400."""
    plan = target.plan(wants.usable)
    for what, content in UNREADABLE.items():
        answer = await target.instance(plan).provision(content=content)
        expect_status(answer, 400, said=what)


@check("CT-05", advice="Answer 400 to a body that is no JSON object.")
async def malformed_put_is_400(target: Target) -> None:
    """A PUT of an instance with a malformed body is answered 400."""
    plan = target.plan(wants.usable)
    for what, content in NO_OBJECTS.items():
        answer = await target.instance(plan).provision(content=content)
        expect_status(answer, 400, said=what)


@check("CT-05", advice="Answer 400 to a body that is no JSON object.")
async def malformed_patch_is_400(target: Target) -> None:
    """A PATCH with a malformed body is answered 400."""
    instance = await to_be_updated(target)
    for what, content in NO_OBJECTS.items():
        answer = await instance.update(content=content)
        expect_status(answer, 400, said=what)


@check("CT-05", advice="Answer 400 to a body that is no JSON object.")
async def malformed_bind_is_400(target: Target) -> None:
    """A PUT of a binding with a malformed body is answered 400."""
    instance = await target.provisioned(target.plan(wants.binds))
    for what, content in NO_OBJECTS.items():
        answer = await instance.binding().bind(content=content)
        expect_status(answer, 400, said=what)

"""Wrong in errors and content types."""

from collections.abc import Callable
from typing import Any

from tests.kit.matrix import (
    Mutant,
    Rewrite,
    answers,
    fields,
    headers,
    instead,
    refuses,
    status,
)
from tests.kit.mutants.general import does_what_it_refuses
from tests.kit.reference import Answer, Asked, ReferenceBroker, Refusal, Thing

Verb = Callable[[Asked], Answer]


def body(raw: bytes) -> Callable[[Asked, Answer], Answer]:
    """Another body, whatever it is."""

    def becomes(asked: Asked, told: Answer) -> Answer:
        told.raw = raw
        return told

    return becomes


def unnamed(becomes: Rewrite) -> Rewrite:
    """Refusals that have no code are changed."""
    return lambda asked, told: None if "error" in told.body else becomes(asked, told)


def unless_flagged(becomes: Rewrite) -> Rewrite:
    """Answers to requests without accepts_incomplete are changed."""
    return lambda asked, told: None if asked.flag else becomes(asked, told)


def other_endpoints_are(code: int) -> Callable[[ReferenceBroker], None]:
    """What is no route of the specification has this status."""

    def becomes(asked: Asked, told: Answer) -> Answer | None:
        return None if asked.kind else status(code)(asked, told)

    return answers("", 404, becomes)


def wants_type(accepts: Callable[[str | None], bool]) -> Callable[[Any], None]:
    """A provisioning whose content type is not accepted is answered 415."""

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        if asked.content and not accepts(asked.headers.get("content-type")):
            raise Refusal(415, "This media type is not supported.")
        return usual(asked)

    return instead("provision", turn)


def a_conflict_replaces(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    """What is rejected is written all the same."""
    try:
        return usual(asked)
    except Refusal as refusal:
        known = broker.instances.get(asked.instance_id)
        if known is not None and _names_no_offering(broker, asked):
            known.attributes = {**known.attributes, "space_guid": ""}
        raise refusal


def _names_no_offering(broker: ReferenceBroker, asked: Asked) -> bool:
    known = {each["id"] for each in broker.catalog["services"]}
    return asked.body.get("service_id") not in known


def a_bad_bind_replaces(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    """What is rejected is written all the same."""
    try:
        return usual(asked)
    except Refusal as refusal:
        instance = broker.instances.get(asked.instance_id)
        binding = instance.bindings.get(asked.binding_id) if instance else None
        if binding is not None and refusal.answer.status == 400:
            _spoil(binding)
        raise


def a_bad_patch_spoils(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    """What is rejected is written all the same."""
    try:
        return usual(asked)
    except Refusal as refusal:
        instance = broker.instances.get(asked.instance_id)
        if instance is not None and refusal.answer.status == 400:
            _spoil(instance)
        raise


def _spoil(thing: Thing) -> None:
    thing.attributes = {**thing.attributes, "rejected": True}


MUTANTS = [
    Mutant(
        "deprovision_of_nothing_without_flag_is_500",
        "Without accepts_incomplete a deprovision of an unknown instance is a fault.",
        fails=("mistakes_are_4xx",),
        change=answers("DELETE instance", 410, unless_flagged(status(500))),
    ),
    Mutant(
        "unbind_of_nothing_without_flag_is_200",
        "Without accepts_incomplete an unbind of an unknown instance is answered 200.",
        fails=("mistakes_are_4xx",),
        change=answers("DELETE binding", 410, unless_flagged(status(200))),
    ),
    Mutant(
        "other_methods_are_501",
        "A method of which the specification says nothing is answered 501: no fault.",
        fails=(),
        change=answers("", 405, status(501)),
    ),
    Mutant(
        "other_endpoints_are_501",
        "A path of which the specification says nothing is answered 501: no fault.",
        fails=(),
        change=other_endpoints_are(501),
    ),
    Mutant(
        "empty_error",
        "The error code of a 404 is empty.",
        fails=("error_is_a_word",),
        change=answers("", 404, fields(error="")),
    ),
    Mutant(
        "error_is_a_sentence",
        "The error code of a 404 is a sentence.",
        fails=("error_is_a_single_word",),
        change=answers("", 404, fields(error="It is not there.")),
    ),
    Mutant(
        "empty_description",
        "The description of a 404 is empty.",
        fails=("description_says_something",),
        change=answers("", 404, fields(description="")),
    ),
    Mutant(
        "usable_after_a_provision",
        "A rejected provision tells whether the instance is usable.",
        fails=("instance_usable_has_its_place",),
        change=answers("PUT instance", 409, fields(instance_usable=True)),
    ),
    Mutant(
        "usable_is_a_text",
        "A rejected update tells in words whether the instance is usable.",
        fails=("instance_usable_has_its_place", "failed_update_tells_what_can_be_done"),
        change=answers("PATCH instance", 400, fields(instance_usable="true")),
    ),
    Mutant(
        "repeatable_deprovision",
        "A rejected deprovision tells whether an update can be repeated.",
        fails=("update_repeatable_has_its_place",),
        change=answers("DELETE instance", 410, fields(update_repeatable=False)),
    ),
    Mutant(
        "repeatable_is_a_number",
        "A rejected update tells with a number whether it can be repeated.",
        fails=(
            "update_repeatable_has_its_place",
            "failed_update_tells_what_can_be_done",
        ),
        change=answers("PATCH instance", 400, fields(update_repeatable=1)),
    ),
    Mutant(
        "errors_are_lists",
        "The body of a 404 is a list.",
        fails=("errors_are_objects",),
        change=answers("GET instance", 404, body(b'["not found"]')),
    ),
    Mutant(
        "conflict_is_concurrency",
        "An id in use is answered 409 with the code ConcurrencyError.",
        fails=("codes_come_with_422",),
        change=answers("PUT instance", 409, fields(error="ConcurrencyError")),
    ),
    Mutant(
        "async_required_of_a_poll",
        "A poll of what does not exist is answered AsyncRequired.",
        fails=("codes_come_with_422", "codes_mean_what_they_say"),
        change=answers("GET instance poll", 404, fields(error="AsyncRequired")),
    ),
    Mutant(
        "fixed_plan_requires_an_app",
        "An update that leaves a plan that cannot be left is refused with RequiresApp.",
        fails=("codes_mean_what_they_say",),
        change=answers("PATCH instance", 422, unnamed(fields(error="RequiresApp"))),
    ),
    Mutant(
        "rejected_put_is_written",
        "A PUT of an instance with unknown ids is rejected, and written.",
        fails=("rejected_put_leaves_the_instance",),
        change=instead("provision", a_conflict_replaces),
    ),
    Mutant(
        "rejected_bind_is_written",
        "A PUT of a binding is rejected, and written.",
        fails=("rejected_put_leaves_the_binding",),
        change=instead("bind", a_bad_bind_replaces),
    ),
    Mutant(
        "rejected_patch_is_written",
        "A PATCH is rejected, and written.",
        fails=("rejected_patch_leaves_the_instance",),
        change=instead("update", a_bad_patch_spoils),
    ),
    *(
        Mutant(
            f"version_after_{kind.lower().replace(' ', '_')}",
            f"The version header is looked at when the {kind} is done.",
            fails=(fails,),
            change=does_what_it_refuses(kind, "check_version"),
        )
        for kind, fails in {
            "PUT instance": "version_refusals_make_nothing",
            "PUT binding": "version_refusals_make_nothing",
            "PATCH instance": "version_refusals_change_nothing",
            "DELETE binding": "version_refusals_change_nothing",
            "DELETE instance": "version_refusals_change_nothing",
        }.items()
    ),
    Mutant(
        "errors_are_plain_text",
        "A 404 says that it is plain text.",
        fails=("answers_say_that_they_are_json",),
        change=answers("", 404, headers(content_type="text/plain")),
    ),
    Mutant(
        "unbound_is_null",
        "The body of an unbinding that is done is null.",
        fails=("successes_are_objects", "unbind_is_200"),
        change=answers("DELETE binding", 200, body(b"null")),
    ),
    Mutant(
        "repeated_binding_is_null",
        "The body of a repeated binding is null.",
        fails=("successes_are_objects",),
        change=answers("PUT binding", 200, body(b"null")),
    ),
    Mutant(
        "no_type_is_415",
        "A body without a content type is answered 415.",
        fails=("body_without_type_is_taken_or_400",),
        change=wants_type(lambda kind: kind is not None),
    ),
    Mutant(
        "wrong_type_is_415",
        "A body under another content type is answered 415.",
        fails=("wrong_type_is_400",),
        change=wants_type(lambda kind: kind is None or "application/json" in kind),
    ),
    Mutant(
        "charset_is_415",
        "A content type that names a charset is answered 415.",
        fails=("charset_does_no_harm",),
        change=wants_type(lambda kind: "charset" not in (kind or "")),
    ),
    Mutant(
        "no_utf8_is_500",
        "A body that is no UTF-8 is answered 500.",
        fails=("unreadable_body_is_400",),
        change=refuses(
            "provision", 500, lambda broker, asked: b"\xff" in asked.content
        ),
    ),
    Mutant(
        "number_for_a_provision_is_422",
        "A provision whose body is a number is answered 422.",
        fails=("malformed_put_is_400",),
        change=refuses("provision", 422, lambda broker, asked: asked.content == b"7"),
    ),
    Mutant(
        "text_for_an_update_is_422",
        "An update whose body is a string is answered 422.",
        fails=("malformed_patch_is_400",),
        change=refuses("update", 422, lambda broker, asked: asked.content == b'"text"'),
    ),
    Mutant(
        "array_for_a_binding_is_422",
        "A binding whose body is an array is answered 422.",
        fails=("malformed_bind_is_400",),
        change=refuses("bind", 422, lambda broker, asked: asked.content == b"[]"),
    ),
]

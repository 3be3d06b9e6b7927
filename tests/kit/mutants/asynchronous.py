"""Wrong in `accepts_incomplete`."""

from collections.abc import Callable
from dataclasses import replace

from tests.kit.matrix import Mutant, Turn, answers, fields, instead, refuses
from tests.kit.reference import Answer, Asked, ReferenceBroker, Refusal

Verb = Callable[[Asked], Answer]
Change = Callable[[ReferenceBroker], None]


def flagged(asked: Asked, flag: str = "true") -> Asked:
    """The same request with the flag."""
    return replace(asked, query={**asked.query, "accepts_incomplete": flag})


def takes_for_true(text: str) -> Turn:
    """This text counts as true."""

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        taken = asked.query.get("accepts_incomplete") == text
        return usual(flagged(asked) if taken else asked)

    return turn


def takes_silence_for_true(
    broker: ReferenceBroker, asked: Asked, usual: Verb
) -> Answer:
    """An absent flag counts as true, where there is a choice."""
    if "accepts_incomplete" in asked.query or asked.body["plan_id"] != AUTO:
        return usual(asked)
    return usual(flagged(asked))


def does_what_it_refuses(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    """AsyncRequired comes when all has been done."""
    try:
        return usual(asked)
    except Refusal as refusal:
        if refusal.answer.body.get("error") == "AsyncRequired":
            usual(flagged(asked))
        raise


def all_of(*changes: Change) -> Change:
    def change(broker: ReferenceBroker) -> None:
        for each in changes:
            each(broker)

    return change


def of_plan(number: int) -> str:
    return f"ba7c0de0-0000-4000-8000-{number:012d}"


AUTO, LAST = of_plan(3), of_plan(52)

MUTANTS = [
    *(
        Mutant(
            f"false_is_true_for_{verb}",
            f"accepts_incomplete=false counts as true for {verb}.",
            fails=("false_is_as_absent", "no_202_without_the_flag"),
            change=instead(verb, takes_for_true("false")),
        )
        for verb in ("provision", "update", "bind", "unbind", "deprovision")
    ),
    Mutant(
        "false_is_400",
        "accepts_incomplete=false is refused.",
        fails=("false_is_as_absent",),
        change=refuses(
            "bind",
            400,
            lambda broker, asked: asked.query.get("accepts_incomplete") == "false",
        ),
    ),
    *(
        Mutant(
            f"maybe_is_true_for_{verb}",
            f"accepts_incomplete=maybe counts as true for {verb}.",
            fails=("other_text_is_not_true",),
            change=instead(verb, takes_for_true("maybe")),
        )
        for verb in ("provision", "update", "bind", "unbind", "deprovision")
    ),
    Mutant(
        "silence_is_202",
        "A provision without the flag is answered 202.",
        fails=(
            "false_is_as_absent",
            "no_202_without_the_flag",
            "other_text_is_not_true",
            "provisioning_needs_the_flag",
        ),
        change=instead("provision", takes_silence_for_true),
    ),
    *(
        Mutant(
            f"{verb}_before_async_required",
            f"AsyncRequired comes when the {verb} has begun.",
            fails=fails,
            change=instead(verb, does_what_it_refuses),
        )
        for verb, fails in {
            "provision": ("async_required_changes_nothing",),
            "update": ("async_required_changes_nothing",),
            "deprovision": ("async_required_changes_nothing",),
            "bind": ("async_required_binds_nothing",),
            "unbind": ("async_required_binds_nothing",),
        }.items()
    ),
    Mutant(
        "async_required_is_silent",
        "The description of AsyncRequired is blank.",
        fails=("async_required_is_described",),
        change=answers(
            "",
            422,
            lambda asked, told: (
                fields(description=" ")(asked, told)
                if told.body.get("error") == "AsyncRequired"
                else None
            ),
        ),
    ),
    Mutant(
        "flag_is_400",
        "A plan that needs no flag refuses it.",
        fails=("flag_hinders_nothing",),
        change=refuses(
            "provision",
            400,
            lambda broker, asked: asked.flag and asked.body.get("plan_id") == LAST,
        ),
    ),
]

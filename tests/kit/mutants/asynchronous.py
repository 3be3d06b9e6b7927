"""Wrong in `accepts_incomplete`."""

from dataclasses import replace

from tests.kit.matrix import Mutant, Turn, answers, fields, instead, refuses
from tests.kit.narrow import Verb, has_plan, plan_id, thing_of
from tests.kit.reference import Answer, Asked, ReferenceBroker, Refusal


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


def takes_its_time(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    """An unbind without the flag is answered 202 for one plan."""
    answer = usual(asked)
    silent = "accepts_incomplete" not in asked.query
    if answer.status == 200 and silent and has_plan(broker, asked, "needs-app"):
        answer.status = 202
    return answer


def removes_what_it_refuses(
    broker: ReferenceBroker, asked: Asked, usual: Verb
) -> Answer:
    """AsyncRequired comes when the thing is gone."""
    try:
        return usual(asked)
    except Refusal as refusal:
        thing = thing_of(broker, asked)
        if thing is not None and refusal.answer.body.get("error") == "AsyncRequired":
            thing.state = "gone"
        raise


AUTO, LAST = plan_id("auto"), plan_id("more", "plain")

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
    Mutant(
        "silence_of_one_plan_is_202",
        "An unbind without the flag is answered 202 for one plan, needs-app.",
        fails=("no_202_without_the_flag",),
        change=instead("unbind", takes_its_time),
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
    *(
        Mutant(
            f"async_required_{verb}s",
            f"AsyncRequired comes when the {verb} is done.",
            fails=fails,
            change=instead(verb, removes_what_it_refuses),
        )
        for verb, fails in {
            "deprovision": ("async_required_changes_nothing",),
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

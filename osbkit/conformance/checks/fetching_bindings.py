"""Fetching bindings. Spec: "Fetching a Service Binding".

What the fields of a binding may hold stands in `binding.py` and `binding_kinds.py`,
which judge fetched bindings as well.
"""

from osbkit.conformance import wants
from osbkit.conformance.catalog import Plan
from osbkit.conformance.checks.binding import both_ways, differing
from osbkit.conformance.checks.binding_kinds import tells_binding
from osbkit.conformance.exchange import Exchange
from osbkit.conformance.expecting import expect, expect_none, expect_status, skip
from osbkit.conformance.facts import at_once
from osbkit.conformance.judging import operation_of
from osbkit.conformance.registry import check, every_answer
from osbkit.conformance.target import Target
from osbkit.conformance.wants import Want

MOST = 8  # plans that are tried

fetches_begun = (wants.bind_202, wants.bindings_retrievable)


@check(
    "BFETCH-01",
    since="2.14",
    advice="Serve the endpoint for every bindable plan of the offering, or do not"
    " declare bindings_retrievable.",
)
async def bindings_are_fetched(target: Target) -> None:
    """With bindings_retrievable a binding of any bindable plan can be fetched.

    One that was begun may be found by the second fetch: that it is there at once is for
    the next check.
    """
    plans = target.plans(wants.binds, wants.bindings_retrievable)
    if not plans:
        target.plan(wants.binds, wants.bindings_retrievable)
    for plan in plans[:MOST]:
        binding = await (await target.provisioned(plan)).bound()
        seen = await binding.fetch()
        if seen.rejected and binding.first is not None and binding.first.running:
            seen = await binding.fetch()
        expect_status(seen, 200, said=plan.label)


@check(
    "BFETCH-02",
    since="2.14",
    advice="Say that the operation succeeded when the binding can be fetched, not"
    " before.",
)
async def begun_binding_is_fetched_at_once(target: Target) -> None:
    """A binding can be fetched as soon as a poll has said that it succeeded."""
    binding = await (await target.provisioned(target.plan(*fetches_begun))).bound()
    expect_status(await binding.fetch(), 200)


@check("BFETCH-03", since="2.14", advice="Answer 404 to the GET of what is not there.")
async def unknown_binding_is_404(target: Target) -> None:
    """The fetch of a binding that never was, of any instance, is answered 404."""
    plan = target.plan(wants.binds, wants.bindings_retrievable)
    instance = await target.provisioned(plan)
    answer = await instance.binding().fetch()
    expect_status(answer, 404, said="no such binding")
    answer = await target.instance(plan).binding().fetch()
    expect_status(answer, 404, said="no such instance")


@check("BFETCH-03", since="2.14", advice="Answer 404 to the GET of what is gone.")
async def removed_binding_is_404(target: Target) -> None:
    """The fetch of a binding that was removed is answered 404."""
    for plan in both_ways(target, wants.bindings_retrievable, wants.unbinds):
        binding = await (await target.provisioned(plan)).bound()
        await binding.removed()
        expect_status(await binding.fetch(), 404, said=plan.label)


@check(
    "BFETCH-04",
    since="2.14",
    advice="Answer 404 until the operation has succeeded; what is half made is not"
    " told.",
)
async def running_binding_is_404(target: Target) -> None:
    """The fetch of a binding that is being made is answered 404."""
    binding = (await target.provisioned(target.plan(*fetches_begun))).binding()
    first = await binding.bind()
    answer = await binding.fetch()
    await binding.still_running(operation_of(first))
    expect_status(answer, 404)


@check(
    "BFETCH-05",
    since="2.14",
    advice="Keep the credentials until they have been fetched; no other answer can"
    " tell them.",
)
async def credentials_are_fetched(target: Target) -> None:
    """The fetch of a binding that was made asynchronously tells its credentials, if
    the offering has any."""
    plan = target.plan(*fetches_begun)
    binding = (await target.provisioned(plan)).binding()
    answer = await binding.bind()
    if not answer.running:
        skip("Binding was answered 202 before, and now it is not.")
    if not (await binding.ended(answer)).succeeded:
        skip("The binding that succeeded before has failed.")
    seen = await binding.fetch()
    if not seen.good or "credentials" in seen.object:
        return
    expect(not _has_credentials(target, plan), "there are no credentials", answer, seen)
    skip(f"No binding of {plan.offering.name} has told credentials.")


def _has_credentials(target: Target, plan: Plan) -> bool:
    """Some binding of the plan's offering has told credentials in this run."""
    paths = {
        seen.path
        for seen in target.session.seen
        if seen.verb == "bind"
        and isinstance(seen.sent_json, dict)
        and seen.sent_json.get("service_id") == plan.offering.id
    }
    return any(
        seen.path in paths and tells_binding(seen) and "credentials" in seen.object
        for seen in target.session.seen
    )


@check(
    "BFETCH-06", since="2.14", advice="Fetch what was stored when the binding was made."
)
async def fetch_tells_what_the_answer_told(target: Target) -> None:
    """The fetch of a binding tells nothing else than the answer that made it."""
    plan = target.plan(wants.bind_sync, wants.bindings_retrievable)
    binding = (await target.provisioned(plan)).binding()
    answer = await binding.bind(flag=None)
    if not answer.done:
        answer = await binding.bind()
    if not answer.done:
        skip("The binding was not made within the request.")
    seen = await binding.fetch()
    if not seen.good:
        skip("The binding cannot be fetched.")
    expect_none(
        (f"{name} is told otherwise" for name in differing(answer, seen)), answer, seen
    )


@check("BFETCH-06", since="2.14", advice="Look the binding up by its own id.")
async def fetch_tells_of_the_binding_that_is_named(target: Target) -> None:
    """The fetch of one of two bindings of an instance tells nothing of the other."""
    plan = target.plan(wants.bind_sync, wants.bindings_retrievable)
    instance = await target.provisioned(plan)
    flag = None if at_once(plan.facts.bind.without_flag) else True
    one, other = [await instance.bound(flag=flag) for _ in range(2)]
    assert one.first is not None
    assert other.first is not None
    own = differing(one.first, other.first)
    for binding, stranger in ((one, other), (other, one)):
        seen = await binding.fetch()
        assert stranger.first is not None
        expect_none(
            (
                f"{name} is that of another binding"
                for name in own
                if name in seen.object and seen.get(name) == stranger.first.get(name)
            ),
            stranger.first,
            seen,
        )


@every_answer(
    "BFETCH-07",
    when=lambda seen: (
        seen.verb == "fetch binding"
        and seen.status == 200
        and "parameters" in seen.object
    ),
    since="2.14",
    advice="Give the parameters as an object, or leave the field out.",
)
def fetched_parameters_are_an_object(seen: Exchange) -> None:
    """parameters of a fetched binding are an object."""
    expect(isinstance(seen.get("parameters"), dict), "parameters are no object", seen)


@check(
    "BFETCH-08",
    since="2.16",
    advice="Find the binding by the ids in the path; service_id and plan_id are hints.",
)
async def hints_change_no_fetch(target: Target) -> None:
    """A binding is fetched with service_id and plan_id in the query, with either, and
    without."""
    plan = target.plan(wants.binds, wants.bindings_retrievable)
    binding = await (await target.provisioned(plan)).bound()
    service, its_plan = {"service_id": plan.offering.id}, {"plan_id": plan.id}
    hints = {
        "without hints": {},
        "with both hints": {**service, **its_plan},
        "with service_id": service,
        "with plan_id": its_plan,
    }
    for how, query in hints.items():
        expect_status(await binding.fetch(**query), 200, said=how)


@check(
    "BFETCH-09",
    since="2.14",
    advice="Look bindings up below their instance, not by id alone.",
)
async def binding_is_not_fetched_elsewhere(target: Target) -> None:
    """The fetch of a binding below another instance is answered 404."""
    plan = target.plan(wants.binds, wants.bindings_retrievable)
    instance, other = await target.provisioned(plan), await target.provisioned(plan)
    binding = await instance.bound()
    expect_status(await other.binding(binding.id).fetch(), 404)


@check("BFETCH-10", since="2.14", advice="Fetch what is stored, and change nothing.")
async def fetch_can_be_repeated(target: Target) -> None:
    """A binding that was fetched can be fetched again, and tells nothing else."""
    for plan in both_ways(target, wants.bindings_retrievable):
        binding = await (await target.provisioned(plan)).bound()
        first = await binding.fetch()
        if first.status != 200:
            skip("The binding cannot be fetched.")
        again = await binding.fetch()
        expect_status(again, 200, said="the second time")
        expect_none(
            (f"{name} is told otherwise" for name in differing(first, again)),
            first,
            again,
        )


@check(
    "BFETCH-11",
    since="2.14",
    advice="Declare bindings_retrievable and serve the endpoint: a 202 tells nothing of"
    " a binding.",
)
async def begun_bindings_are_retrievable(target: Target) -> None:
    """Who answers a binding with 202 declares bindings_retrievable."""
    begins = Want("that answers binding with 202", lambda plan: plan.facts.bind.begins)
    target.plan(wants.usable, begins)
    for plan in target.plans(begins):
        answer = plan.facts.bind.with_flag
        assert answer is not None
        expect(
            plan.offering.bindings_retrievable,
            f"{plan.label} binds with 202, and bindings_retrievable is not true",
            answer,
        )

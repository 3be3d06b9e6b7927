"""What is left behind, and whether a platform can remove it.

Spec: "Orphan Mitigation".

Units: seconds.
"""

import asyncio

from osbkit.conformance import wants
from osbkit.conformance.catalog import Plan
from osbkit.conformance.exchange import Exchange
from osbkit.conformance.expecting import Blocked, Broken, expect, expect_status, skip
from osbkit.conformance.polling import until_ended
from osbkit.conformance.registry import check, every_answer, version_of
from osbkit.conformance.removal import LONGEST
from osbkit.conformance.resources import Binding, Instance
from osbkit.conformance.sending import IDENTITY, VERSION
from osbkit.conformance.target import Target
from osbkit.conformance.wants import Want

TRIES = 6  # of a platform that wants something gone
REPEATS = 4  # of a DELETE, when what it names is gone
CUT = 0.5  # of the time that a PUT usually takes: then nobody listens any more
DUKE = "cloudfoundry eyJ1c2VyX2lkIjoiZHVrZSJ9"


async def swept(one: Instance | Binding) -> None:
    """Delete as a platform does that is not sure: again and again until it is gone.

    Raises:
        Broken: an answer that ends no orphan mitigation, or no end at all.
    """
    for _ in range(TRIES):
        answer = await one.delete()
        if answer.status in {200, 410}:
            return
        if answer.running:
            if (await one.ended(answer)).succeeded:
                return
        elif not answer.good:  # something runs: wait for it
            expect_status(answer, 200, 202, 410, 422, said="DELETE")
            await until_ended(one.poll, one.target.tempo)
    raise Broken(f"{TRIES} DELETEs have not removed it", answer)


# --- checks --------------------------------------------------------------------------


@check(
    "ORPH-01",
    advice="Keep what is needed to delete the remains of a failed provisioning.",
)
async def failed_provision_can_be_deleted(target: Target) -> None:
    """What a failed provisioning left can be deleted: 200, 202 to success, or 410."""
    plan = target.plan(wants.provision_fails)
    instance = target.instance(plan)
    ended = await instance.ended(await instance.provision())
    if ended.succeeded:
        skip("The provisioning that failed before has succeeded this time.")
    await swept(instance)


@check(
    "ORPH-02", advice="Keep what is needed to delete the remains of a failed binding."
)
async def failed_bind_can_be_deleted(target: Target) -> None:
    """What a failed binding left can be deleted: 200, 202 to success, or 410."""
    plan = target.plan(wants.bind_fails)
    instance = await target.provisioned(plan)
    binding = instance.binding()
    ended = await binding.ended(await binding.bind())
    if ended.succeeded:
        skip("The binding that failed before has succeeded this time.")
    await swept(binding)


@check(
    "ORPH-03",
    advice="Answer a DELETE by what is recorded: 200 or 202 if there is anything of the"
    " instance, also while it is being made, else 410.",
)
async def unheard_provision_can_be_deleted(target: Target) -> None:
    """An instance whose PUT was not heard out can be deleted, or is answered 410."""
    for plan, flag in _both_ways(
        target, wants.usable, wants.gives_202, wants.removable
    ):
        instance = target.instance(plan)
        within = _heard(plan.facts.provision.without_flag)
        await instance.provision(flag=flag, within=within)
        await swept(instance)
        await _again_later(instance, plan.facts.provision.seconds)


@check(
    "ORPH-03",
    advice="Answer a DELETE by what is recorded: 200 or 202 if there is anything of the"
    " binding, also while it is being made, else 410.",
)
async def unheard_bind_can_be_deleted(target: Target) -> None:
    """A binding whose PUT was not heard out can be deleted, or is answered 410."""
    ways = _both_ways(target, wants.binds, wants.bind_202, wants.unbinds)
    for plan, flag in ways:
        instance = await target.provisioned(plan)
        binding = instance.binding()
        within = _heard(plan.facts.bind.without_flag)
        await binding.bind(flag=flag, within=within)
        await swept(binding)
        await _again_later(binding, plan.facts.bind.seconds)


@check("ORPH-04", advice="Answer 410 to the DELETE of what is gone, however often.")
async def deletes_can_be_repeated(target: Target) -> None:
    """The DELETE of an instance can be repeated, and ends in 410 (or 200)."""
    instance = await target.provisioned(target.plan(wants.usable, wants.removable))
    await swept(instance)
    for _ in range(REPEATS):
        expect_status(await instance.delete(), 410, 200, said="DELETE of what is gone")


@check("ORPH-04", advice="Answer 410 to the DELETE of what is gone, however often.")
async def unbinds_can_be_repeated(target: Target) -> None:
    """The DELETE of a binding can be repeated, and ends in 410 (or 200)."""
    instance = await target.provisioned(target.plan(wants.binds, wants.unbinds))
    binding = await instance.bound()
    await swept(binding)
    for _ in range(REPEATS):
        expect_status(await binding.delete(), 410, 200, said="DELETE of what is gone")


@check(
    "ORPH-08",
    advice="Need no identity to delete, and take every API version that you know.",
)
async def delete_needs_no_identity(target: Target) -> None:
    """A DELETE without identity, from a platform of an older version, works."""
    major, minor = version_of(target.version)
    if minor <= 11:
        skip("There is no older API version to be sent.")
    instance = target.instance(target.plan(wants.usable, wants.removable))
    made = await instance.provision(headers={IDENTITY: DUKE})
    if not (await instance.ended(made)).succeeded:
        raise Blocked(
            f"Provisioning with an identity was answered {made.status}.", made
        )
    answer = await instance.delete(
        headers={VERSION: f"{major}.{minor - 1}", IDENTITY: None}
    )
    if answer.status == 412:
        skip("The broker serves no older API version.")
    ended = await instance.ended(answer)
    expect(ended.succeeded, f"the DELETE ended as {ended.how}", answer, ended.last)


# --- what every answer shows ---------------------------------------------------------


@every_answer(
    "ORPH-06",
    when=lambda seen: seen.good and seen.verb != "other",
    advice="Answer 200, 201 or 202, with a body; `{}` where there is nothing to tell.",
)
def success_has_a_known_status(seen: Exchange) -> None:
    """A success is 200, 201 or 202: any other 2xx is a failure to a platform."""
    expect_status(seen, 200, 201, 202, said=seen.verb)


@every_answer(
    "ORPH-07",
    when=lambda seen: seen.good and seen.verb != "other",
    advice="Answer 201 to a PUT alone, 200 to everything else that is done.",
)
def only_a_put_creates(seen: Exchange) -> None:
    """201 is answered to the PUT of an instance or a binding, to nothing else."""
    expect(
        seen.status != 201 or seen.verb in {"provision", "bind"},
        f"201 was answered to {seen.method} ({seen.verb})",
        seen,
    )


# --- in common -----------------------------------------------------------------------


def _both_ways(
    target: Target, usual: Want, slow: Want, ends: Want
) -> list[tuple[Plan, bool | None]]:
    """Plans to ask within the request and with a 202, as far as there are any."""
    way: list[tuple[Plan, bool | None]] = []
    quick = target.plan(usual, ends)
    facts = quick.facts.bind if usual is wants.binds else quick.facts.provision
    if facts.without_flag is not None and facts.without_flag.done:
        way.append((quick, None))
    if target.plans(slow, ends):
        way.append((target.plan(slow, ends), True))
    return way or [(quick, True)]


def _heard(answer: Exchange | None) -> float:
    """How long to listen: not long enough for the answer."""
    return min(max((answer.seconds if answer else 0.0) * CUT, 0.01), LONGEST)


async def _again_later(one: Instance | Binding, usual: float) -> None:
    """Remove what was still on its way when the first DELETE was answered."""
    await asyncio.sleep(min(usual, LONGEST))
    await swept(one)

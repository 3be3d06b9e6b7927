"""The broker as one check sees it; whatever the check makes is removed after it.

    plan = target.plan(wants.sync, wants.create_schema)
    instance = await target.provisioned(plan)         # ready, or the check is Blocked
    answer = await instance.provision(plan_id="no such plan")
    expect_status(answer, 400)

What is made is known from the requests themselves: every PUT of an instance or binding
that goes through a target is remembered, and the runner calls `clean_up` when the check
has ended, however it ended.
"""

import asyncio
import uuid
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from osbkit.conformance import promises, sweeping
from osbkit.conformance.catalog import Catalog, Json, Plan
from osbkit.conformance.exchange import Exchange
from osbkit.conformance.expecting import Blocked, Skip
from osbkit.conformance.fields import OMIT, changed
from osbkit.conformance.polling import Ended, Tempo, until_ended
from osbkit.conformance.registry import version_of
from osbkit.conformance.resources import Instance
from osbkit.conformance.samples import Samples
from osbkit.conformance.session import Session
from osbkit.conformance.wants import Want, usable

__all__ = ["OMIT", "Target"]


class Target:
    """One check's view of the broker.

    Attributes:
        seen: the exchanges of this check, in order.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.seen: list[Exchange] = []
        self._ledger = sweeping.Ledger()

    # --- what is offered ----------------------------------------------------------

    @property
    def catalog(self) -> Catalog:
        """As it was read before the checks began."""
        return self.session.catalog

    @property
    def version(self) -> str:
        """The API version that is sent."""
        return self.session.connection.version

    def knows(self, version: str) -> bool:
        """Whether the API version that is sent is at least this one."""
        return version_of(self.version) >= version_of(version)

    @property
    def authenticates(self) -> bool:
        """Whether the kit was given a credential."""
        return self.session.connection.credentials.header is not None

    @property
    def tempo(self) -> Tempo:
        """How long the kit waits."""
        return self.session.tempo

    def plans(self, *wants: Want) -> list[Plan]:
        """The plans that can do all this, in the catalog's order; maybe none."""
        return [
            plan
            for plan in self.catalog.plans
            if all(want.holds(plan) for want in wants)
        ]

    def plan(self, *wants: Want) -> Plan:
        """The plan that suits best; quick ones unless a want asks for a slow one.

        Raises:
            Skip: there is none; the wants say why.
            Blocked: there is no plan at all whose instances can be made, or none
                that keeps what the catalog promises (`promises.py`).
        """
        found = self.plans(*(wants or (usable,)))
        if found:
            return _best(found, slow=any(want.slow for want in wants))
        if not self.plans(usable):
            raise Blocked(self._no_plan(), *self._catalog_answer())
        if (broken := promises.unkept(self.catalog.plans, wants)) is not None:
            raise broken
        words = " and ".join(want.words for want in wants)
        tried = any(want.verb for want in wants)
        lacking = "No plan was found" if tried else "The catalog has no plan"
        raise Skip(f"{lacking} {words}.")

    def sibling(self, plan: Plan, *wants: Want) -> Plan:
        """Another plan of the same offering.

        Raises:
            Skip: there is none that can do all this.
        """
        found = [
            each
            for each in self.plans(*wants)
            if each.offering.id == plan.offering.id and each.id != plan.id
        ]
        if not found:
            words = _words("no other plan", wants)
            raise Skip(f"The offering {plan.offering.name} has {words}.")
        return found[0]

    def stranger(self, plan: Plan, *wants: Want) -> Plan:
        """A plan of another offering.

        Raises:
            Skip: there is none that can do all this.
        """
        found = [
            each for each in self.plans(*wants) if each.offering.id != plan.offering.id
        ]
        if not found:
            words = _words("no second offering with a plan", wants)
            raise Skip(f"The catalog has {words}.")
        return found[0]

    def samples(
        self, plan: Plan, resource: str = "service_instance", action: str = "create"
    ) -> Samples:
        """Valid and invalid parameters of a plan."""
        kept = self.session.samples
        key = (plan.label, plan.id, resource, action)
        if key not in kept:
            given = self.session.parameters((resource, action))
            kept[key] = Samples(
                plan.schema(resource, action), dict(given) if given else None
            )
        return kept[key]

    def _no_plan(self) -> str:
        if self.session.catalog_answer is None or not self.catalog.plans:
            return "The catalog gave no plan that could be tried."
        troubles = {
            f"{plan.label}: {plan.facts.trouble}"
            for plan in self.catalog.plans
            if plan.facts.trouble
        }
        return "No instance of any plan could be made. " + "; ".join(sorted(troubles))

    def _catalog_answer(self) -> tuple[Exchange, ...]:
        answer = self.session.catalog_answer
        return () if answer is None else (answer,)

    # --- bodies -------------------------------------------------------------------

    def provision_body(self, plan: Plan, **changes: Any) -> Json:
        """The body of a PUT that the broker should accept, with changes.

        Args:
            changes: replace fields; OMIT leaves one out.
        """
        organization, space = str(uuid.uuid4()), str(uuid.uuid4())
        body: Json = {
            "service_id": plan.offering.id,
            "plan_id": plan.id,
            "organization_guid": organization,
            "space_guid": space,
        }
        if self.knows("2.12"):
            body["context"] = {
                "platform": "cloudfoundry",
                "organization_guid": organization,
                "organization_name": "conformance",
                "space_guid": space,
                "space_name": "checks",
                "instance_name": "checked",
            }
        if (parameters := self.samples(plan).smallest) is not None:
            body["parameters"] = parameters
        return changed(body, changes)

    def bind_body(self, plan: Plan, **changes: Any) -> Json:
        """The body of a PUT of a binding that the broker should accept."""
        body: Json = {"service_id": plan.offering.id, "plan_id": plan.id}
        resource: Json = {}
        if plan.facts.needs_app or {"volume_mount", "syslog_drain"} & {
            *plan.offering.requires
        }:
            resource["app_guid"] = str(uuid.uuid4())
        if "route_forwarding" in plan.offering.requires:
            resource["route"] = "conformance.example.com"
        if resource:
            body["bind_resource"] = resource
        if "app_guid" in resource:
            body["app_guid"] = resource["app_guid"]
        samples = self.samples(plan, "service_binding", "create")
        if samples.smallest is not None:
            body["parameters"] = samples.smallest
        return changed(body, changes)

    # --- requests -----------------------------------------------------------------

    async def send(self, method: str, path: str, **how: Any) -> Exchange:
        """Send any request; see `Connection.send` for how.

        A PUT of an instance or binding is remembered, and removed after the check.
        """
        self._ledger.before(method, path, how.get("json"))
        seen = await self.session.send(method, path, **how)
        self._ledger.after(seen)
        self.seen.append(seen)
        return seen

    async def get(self, path: str, **how: Any) -> Exchange:
        """GET; see `send`."""
        return await self.send("GET", path, **how)

    async def until_ended(
        self, path: str, operation: str | None, plan: Plan | None = None
    ) -> Ended:
        """Poll `path` until the operation has ended, or patience has."""
        query = {"operation": operation}
        if plan is not None:
            query |= {"service_id": plan.offering.id, "plan_id": plan.id}
        return await until_ended(lambda: self.get(path, query=query), self.tempo)

    # --- resources ----------------------------------------------------------------

    def instance(self, plan: Plan | None = None, id: str | None = None) -> Instance:
        """An instance with a new id of which the broker knows nothing yet.

        Args:
            plan: of its requests; the first usable one if left out.
            id: its id, not percent-encoded.
        """
        return Instance(self, plan or self.plan(usable), id or str(uuid.uuid4()))

    async def provisioned(
        self, plan: Plan | None = None, id: str | None = None, **changes: Any
    ) -> Instance:
        """A new instance that is ready.

        Any 2xx is taken here: whether it was the right one is for another check.

        Raises:
            Blocked: it could not be made.
        """
        instance = self.instance(plan, id)
        await instance.made_ready(**changes)
        return instance

    # --- afterwards ---------------------------------------------------------------

    async def clean_up(self) -> None:
        """Remove whatever this target made. Never raises for what a broker does.

        A stop that comes meanwhile waits for it, once.
        """
        cleaning = asyncio.ensure_future(self._sweep())
        try:
            await asyncio.shield(cleaning)
        except asyncio.CancelledError:
            with suppress(asyncio.CancelledError):
                await cleaning
            raise

    async def _sweep(self) -> None:
        first = next(iter(self.catalog.plans), None)
        fallback = (first.offering.id, first.id) if first else ("", "")
        self.session.left += await sweeping.sweep(
            self._ledger, self.send, self.tempo, fallback
        )


def _words(lacking: str, wants: Iterable[Want]) -> str:
    words = " and ".join(want.words for want in wants)
    return f"{lacking} {words}".rstrip()


def _best(plans: list[Plan], *, slow: bool) -> Plan:
    def seconds(plan: Plan) -> float:
        return max(
            plan.facts.provision.seconds,
            plan.facts.bind.seconds,
            plan.facts.update.seconds,
        )

    return max(plans, key=seconds) if slow else plans[0]

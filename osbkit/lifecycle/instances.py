"""Provision, update, deprovision, fetch: judge, record (unit A), wait.

judge     catalog, schema, the author's check(): refusals before anything is
          recorded. A refusal is forgiven when the request repeats one that was
          taken: what was accepted once is answered from the record.
record    one unit of work under the instance's lock: read, decide, write
          instance and operation; the engine is told after the COMMIT
wait      `waiting`: the request only waits, it owns nothing
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import sqlalchemy as sa

from osbkit.catalog import Plan
from osbkit.domain import (
    OWN_ACCOUNT,
    Binding,
    Caller,
    Identity,
    Instance,
    Json,
    Operation,
    OperationKind,
    ResourceState,
    WantedInstance,
    WantedUpdate,
    same_json,
)
from osbkit.errors import (
    AsyncRequired,
    Gone,
    MaintenanceInfoConflict,
    Malformed,
    NotThere,
    OperationInProgress,
    RequestRejected,
    Stale,
    Unavailable,
    UpdateRefused,
)
from osbkit.lifecycle import decide
from osbkit.lifecycle.decide import Begin, Repeat
from osbkit.lifecycle.house import (
    DELETED,
    House,
    asked_by,
    fitting,
    running_of,
)
from osbkit.lifecycle.outcomes import FetchedInstance, Outcome
from osbkit.lifecycle.waiting import Patience, joining, patience
from osbkit.operations import endings
from osbkit.operations.work import Work, target_of
from osbkit.store import bindings, instances, operations
from osbkit.store.rows import new_operation_id, new_uid, now
from osbkit.telemetry import log

AGAIN = 5


@dataclass(frozen=True, slots=True)
class Recorded:
    """What unit A did.

    Attributes:
        instance: as it stands, or will stand.
        work: a new operation to start; None if there is nothing to start.
        running: the operation that the request joined.
        halted: operations whose calls are to return.
        leftover: a clean-up of the generation before was recorded with it.
    """

    instance: Instance
    work: Work | None = None
    running: Operation | None = None
    halted: tuple[Operation, ...] = ()
    leftover: bool = False


class Instances:
    """Changes and views of service instances."""

    def __init__(self, house: House) -> None:
        self._house = house

    # --- provision --------------------------------------------------------------

    async def provision(
        self,
        caller: Caller,
        instance_id: str,
        wanted: WantedInstance,
        *,
        accepts_incomplete: bool,
        identity: Identity | None = None,
    ) -> Outcome:
        """Make an instance, or say how far it is. Spec: "Provisioning"."""
        house = self._house
        operation_id = new_operation_id()
        fresh = self._fresh(caller, instance_id, wanted, operation_id)
        plan = house.catalog.plan(wanted.service_id, wanted.plan_id)
        mode = "auto" if plan is None else plan.osbkit.mode
        ours = patience(
            mode, accepts_incomplete, house.settings, plan.osbkit if plan else None
        )
        asked = asked_by(identity)
        refusal: RequestRejected | None = None
        try:
            await self._judge_provision(caller, fresh, wanted, asked)
            if mode == "async" and not accepts_incomplete:
                raise AsyncRequired
        except RequestRejected as rejected:
            refusal = rejected
        operation = Operation(
            id=operation_id,
            kind=OperationKind.PROVISION,
            live_key=operations.key_of(OperationKind.PROVISION, instance_id),
            instance_id=instance_id,
            platform=caller.platform,
            backend=fresh.backend,
            generation=1,
            answer_owed=ours.answer_owed,
            deadline=house.deadline(plan),
            asked=asked,
            created_at=fresh.created_at,
            **house.engine.claimed(),
        )
        recorded = await house.store.write(
            partial(
                record_provision,
                fresh=fresh,
                operation=operation,
                wanted=wanted,
                refusal=refusal,
                polls=accepts_incomplete,
            ),
            committed=self._start,
        )
        return await self._provisioned(recorded, ours, mode, accepts_incomplete)

    def _fresh(
        self,
        caller: Caller,
        instance_id: str,
        wanted: WantedInstance,
        operation_id: str,
    ) -> Instance:
        house = self._house
        offering = house.catalog.offering(wanted.service_id)
        plan = house.catalog.plan(wanted.service_id, wanted.plan_id)
        names = (offering.name if offering else "", plan.name if plan else "")
        version = wanted.maintenance_version
        if version is None and plan is not None and plan.maintenance_info is not None:
            version = plan.maintenance_info.version
        return Instance(
            uid=new_uid(),
            instance_id=instance_id,
            platform=caller.platform,
            service_id=wanted.service_id,
            plan_id=wanted.plan_id,
            offering=names[0],
            plan=names[1],
            backend=house.registry.key(*names) or "",
            generation=1,
            state=ResourceState.MAKING,
            organization_guid=wanted.organization_guid,
            space_guid=wanted.space_guid,
            parameters=wanted.parameters,
            context=wanted.context,
            maintenance_version=version,
            latest=operation_id,
            created_at=now(),
        )

    async def _judge_provision(
        self, caller: Caller, fresh: Instance, wanted: WantedInstance, asked: Json
    ) -> None:
        """Everything that can be refused before anything is recorded."""
        house = self._house
        _, plan = house.placed(wanted.service_id, wanted.plan_id, caller.offerings)
        require_version(plan, wanted.maintenance_version)
        rules = house.rules[wanted.service_id, wanted.plan_id]
        fitting(rules.create, wanted.parameters)
        if house.registry.checks(fresh.backend):
            request = house.requests.provision_of(fresh, asked)
            await house.check(fresh.backend, request)

    async def _provisioned(
        self,
        recorded: Recorded,
        ours: Patience,
        mode: Any,
        accepts_incomplete: bool,
    ) -> Outcome:
        house = self._house
        body = body_of(house, recorded.instance)
        if recorded.work is not None:
            seen = await house.waiting.see(recorded.work.operation, ours)
            done = 201
        elif recorded.running is not None:
            patient = joining(mode, accepts_incomplete, house.settings)
            seen = await house.waiting.see(recorded.running, patient)
            done = 200
        else:
            return Outcome(status=200, body=body)
        if seen.live:
            return accepted(seen, body)
        return Outcome(status=done, body=body)

    def _start(self, recorded: Recorded) -> None:
        """After the COMMIT, whether or not the caller is still there."""
        self._house.engine.halt(recorded.halted)
        if recorded.leftover:
            self._house.engine.look_after(recorded.instance.instance_id)
        if recorded.work is not None:
            self._house.engine.take(recorded.work)

    # --- update -----------------------------------------------------------------

    async def update(
        self,
        caller: Caller,
        instance_id: str,
        wanted: WantedUpdate,
        *,
        accepts_incomplete: bool,
        identity: Identity | None = None,
    ) -> Outcome:
        """Change an instance. Spec: "Updating a Service Instance"."""
        for _ in range(AGAIN):
            try:
                return await self._update(
                    caller, instance_id, wanted, accepts_incomplete, identity
                )
            except Stale:
                continue
        raise OperationInProgress

    async def _update(
        self,
        caller: Caller,
        instance_id: str,
        wanted: WantedUpdate,
        accepts_incomplete: bool,
        identity: Identity | None,
    ) -> Outcome:
        house = self._house
        found = await house.store.read(partial(instances.find, instance_id=instance_id))
        there = decide.instance_of(found, caller.platform)
        refusal: RequestRejected | None = None
        change = Change(there, {}, ())
        plan = house.plan_of(there)
        mode = house.mode_of(there)
        try:
            change, plan = self._change(there, wanted)
            mode = plan.osbkit.mode if plan is not None else mode
            if mode == "async" and not accepts_incomplete:
                raise AsyncRequired
            if change.changed:
                await self._check_update(change, wanted, identity)
        except RequestRejected as rejected:
            refusal = rejected
        ours = patience(
            mode, accepts_incomplete, house.settings, plan.osbkit if plan else None
        )
        operation = Operation(
            id=new_operation_id(),
            kind=OperationKind.UPDATE,
            live_key=operations.key_of(OperationKind.UPDATE, instance_id),
            instance_id=instance_id,
            platform=caller.platform,
            backend=there.backend,
            generation=there.generation,
            answer_owed=ours.answer_owed,
            deadline=house.deadline(plan),
            asked=asked_by(
                identity,
                sent=wanted.sent(),
                target=change.target,
                changed=list(change.changed),
            ),
            created_at=now(),
            **house.engine.claimed(),
        )
        recorded = await house.store.write(
            partial(
                record_update,
                seen=there,
                operation=operation,
                wanted=wanted,
                changed=bool(change.changed),
                context=wanted.context,
                refusal=refusal,
                platform=caller.platform,
                polls=accepts_incomplete,
            ),
            committed=self._start,
        )
        if recorded.work is not None:
            seen = await house.waiting.see(recorded.work.operation, ours)
        elif recorded.running is not None:
            patient = joining(mode, accepts_incomplete, house.settings)
            seen = await house.waiting.see(recorded.running, patient)
        else:
            return Outcome(status=200, body=body_of(house, recorded.instance))
        target = (recorded.running or operation).asked["target"]
        body = body_of(house, target_of(recorded.instance, target))
        return accepted(seen, body) if seen.live else Outcome(status=200, body=body)

    def _change(
        self, there: Instance, wanted: WantedUpdate
    ) -> tuple["Change", Plan | None]:
        """What the PATCH would change, judged against the plan it leads to.

        Raises:
            RequestRejected: 400 for another offering or an unknown plan, 422 for
                what this plan or its backend cannot do.
        """
        house = self._house
        if wanted.service_id != there.service_id:
            raise Malformed("service_id is not the offering of this service instance.")
        plan = house.plan_of(there)
        target: Json = {}
        changed: list[str] = []
        if wanted.plan_id is not None and wanted.plan_id != there.plan_id:
            offering, plan = house.placed(there.service_id, wanted.plan_id)
            self._require_plan_change(there, offering.name, plan)
            info = plan.maintenance_info
            target |= {
                "plan_id": plan.id,
                "plan": plan.name,
                "maintenance_version": None if info is None else info.version,
            }
            changed.append("plan")
        require_version(plan, wanted.maintenance_version)
        version = wanted.maintenance_version
        if version is not None and version != there.maintenance_version:
            target["maintenance_version"] = version
            changed.append("maintenance_info")
        merged = merge(there.parameters, wanted.parameters)
        if plan is not None and (changed or wanted.parameters):
            self._judge_parameters(there.service_id, plan, wanted.parameters, merged)
        if not same_json(merged, there.parameters):
            target["parameters"] = merged
            changed.append("parameters")
        if self._context_counts(there, wanted.context):
            changed.append("context")
        if changed and wanted.context is not None:
            target["context"] = wanted.context
        if changed and not house.registry.updates(there.backend):
            raise UpdateRefused("Instances of this plan cannot be updated.")
        return Change(there, target, tuple(changed)), plan

    def _judge_parameters(
        self, service_id: str, plan: Plan, sent: Json, merged: Json
    ) -> None:
        rules = self._house.rules[service_id, plan.id]
        fitting(rules.update, sent)
        fitting(rules.merged, merged)

    def _require_plan_change(self, there: Instance, offering: str, plan: Plan) -> None:
        house = self._house
        current = house.plan_of(there)
        source = house.catalog.offering(there.service_id)
        if current is not None and source is not None:
            allowed = house.catalog.plan_updateable(source, current)
        else:
            allowed = True  # the plan left the catalog; any that is there is better
        if not allowed:
            raise UpdateRefused("The plan of this service instance cannot be changed.")
        if house.registry.key(offering, plan.name) != there.backend:
            raise UpdateRefused(
                "This plan is served by another backend; make a new service instance"
                " on it instead."
            )

    def _context_counts(self, there: Instance, context: Json | None) -> bool:
        """Whether a new context is a change that the backend wants to hear of."""
        offering = self._house.catalog.offering(there.service_id)
        return (
            context is not None
            and offering is not None
            and offering.allow_context_updates
            and self._house.registry.updates(there.backend)
            and not same_json(context, there.context or {})
        )

    async def _check_update(
        self, change: "Change", wanted: WantedUpdate, identity: Identity | None
    ) -> None:
        house = self._house
        backend = change.there.backend
        if not house.registry.checks(backend):
            return
        asked = asked_by(identity, target=change.target, changed=list(change.changed))
        request = house.requests.update_of(change.there, asked)
        await house.check(backend, request, UpdateRefused)

    # --- deprovision ------------------------------------------------------------

    async def deprovision(
        self,
        caller: Caller,
        instance_id: str,
        ids: dict[str, str],
        *,
        accepts_incomplete: bool,
        identity: Identity | None = None,
    ) -> Outcome:
        """Remove an instance, whatever else runs. Spec: "Deprovisioning".

        Args:
            ids: the `service_id` and `plan_id` that the platform believes in.
        """
        house = self._house
        found = await house.store.read(partial(instances.find, instance_id=instance_id))
        if found is None:
            raise Gone
        mode = house.mode_of(found)
        plan = house.plan_of(found)
        ours = patience(
            mode, accepts_incomplete, house.settings, plan.osbkit if plan else None
        )
        if mode == "async" and not accepts_incomplete:
            ours = Patience(house.settings.sync_budget_required, "async_required")
        operation = Operation(
            id=new_operation_id(),
            kind=OperationKind.DEPROVISION,
            live_key=operations.key_of(OperationKind.DEPROVISION, instance_id),
            instance_id=instance_id,
            platform=caller.platform,
            backend=found.backend,
            generation=found.generation,
            answer_owed=ours.answer_owed,
            deadline=house.deadline(plan),
            asked=asked_by(identity),
            created_at=now(),
            **house.engine.claimed(),
        )
        recorded = await house.store.write(
            partial(
                record_deprovision,
                operation=operation,
                async_only=mode == "async",
                polls=accepts_incomplete,
            ),
            committed=self._start,
        )
        tell_differing(ids, found, instance_id=instance_id)
        if recorded.work is not None:
            seen = await house.waiting.see(recorded.work.operation, ours)
            return accepted(seen, {}) if seen.live else Outcome(status=200)
        assert recorded.running is not None
        patient = joining(mode, accepts_incomplete, house.settings)
        seen = await house.waiting.see(recorded.running, patient)
        if seen.live:
            return accepted(seen, {})
        raise Gone

    # --- fetch ------------------------------------------------------------------

    async def fetch(self, caller: Caller, instance_id: str) -> FetchedInstance:
        """Show an instance. Spec: "Fetching a Service Instance".

        Raises:
            NotThere: unknown, being made, failed, or not retrievable.
            OperationInProgress: "being updated and therefore cannot be fetched".
        """
        house = self._house
        found, latest = await house.store.read(
            partial(with_latest, instance_id=instance_id)
        )
        there = decide.instance_of(found, caller.platform)
        offering = house.catalog.offering(there.service_id)
        if there.state is not ResourceState.READY or (
            offering is not None and not offering.instances_retrievable
        ):
            raise NotThere(decide.INSTANCE_UNKNOWN)
        if latest is not None and latest.live:
            raise OperationInProgress
        return FetchedInstance(instance=there, shown=house.shown(there))


@dataclass(frozen=True, slots=True)
class Change:
    """What an update leads to.

    Attributes:
        target: the fields of the instance that get new values.
        changed: what the backend is told; empty for no change.
    """

    there: Instance
    target: Json
    changed: tuple[str, ...]


# --- unit A ---------------------------------------------------------------------


def record_provision(
    db: sa.Connection,
    *,
    fresh: Instance,
    operation: Operation,
    wanted: WantedInstance,
    refusal: RequestRejected | None,
    polls: bool,
) -> Recorded:
    """Insert first: an id never seen costs two statements."""
    if refusal is None and instances.add(db, fresh):
        operations.add(db, operation)
        return Recorded(fresh, Work(operation=operation, instance=fresh))
    found = instances.lock(db, fresh.instance_id)
    running, _ = running_of(db, found)
    decision = decide.on_provision(found, running, wanted, fresh.platform)
    if isinstance(decision, Begin):
        if refusal is not None:
            raise refusal
        if found is None:
            raise Unavailable("The id was freed this moment; repeat the request.")
        return begin_again(db, found, fresh, operation, decision)
    if isinstance(decision, Repeat):
        assert found is not None
        return joined(db, found, decision.operation, polls)
    assert found is not None
    return Recorded(found)


def begin_again(
    db: sa.Connection,
    found: Instance,
    fresh: Instance,
    operation: Operation,
    decision: Begin,
) -> Recorded:
    """A new generation on an id that was used before.

    What the old one left has its own clean-up, by its own name; if that was
    parked or never recorded, it is recorded now.
    """
    if decision.leftover:
        endings.add_cleanup(
            db,
            replace(
                operation,
                generation=found.generation,
                backend=found.backend,
                platform=found.platform,
            ),
            now(),
        )
    generation = decision.generation
    again = replace(
        fresh, uid=found.uid, revision=found.revision, generation=generation
    )
    instances.save(db, again)
    operation = replace(operation, generation=generation)
    operations.add(db, operation)
    stands = replace(again, revision=again.revision + 1)
    work = Work(operation=operation, instance=stands)
    return Recorded(stands, work, leftover=decision.leftover)


def joined(
    db: sa.Connection, found: Instance, running: Operation, polls: bool
) -> Recorded:
    """The request runs already; somebody who polls frees it of its answer."""
    if polls and running.answer_owed:
        operations.join(db, running.id)
    return Recorded(found, running=running)


def record_update(
    db: sa.Connection,
    *,
    seen: Instance,
    operation: Operation,
    wanted: WantedUpdate,
    changed: bool,
    context: Json | None,
    refusal: RequestRejected | None,
    platform: str,
    polls: bool,
) -> Recorded:
    """Record an update that was judged against `seen`.

    Raises:
        Stale: the instance has changed since; judge again.
    """
    found = instances.lock(db, seen.instance_id)
    running, _ = running_of(db, found)
    decision = decide.on_update(found, running, wanted, platform)
    assert found is not None
    if isinstance(decision, Repeat):
        return joined(db, found, decision.operation, polls)
    if found.revision != seen.revision:
        raise Stale(f"instance {found.uid} changed")
    if refusal is not None:
        raise refusal
    if not changed:
        if context is not None and not same_json(context, found.context or {}):
            found = replace(found, context=context)
            instances.save(db, found)
        return Recorded(found)
    operations.add(db, operation)
    stands = replace(found, latest=operation.id)
    instances.save(db, stands)
    return Recorded(stands, Work(operation=operation, instance=stands))


def record_deprovision(
    db: sa.Connection, *, operation: Operation, async_only: bool, polls: bool
) -> Recorded:
    """Halt what runs, and record the removal of what is there."""
    found = instances.lock(db, operation.instance_id)
    running, waits = running_of(db, found)
    decision = decide.on_deprovision(
        found,
        running,
        operation.platform,
        async_only=async_only,
        accepts_incomplete=polls,
    )
    assert found is not None
    if isinstance(decision, Repeat):
        return joined(db, found, decision.operation, polls)
    operation = replace(operation, generation=found.generation, backend=found.backend)
    left = bindings.of_instance(db, found.instance_id, found.generation)
    lives = {(None, 0), *((each.binding_id, each.generation) for each in left)}
    # a clean-up after an earlier life of a binding goes on: nobody else knows of it
    halts = tuple(
        other
        for other in decision.halts
        if other.kind not in OWN_ACCOUNT
        or (other.binding_id, other.binding_generation) in lives
    )
    stands = replace(found, latest=operation.id)
    if found.state is ResourceState.MAKING:
        stands = replace(stands, state=ResourceState.FAILED, residue=True)
    for each in left:
        if each.state is ResourceState.MAKING:  # halted as well: its id is free again
            begun = replace(each, state=ResourceState.FAILED, residue=True)
            bindings.save(db, begun)
    instances.save(db, stands)
    for other in halts:  # after the rows above: unit B takes them in this order too
        held = operations.halt(db, other, by=operation.id, text=DELETED, now=now())
        waits = waits or held
    operations.add(db, operation)
    work = Work(operation=operation, instance=stands, bindings=tuple(left), waits=waits)
    return Recorded(stands, work, halted=halts)


def with_latest(
    db: sa.Connection, instance_id: str
) -> tuple[Instance | None, Operation | None]:
    """An instance and the newest operation its platform may ask about."""
    found = instances.find(db, instance_id)
    if found is None or found.latest is None:
        return found, None
    return found, operations.show(db, found.latest)


# --- small rules ------------------------------------------------------------------


def require_version(plan: Plan | None, version: str | None) -> None:
    """Spec: "Maintenance Info": the version, if sent, is the catalog's.

    Raises:
        MaintenanceInfoConflict: it is not, or the plan has none.
    """
    if version is None:
        return
    info = plan.maintenance_info if plan is not None else None
    if info is None or info.version != version:
        raise MaintenanceInfoConflict


def tell_differing(
    ids: dict[str, str], *known: Instance | Binding, **about: str
) -> None:
    """Log the ids of a DELETE that are not the stored ones, by their names only.

    The DELETE is carried out all the same: a clean-up must not fail for them.
    """
    differ = [
        name
        for name, value in ids.items()
        if all(value != getattr(one, name) for one in known)
    ]
    if differ:
        log.warning("request.ids_differ", differ=differ, **about)


def merge(stored: Json, sent: Json) -> Json:
    """PATCH parameters: top-level keys are merged, null removes one."""
    kept = {key: value for key, value in stored.items() if key not in sent}
    return kept | {key: value for key, value in sent.items() if value is not None}


def body_of(house: House, instance: Instance) -> Json:
    """`dashboard_url` and `metadata`, where there are any."""
    shown = house.shown(instance)
    body: Json = {}
    if shown.dashboard_url is not None:
        body["dashboard_url"] = shown.dashboard_url
    if shown.metadata:
        body["metadata"] = shown.metadata
    return body


def accepted(operation: Operation, body: Json) -> Outcome:
    """202: the operation goes on, and this is how to ask for it."""
    return Outcome(
        status=202,
        operation=operation.id,
        body=body,
        poll_after=operation.poll_after,
    )

"""Bind, rotate, unbind, fetch: judge, record (unit A), wait. See `instances`.

A binding is looked up under its instance only, and only under this life of it.
"""

from dataclasses import dataclass, replace
from functools import partial

import sqlalchemy as sa

from osbkit.domain import (
    Binding,
    Caller,
    Identity,
    Instance,
    Json,
    Operation,
    OperationKind,
    ResourceState,
    WantedBinding,
)
from osbkit.errors import (
    AsyncRequired,
    Gone,
    Malformed,
    NotThere,
    RequestRejected,
    RequiresApp,
    Stale,
    Unavailable,
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
from osbkit.lifecycle.instances import accepted, tell_differing
from osbkit.lifecycle.outcomes import FetchedBinding, Outcome
from osbkit.lifecycle.waiting import Mode, Patience, joining, patience
from osbkit.operations import endings
from osbkit.operations.work import Work
from osbkit.store import bindings, instances, operations
from osbkit.store.rows import new_operation_id, new_uid, now

AGAIN = 5


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read before judging."""

    instance: Instance | None
    predecessor: Binding | None = None
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Recorded:
    """What unit A did; see `instances.Recorded`."""

    binding: Binding
    work: Work | None = None
    running: Operation | None = None
    halted: tuple[Operation, ...] = ()
    leftover: bool = False


class Bindings:
    """Changes and views of service bindings."""

    def __init__(self, house: House) -> None:
        self._house = house

    # --- bind -------------------------------------------------------------------

    async def bind(
        self,
        caller: Caller,
        instance_id: str,
        binding_id: str,
        wanted: WantedBinding,
        *,
        accepts_incomplete: bool,
        identity: Identity | None = None,
    ) -> Outcome:
        """Make a binding, or its successor. Spec: "Binding", "Binding Rotation"."""
        for _ in range(AGAIN):
            try:
                return await self._bind(
                    caller,
                    instance_id,
                    binding_id,
                    wanted,
                    accepts_incomplete,
                    identity,
                )
            except Stale:
                continue
        raise Unavailable("The service instance keeps changing; repeat the request.")

    async def _bind(
        self,
        caller: Caller,
        instance_id: str,
        binding_id: str,
        wanted: WantedBinding,
        accepts_incomplete: bool,
        identity: Identity | None,
    ) -> Outcome:
        house = self._house
        seen = await house.store.read(
            partial(look, instance_id=instance_id, predecessor_id=wanted.predecessor)
        )
        there = decide.instance_of(seen.instance, caller.platform)
        mode = house.bind_mode_of(there)
        plan = house.plan_of(there)
        ours = patience(
            mode, accepts_incomplete, house.settings, plan.osbkit if plan else None
        )
        asked = asked_by(identity)
        offering = house.catalog.offering(there.service_id)
        if offering is not None:
            asked["requires"] = list(offering.requires)
        if seen.predecessor is not None:
            asked["predecessor_generation"] = seen.predecessor.generation
        operation_id = new_operation_id()
        fresh = fresh_binding(
            caller, there, binding_id, wanted, seen.predecessor, operation_id
        )
        refusal: RequestRejected | None = None
        try:
            await self._judge(there, fresh, wanted, seen, asked)
            if mode == "async" and not accepts_incomplete:
                raise AsyncRequired
        except RequestRejected as rejected:
            refusal = rejected
        operation = Operation(
            id=operation_id,
            kind=OperationKind.BIND,
            live_key=operations.key_of(OperationKind.BIND, instance_id, binding_id),
            instance_id=instance_id,
            binding_id=binding_id,
            platform=caller.platform,
            backend=there.backend,
            generation=there.generation,
            binding_generation=1,
            answer_owed=ours.answer_owed,
            deadline=house.deadline(plan),
            asked=asked,
            created_at=fresh.created_at,
            **house.engine.claimed(),
        )
        recorded = await house.store.write(
            partial(
                record_bind,
                seen=there,
                fresh=fresh,
                operation=operation,
                wanted=wanted,
                refusal=refusal,
                polls=accepts_incomplete,
                predecessor=seen.predecessor,
            ),
            committed=self._start,
        )
        return await self._bound(recorded, ours, mode, accepts_incomplete)

    async def _judge(
        self,
        there: Instance,
        fresh: Binding,
        wanted: WantedBinding,
        seen: Seen,
        asked: Json,
    ) -> None:
        """Everything that can be refused before anything is recorded."""
        house = self._house
        plan = house.plan_of(there)
        offering = house.catalog.offering(there.service_id)
        if wanted.service_id not in {None, there.service_id}:
            raise Malformed("service_id is not the offering of this service instance.")
        if wanted.plan_id not in {None, there.plan_id}:
            raise Malformed("plan_id is not the plan of this service instance.")
        if (
            plan is not None
            and offering is not None
            and not house.catalog.bindable(offering, plan)
        ):
            raise Malformed("Service instances of this plan cannot be bound.")
        if wanted.predecessor is not None:
            rotatable = plan is not None and plan.binding_rotatable
            self._require_predecessor(there, wanted, seen, rotatable)
        backend = house.registry.backend(there.backend)
        if backend.requires_app and fresh.app_guid is None:
            raise RequiresApp
        if plan is not None and wanted.predecessor is None:
            rules = house.rules[there.service_id, plan.id]
            fitting(rules.bind, wanted.parameters)
        if house.registry.checks(there.backend):
            request = house.requests.bind_of(there, fresh, asked)
            await house.check(there.backend, request)

    def _require_predecessor(
        self,
        there: Instance,
        wanted: WantedBinding,
        seen: Seen,
        rotatable: bool,
    ) -> None:
        """Spec: "Binding Rotation": of the same instance, there, not expired."""
        found = seen.predecessor
        if not rotatable:
            raise Malformed("Bindings of this plan cannot be rotated.")
        if wanted.parameters or wanted.bind_resource or wanted.app_guid:
            raise Malformed(
                "A rotation takes parameters, bind_resource and application from the"
                " predecessor: send predecessor_binding_id without them."
            )
        if (
            found is None
            or found.state is not ResourceState.READY
            or seen.busy
            or found.instance_generation != there.generation
            or (found.expires_at is not None and found.expires_at <= now())
        ):
            raise Malformed(
                "predecessor_binding_id is not the id of a binding of this service"
                " instance that can be succeeded."
            )

    async def _bound(
        self,
        recorded: Recorded,
        ours: Patience,
        mode: Mode,
        accepts_incomplete: bool,
    ) -> Outcome:
        house = self._house
        if recorded.work is not None:
            seen = await house.waiting.see(recorded.work.operation, ours)
            done = 201
        elif recorded.running is not None:
            patient = joining(mode, accepts_incomplete, house.settings)
            seen = await house.waiting.see(recorded.running, patient)
            done = 200
        else:
            return Outcome(status=200, body=recorded.binding.bound or {})
        if seen.live:
            return accepted(seen, {})
        if seen.outcome is not None:
            return Outcome(status=done, body=seen.outcome)
        found = await house.store.read(
            partial(
                bindings.find,
                instance_id=recorded.binding.instance_id,
                binding_id=recorded.binding.binding_id,
            )
        )
        if found is None or found.bound is None:
            raise Unavailable("The binding was removed while it was made.")
        return Outcome(status=done, body=found.bound)

    def _start(self, recorded: Recorded) -> None:
        """After the COMMIT, whether or not the caller is still there."""
        self._house.engine.halt(recorded.halted)
        if recorded.leftover:
            self._house.engine.look_after(recorded.binding.instance_id)
        if recorded.work is not None:
            self._house.engine.take(recorded.work)

    # --- unbind -----------------------------------------------------------------

    async def unbind(
        self,
        caller: Caller,
        instance_id: str,
        binding_id: str,
        ids: dict[str, str],
        *,
        accepts_incomplete: bool,
        identity: Identity | None = None,
    ) -> Outcome:
        """Remove a binding. Spec: "Unbinding".

        Args:
            ids: as of `Instances.deprovision`; the plan may be the one that the
                binding was made on.
        """
        house = self._house
        found = await house.store.read(partial(instances.find, instance_id=instance_id))
        if found is None:
            raise Gone
        mode = house.bind_mode_of(found)
        plan = house.plan_of(found)
        ours = patience(
            mode, accepts_incomplete, house.settings, plan.osbkit if plan else None
        )
        if mode == "async" and not accepts_incomplete:
            ours = Patience(house.settings.sync_budget_required, "async_required")
        operation = Operation(
            id=new_operation_id(),
            kind=OperationKind.UNBIND,
            live_key=operations.key_of(OperationKind.UNBIND, instance_id, binding_id),
            instance_id=instance_id,
            binding_id=binding_id,
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
                record_unbind,
                operation=operation,
                async_only=mode == "async",
                polls=accepts_incomplete,
            ),
            committed=self._start,
        )
        tell_differing(
            ids,
            found,
            recorded.binding,
            instance_id=instance_id,
            binding_id=binding_id,
        )
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

    async def fetch(
        self, caller: Caller, instance_id: str, binding_id: str
    ) -> FetchedBinding:
        """Show a binding. Spec: "Fetching a Service Binding".

        Raises:
            NotThere: unknown, being made or removed, expired, or not retrievable.
        """
        house = self._house
        instance, found, latest = await house.store.read(
            partial(with_latest, instance_id=instance_id, binding_id=binding_id)
        )
        there = decide.instance_of(instance, caller.platform)
        if (
            found is None
            or found.state is not ResourceState.READY
            or decide.binding_over(found, there)
            or not house.bindings_retrievable(there)
            or (latest is not None and latest.live)
            or (found.expires_at is not None and found.expires_at <= now())
        ):
            raise NotThere(decide.BINDING_UNKNOWN)
        return FetchedBinding(binding=found)


# --- unit A ---------------------------------------------------------------------


def look(db: sa.Connection, instance_id: str, predecessor_id: str | None) -> Seen:
    """What a bind is judged against."""
    instance = instances.find(db, instance_id)
    if predecessor_id is None:
        return Seen(instance)
    found = bindings.find(db, instance_id, predecessor_id)
    latest = operations.show(db, found.latest) if found and found.latest else None
    return Seen(instance, found, latest is not None and latest.live)


def fresh_binding(
    caller: Caller,
    there: Instance,
    binding_id: str,
    wanted: WantedBinding,
    predecessor: Binding | None,
    operation_id: str,
) -> Binding:
    """The binding as it would be recorded; a successor takes over what it is for."""
    taken = predecessor if wanted.predecessor is not None else None
    return Binding(
        uid=new_uid(),
        instance_id=there.instance_id,
        binding_id=binding_id,
        platform=caller.platform,
        service_id=there.service_id,
        plan_id=there.plan_id,
        generation=1,
        instance_generation=there.generation,
        state=ResourceState.MAKING,
        parameters=taken.parameters if taken else wanted.parameters,
        app_guid=taken.app_guid if taken else wanted.app_guid,
        bind_resource=taken.bind_resource if taken else wanted.bind_resource,
        context=wanted.context or (taken.context if taken else None),
        predecessor=wanted.predecessor,
        latest=operation_id,
        created_at=now(),
    )


def record_bind(
    db: sa.Connection,
    *,
    seen: Instance,
    fresh: Binding,
    operation: Operation,
    wanted: WantedBinding,
    refusal: RequestRejected | None,
    polls: bool,
    predecessor: Binding | None = None,
) -> Recorded:
    """Record a bind that was judged against `seen`; insert first.

    Raises:
        Stale: the instance or the predecessor has changed since; judge again.
    """
    if predecessor is not None and refusal is None:
        before = bindings.lock(db, fresh.instance_id, predecessor.binding_id)
        if before is None or before.revision != predecessor.revision:
            raise Stale("the predecessor changed")
    if (
        refusal is None
        and seen.state is ResourceState.READY
        and instances.untouched(db, seen)
        and bindings.add(db, fresh)
    ):
        operations.add(db, operation)
        work = Work(operation=operation, instance=seen, binding=fresh)
        return Recorded(fresh, work)
    instance = instances.share(db, fresh.instance_id)
    running, _ = running_of(db, instance)
    found = bindings.lock(db, fresh.instance_id, fresh.binding_id)
    decision = decide.on_bind(instance, found, running, wanted, fresh.platform)
    if isinstance(decision, Repeat):
        assert found is not None
        if polls and decision.operation.answer_owed:
            operations.join(db, decision.operation.id)
        return Recorded(found, running=decision.operation)
    if not isinstance(decision, Begin):
        assert found is not None
        return Recorded(found)
    assert instance is not None
    if instance.revision != seen.revision:
        raise Stale(f"instance {instance.uid} changed")
    if refusal is not None:
        raise refusal
    stands = fresh
    if found is None:
        if not bindings.add(db, fresh):
            raise Stale("the binding was made this moment")
    else:
        stands = bind_again(db, found, fresh, operation, decision)
    operation = replace(operation, binding_generation=stands.generation)
    operations.add(db, operation)
    work = Work(operation=operation, instance=instance, binding=stands)
    return Recorded(stands, work, leftover=decision.leftover)


def bind_again(
    db: sa.Connection,
    found: Binding,
    fresh: Binding,
    operation: Operation,
    decision: Begin,
) -> Binding:
    """A new generation on a binding id that was used before."""
    if decision.leftover:
        endings.add_cleanup(
            db,
            replace(
                operation,
                generation=found.instance_generation,
                binding_generation=found.generation,
            ),
            now(),
        )
    again = replace(
        fresh, uid=found.uid, revision=found.revision, generation=decision.generation
    )
    bindings.save(db, again)
    return replace(again, revision=again.revision + 1)


def record_unbind(
    db: sa.Connection, *, operation: Operation, async_only: bool, polls: bool
) -> Recorded:
    """Halt the binding's creation, and record the removal."""
    assert operation.binding_id is not None
    instance = instances.share(db, operation.instance_id)
    running, waits = running_of(db, instance)
    found = bindings.lock(db, operation.instance_id, operation.binding_id)
    decision = decide.on_unbind(
        instance,
        found,
        running,
        operation.platform,
        async_only=async_only,
        accepts_incomplete=polls,
    )
    assert instance is not None
    assert found is not None
    if isinstance(decision, Repeat):
        if polls and decision.operation.answer_owed:
            operations.join(db, decision.operation.id)
        return Recorded(found, running=decision.operation)
    operation = replace(
        operation,
        generation=found.instance_generation,
        binding_generation=found.generation,
        backend=instance.backend,
    )
    for other in decision.halts:
        held = operations.halt(db, other, by=operation.id, text=DELETED, now=now())
        waits = waits or held
    stands = replace(found, latest=operation.id)
    if found.state is ResourceState.MAKING:
        stands = replace(stands, state=ResourceState.FAILED, residue=True)
    bindings.save(db, stands)
    operations.add(db, operation)
    work = Work(operation=operation, instance=instance, binding=stands, waits=waits)
    return Recorded(stands, work, halted=decision.halts)


def with_latest(
    db: sa.Connection, instance_id: str, binding_id: str
) -> tuple[Instance | None, Binding | None, Operation | None]:
    """A binding, its instance, and the newest operation on it, a removal of the
    whole instance included."""
    instance = instances.find(db, instance_id)
    found = bindings.find(db, instance_id, binding_id)
    if found is None or found.latest is None:
        return instance, found, None
    if instance is not None and instance.latest is not None:
        whole = operations.show(db, instance.latest)
        if whole is not None and whole.kind is OperationKind.DEPROVISION and whole.live:
            return instance, found, whole
    return instance, found, operations.show(db, found.latest)

"""Unit B: what ends an operation, under its fence, and what it does to the rows.

Every function here is a unit of work: it raises LeaseLost, and changes nothing,
when the claim is no longer ours. Rows are locked in the order of unit A: instance,
binding, operation last.
"""

from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from osbkit.domain import (
    OWN_ACCOUNT,
    REMOVALS,
    Binding,
    Instance,
    Json,
    Operation,
    OperationKind,
    OperationState,
    Phase,
    ResourceState,
)
from osbkit.operations.work import Work, target_of
from osbkit.store import bindings, instances, operations
from osbkit.store.rows import new_operation_id, now

RESTARTED = (
    "The broker was restarted before it could answer; what was begun is taken back."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How an operation failed.

    Attributes:
        text: a sentence for the user.
        status: of the answer to a caller that waited.
        refused: the caller can mend it.
        usable, repeatable: as the backend said; None if it did not.
        clean: nothing is left of what was begun.
    """

    text: str
    status: int = 500
    refused: bool = False
    usable: bool | None = None
    repeatable: bool | None = None
    clean: bool = True
    parked: bool = False


def parked(operation: Operation) -> Failure:
    """How an operation ends that nothing but the operator can help: what it left
    stays for the platform's DELETE."""
    text = (
        "The service could not do this. Give your operator the number of this"
        f" operation: {operation.id}."
    )
    return Failure(text=text, clean=False, parked=True)


def succeeded(db: sa.Connection, work: Work, result: Any) -> Operation:
    """End an operation that did what it was for.

    Args:
        result: facts of provision and update; (body, facts, expires_at) of bind.
    """
    operation, instance, moment = work.operation, work.instance, now()
    outcome = None
    match operation.kind:
        case OperationKind.PROVISION:
            instances.mark_ready(db, instance, operation.generation, result)
        case OperationKind.UPDATE:
            _reach(db, work, result)
        case OperationKind.DEPROVISION:
            _end_instance(db, operation, moment)
        case OperationKind.BIND:
            assert work.binding is not None
            body, facts, expires_at = result
            bindings.mark_ready(
                db,
                work.binding,
                operation.binding_generation,
                body,
                facts,
                expires_at,
            )
            outcome = body
        case OperationKind.UNBIND:
            _end_binding(db, operation, moment)
        case OperationKind.CLEANUP:
            _cleaned(db, operation, moment)
        case OperationKind.SWEEP:
            pass
    operations.finish(db, operation, OperationState.SUCCEEDED, now=moment)
    return ended(operation, OperationState.SUCCEEDED, moment, outcome=outcome)


def failed(db: sa.Connection, work: Work, failure: Failure) -> Operation:
    """End an operation that did not, and keep account of what is left."""
    operation, moment = work.operation, now()
    usable, repeatable = _told(operation, failure)
    if operation.binding_id is None:
        _instance_failed(db, operation, failure, moment)
    else:
        _binding_failed(db, operation, failure, moment)
    operations.finish(
        db,
        operation,
        OperationState.FAILED,
        now=moment,
        description=failure.text,
        refused=failure.refused,
        status=failure.status,
        usable=usable,
        repeatable=repeatable,
        parked=failure.parked,
    )
    return ended(
        operation,
        OperationState.FAILED,
        moment,
        description=failure.text,
        refused=failure.refused,
        status=failure.status,
        instance_usable=usable,
        update_repeatable=repeatable,
        parked=failure.parked,
    )


def ended(
    operation: Operation, state: OperationState, moment: int, **more: Any
) -> Operation:
    """The record as `finish` left it, without reading it again."""
    fields: dict[str, Any] = {
        "state": state,
        "live_key": None,
        "run_at": None,
        "description": None,
        "percent": None,
        "poll_after": None,
        "asked": {},
        "ended_at": moment,
    }
    return replace(operation, **(fields | more))


def _told(operation: Operation, failure: Failure) -> tuple[bool | None, bool | None]:
    """Spec: the two fields belong to failed updates and deprovisions only; a platform
    takes an instance for usable unless it is told otherwise."""
    if operation.kind is OperationKind.UPDATE:
        broken = failure.usable is None and not failure.clean
        return False if broken else failure.usable, failure.repeatable
    if operation.kind is OperationKind.DEPROVISION:
        return failure.usable, None
    return None, None


def _reach(db: sa.Connection, work: Work, facts: Json | None) -> None:
    instance = instances.lock(db, work.instance.instance_id)
    assert instance is not None
    reached = target_of(instance, work.operation.asked["target"])
    if facts is not None:
        reached = replace(reached, facts=facts)
    instances.save(db, replace(reached, usable=True))


def _end_instance(db: sa.Connection, operation: Operation, moment: int) -> None:
    instance = instances.lock(db, operation.instance_id)
    if instance is None or instance.generation != operation.generation:
        return
    bindings.end_all(db, instance.instance_id, instance.generation, moment)
    instances.save(db, gone(instance, moment))


def gone(instance: Instance, moment: int) -> Instance:
    """The tombstone of an instance: ids and times, nothing that was sealed."""
    return replace(
        instance,
        state=ResourceState.GONE,
        parameters={},
        context=None,
        facts=None,
        residue=False,
        ended_at=moment,
    )


def _end_binding(db: sa.Connection, operation: Operation, moment: int) -> None:
    binding = _binding_of(db, operation)
    if binding is not None:
        bindings.save(db, binding_gone(binding, moment))


def revoked(db: sa.Connection, operation: Operation, binding: Binding) -> None:
    """A deletion has revoked a binding: nobody is handed its credentials any more.

    Raises:
        LeaseLost: the operation is another's or has ended.
    """
    operations.require(db, operation)
    found = bindings.lock(db, binding.instance_id, binding.binding_id)
    if (
        found is not None
        and found.generation == binding.generation
        and found.instance_generation == binding.instance_generation
    ):
        bindings.save(db, binding_gone(found, now()))


def binding_gone(binding: Binding, moment: int) -> Binding:
    """The tombstone of a binding."""
    return replace(
        binding,
        state=ResourceState.GONE,
        parameters={},
        bind_resource=None,
        context=None,
        bound=None,
        facts=None,
        residue=False,
        ended_at=moment,
    )


def _binding_of(db: sa.Connection, operation: Operation) -> Binding | None:
    assert operation.binding_id is not None
    binding = bindings.lock(db, operation.instance_id, operation.binding_id)
    if (
        binding is None
        or binding.generation != operation.binding_generation
        or binding.instance_generation != operation.generation
    ):
        return None
    return binding


def _cleaned(db: sa.Connection, operation: Operation, moment: int) -> None:
    """A clean-up is done: what had failed has left nothing behind."""
    if operation.asked.get("of") == "update":
        restored = instances.lock(db, operation.instance_id)
        if restored is not None and restored.generation == operation.generation:
            instances.save(db, replace(restored, usable=True))
        return
    if operation.binding_id is not None:
        binding = _binding_of(db, operation)
        if binding is not None and binding.state is ResourceState.FAILED:
            clean = binding_gone(binding, moment)
            bindings.save(db, replace(clean, state=ResourceState.FAILED))
        return
    instance = instances.lock(db, operation.instance_id)
    bindings.end_all(db, operation.instance_id, operation.generation, moment)
    if (
        instance is not None
        and instance.generation == operation.generation
        and instance.state is ResourceState.FAILED
    ):
        clean_one = gone(instance, moment)
        instances.save(db, replace(clean_one, state=ResourceState.FAILED))


def _instance_failed(
    db: sa.Connection, operation: Operation, failure: Failure, moment: int
) -> None:
    instance = instances.lock(db, operation.instance_id)
    if instance is None or instance.generation != operation.generation:
        return
    match operation.kind:
        case OperationKind.PROVISION if failure.clean:
            clean = gone(instance, moment)
            instances.save(db, replace(clean, state=ResourceState.FAILED))
        case OperationKind.PROVISION:
            instances.save(
                db, replace(instance, state=ResourceState.FAILED, residue=True)
            )
            add_cleanup(db, operation, moment, parked=failure.parked)
        case OperationKind.UPDATE:
            usable = failure.usable if failure.usable is not None else failure.clean
            instances.save(db, replace(instance, usable=usable))
            if not failure.clean:
                add_cleanup(db, operation, moment, parked=failure.parked)
        case OperationKind.DEPROVISION if instance.state is ResourceState.FAILED:
            add_cleanup(db, operation, moment, parked=failure.parked)
        case OperationKind.DEPROVISION:
            if failure.usable is not None:
                instances.save(db, replace(instance, usable=failure.usable))
            _clean_bindings(db, operation, moment, parked=failure.parked)
        case _:
            pass


def _clean_bindings(
    db: sa.Connection, operation: Operation, moment: int, *, parked: bool
) -> None:
    """The instance stays; what its deletion halted on it is to leave nothing."""
    every = bindings.of_instance(db, operation.instance_id, operation.generation)
    for each in every:
        if each.state is ResourceState.FAILED and each.residue:
            halted = replace(
                operation,
                binding_id=each.binding_id,
                binding_generation=each.generation,
            )
            add_cleanup(db, halted, moment, parked=parked)


def _binding_failed(
    db: sa.Connection, operation: Operation, failure: Failure, moment: int
) -> None:
    binding = _binding_of(db, operation)
    if binding is None:
        return
    match operation.kind:
        case OperationKind.BIND if failure.clean:
            clean = binding_gone(binding, moment)
            bindings.save(db, replace(clean, state=ResourceState.FAILED))
        case OperationKind.BIND:
            bindings.save(
                db, replace(binding, state=ResourceState.FAILED, residue=True)
            )
            add_cleanup(db, operation, moment, parked=failure.parked)
        case OperationKind.UNBIND if binding.state is ResourceState.FAILED:
            add_cleanup(db, operation, moment, parked=failure.parked)
        case _:
            pass


def add_cleanup(
    db: sa.Connection, of: Operation, moment: int, *, parked: bool = False
) -> None:
    """Record the repetition of a roll-back that failed, due in a second.

    What was parked because it kills its process is not tried by itself again:
    the platform's DELETE, or the operator, begins it anew.
    """
    if parked:
        return
    _own_account(db, of, OperationKind.CLEANUP, moment + 1_000_000)


def add_sweep(db: sa.Connection, of: Operation, moment: int) -> None:
    """Record that a call ended after its resource had been removed."""
    _own_account(db, of, OperationKind.SWEEP, moment)


def _own_account(
    db: sa.Connection, of: Operation, kind: OperationKind, run_at: int
) -> None:
    kept = ("target", "changed", "identity")
    asked: Json = {key: of.asked[key] for key in kept if key in of.asked}
    was = of.asked.get("of", of.kind.value) if of.kind in OWN_ACCOUNT else of.kind.value
    key = operations.key_of(
        kind, of.instance_id, of.binding_id, of.generation, of.binding_generation
    )
    if operations.taken(db, key):
        return
    instance = instances.find(db, of.instance_id)
    if "was" in of.asked:
        asked["was"] = of.asked["was"]
    elif instance is not None and instance.generation == of.generation:
        asked["was"] = {"offering": instance.offering, "plan": instance.plan}
    fresh = Operation(
        id=new_operation_id(),
        live_key=key,
        kind=kind,
        instance_id=of.instance_id,
        binding_id=of.binding_id,
        platform=of.platform,
        backend=of.backend,
        generation=of.generation,
        binding_generation=of.binding_generation,
        run_at=run_at,
        deadline=run_at,
        asked={**asked, "of": was, "seed": of.asked.get("seed", "00" * 32)},
        created_at=run_at,
    )
    operations.add(db, fresh)


def stopped(db: sa.Connection, operation: Operation) -> bool:
    """A call has really returned that was halted, or whose claim was lost.

    When what came after it could not wait (its lease had run out), the late effect
    is swept by name: the generation makes sure that it meets nothing new.

    Returns:
        whether a sweep was recorded.
    """
    moment = now()
    late = operations.stopped(db, operation.id, moment)
    if late or _outlived(db, operation):
        add_sweep(db, operation, moment)
        return True
    if _overwrote(db, operation):
        add_cleanup(db, operation, moment)
        return True
    return False


def _overwrote(db: sa.Connection, operation: Operation) -> bool:
    """Whether an update was taken over, so that our late call may have undone what is
    stored by now: it is brought back to that."""
    if operation.asked.get("of", operation.kind) != OperationKind.UPDATE:
        return False
    row = operations.show(db, operation.id)
    if row is None or row.fence == operation.fence or row.stop_asked:
        return False
    instance = instances.find(db, operation.instance_id)
    return (
        instance is not None
        and instance.generation == operation.generation
        and instance.state is ResourceState.READY
        and not _is_removed(db, operation)
    )


def _outlived(db: sa.Connection, operation: Operation) -> bool:
    """Whether another runner took an operation over, and what it made is removed."""
    if operation.kind not in {OperationKind.PROVISION, OperationKind.BIND}:
        return False
    row = operations.show(db, operation.id)
    if row is not None and row.fence == operation.fence:
        return False
    if row is not None and row.stop_asked:
        # halted when it was another's already: nobody has waited for our call
        return row.fence > operation.fence + 1
    if row is not None and row.live:
        # before its roll-back began it has still to remove what we made
        return row.phase is Phase.ROLLBACK
    if row is not None and row.state is OperationState.FAILED:
        return True
    instance = instances.find(db, operation.instance_id)
    if instance is None:
        return False
    if instance.generation != operation.generation or instance.ended_at is not None:
        return True
    if operation.binding_id is not None:
        binding = bindings.find(db, operation.instance_id, operation.binding_id)
        if (
            binding is None
            or binding.generation != operation.binding_generation
            or binding.ended_at is not None
        ):
            return True
    return _is_removed(db, operation)


def _is_removed(db: sa.Connection, operation: Operation) -> bool:
    """Whether a removal of what an operation is about runs at the moment."""
    return any(
        other.kind in REMOVALS
        and other.live
        and other.binding_id in {None, operation.binding_id}
        for other in operations.known_of(db, operation.instance_id)
    )

"""Reconciling the service with the rows: look, remove what is left over, adopt.

    look     read the service, then the rows, then the operations; compare
    remove   an orphan whose life is known: by an operation on the broker's own
             account, repeated until it succeeds. One of which nothing is known but
             its name: by one call, here and now
    adopt    an orphan instance whose id is known becomes a ready row again, as after
             a restore of the database from an older copy

What is recorded holds the instance's lock, and sees to it that the name is never
used again: a tombstone stands for it before its removal begins. What is lost is only
told: its data is gone, and so are the secrets of its bindings.

The comparison itself stands in `osbkit.lifecycle.compare`.
"""

import asyncio
import secrets
import string
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal

import sqlalchemy as sa

from osbkit.backends.contract import (
    DeprovisionRequest,
    Found,
    Run,
    UnbindRequest,
)
from osbkit.backends.registry import AnyBackend, Registry, author_of, writes
from osbkit.catalog import Catalog, PlanRules
from osbkit.domain import (
    MICROSECONDS,
    Binding,
    Instance,
    Json,
    Operation,
    OperationKind,
    OperationState,
    ResourceState,
)
from osbkit.errors import BackendFault, OsbkitError
from osbkit.lifecycle.compare import (
    LIVES,
    Comparison,
    Life,
    Listed,
    Orphan,
    Report,
    life_named,
)
from osbkit.lifecycle.house import asked_by, fitting
from osbkit.operations import endings
from osbkit.store import bindings, instances, operations, standings
from osbkit.store.protocol import Store
from osbkit.store.rows import new_operation_id, new_uid, now
from osbkit.store.standings import Moving
from osbkit.telemetry import log, trouble

OLDER_THAN = 600.0
"""Seconds that an orphan, or an operation, must be in the past to be judged."""
SKEW = 60.0
"""Seconds by which the clocks of processes of one server are surely not apart."""
LOOK = 0.5
OVER = frozenset({ResourceState.GONE, ResourceState.FAILED})


class CannotReconcile(OsbkitError):
    """It is not done, and nothing was changed. The message is for the operator."""


@dataclass(frozen=True, slots=True)
class Removal:
    """How an orphan is removed.

    Attributes:
        how: `recorded` (an operation does it), or `removed` (it is gone).
        operation: the id of the operation.
    """

    name: str
    how: Literal["recorded", "removed"]
    operation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """What an operator knows of an instance whose row was lost.

    Attributes:
        instance_id: None where the service knows it.
        offering, plan: names or ids of the catalog.
        facts: what `provision` had returned; None if that is lost as well.
    """

    offering: str
    plan: str
    platform: str
    organization_guid: str
    space_guid: str
    instance_id: str | None = None
    parameters: Json = field(default_factory=dict, repr=False)
    facts: Json | None = field(default=None, repr=False)


class Reconciler:
    """Looks at every backend that lists what it has.

    Args:
        store: open; other processes may serve its database.
        registry: of backends that are open.
        seconds: what a listing, or a removal made here, may take.
    """

    def __init__(self, store: Store, registry: Registry, *, seconds: float) -> None:
        self._store = store
        self._registry = registry
        self._seconds = seconds

    # --- look -------------------------------------------------------------------

    async def look(
        self, keys: Collection[str] | None = None, older_than: float = OLDER_THAN
    ) -> Report:
        """Compare the service with the rows.

        Args:
            keys: of the backends to ask; None for all that list what they have.
            older_than: seconds; what was made, or worked on, later is left alone.

        Raises:
            CannotReconcile: no backend to ask, or one that could not list all.
        """
        backends = self._asked(keys)
        moment = now()
        before = await self._store.read(standings.moving)
        listed = await self._list(backends)
        report = await self._compare(listed, moment, older_than, before)
        log.info("reconcile.finished", **report.counts())
        return report

    def _asked(self, keys: Collection[str] | None) -> dict[str, AnyBackend]:
        """The backends to ask, each under its first key.

        Raises:
            CannotReconcile: there is none, or one of the keys cannot be asked.
            Unavailable: one of the keys is no backend's.
        """
        every = self._registry.keys if keys is None else keys
        found: dict[str, AnyBackend] = {}
        for key in sorted(every):
            backend = self._registry.backend(key)
            if writes(backend, "inventory"):
                if not any(other is backend for other in found.values()):
                    found[key] = backend
            elif keys is not None:
                name = type(author_of(backend)).__name__
                raise CannotReconcile(
                    f"{name} (backend {key!r}) does not say what exists: it has no"
                    " method inventory."
                )
        if not found:
            raise CannotReconcile(
                "No backend of this broker says what exists: none has a method"
                " inventory."
            )
        return found

    async def _list(self, backends: dict[str, AnyBackend]) -> Listed:
        found: dict[str, tuple[str, Found]] = {}
        for key, backend in backends.items():
            for each in await self._inventory(key, backend):
                found.setdefault(each.name, (key, each))
        asked = list(backends.values())
        lists = {
            key
            for key in self._registry.keys
            if any(self._registry.backend(key) is one for one in asked)
        }
        whole = {key for key in lists if self._registry.backend(key).lists_bindings}
        return Listed(found=found, instances=lists, bindings=whole)

    async def _inventory(self, key: str, backend: AnyBackend) -> list[Found]:
        """All that a backend lists.

        Raises:
            CannotReconcile: it broke off; what it had told is no basis.
        """
        found: list[Found] = []
        try:
            async with asyncio.timeout(self._seconds):
                listing = backend.inventory()
                if not hasattr(listing, "__anext__"):
                    if isinstance(listing, Awaitable):
                        listing.close()  # type: ignore[attr-defined]
                    raise BackendFault("inventory must be `async def` with `yield`")
                async with aclosing(listing) as each_found:  # type: ignore[type-var]
                    async for each in each_found:
                        found.append(whole(each))
        except BackendFault as fault:
            log.error("backend.fault", backend=key, fix=str(fault))
            raise CannotReconcile(
                f"The backend {key!r} cannot be asked: {fault}."
            ) from fault
        except Exception as error:
            log.error("reconcile.not_listed", backend=key, **trouble(error))
            raise CannotReconcile(
                f"The backend {key!r} could not list what exists"
                f" ({type(error).__name__}); nothing was compared."
            ) from error
        return found

    async def _compare(
        self,
        listed: Listed,
        moment: int,
        older_than: float,
        before: Sequence[Moving] = (),
    ) -> Report:
        """Rows after the service, operations last: see `compare`.

        Args:
            before: the operations that were open before the service was read.
        """
        comparison = Comparison(self._store.broker_id, listed, moment)
        for page in (standings.of_instances, standings.of_bindings):
            after = standings.START
            while True:
                rows = await self._store.read(partial(page, after=after))
                comparison.take(rows)
                if len(rows) < standings.PAGE:
                    break
                after = standings.cursor(rows[-1])
                await asyncio.sleep(0)
        span = older_than if self._store.alone else max(older_than, SKEW)
        since = moment - int(span * MICROSECONDS)
        open_ = await self._store.read(standings.moving)
        moved = await self._store.read(partial(standings.moved, since=since))
        were_open = [replace(one, open=False) for one in before]
        return comparison.report([*were_open, *open_, *moved], older_than)

    # --- remove -----------------------------------------------------------------

    async def remove(self, orphan: Orphan) -> Removal:
        """Remove an orphan, or record that it is to be removed.

        Raises:
            CannotReconcile: it is no orphan any more, or its removal failed.
        """
        if orphan.life is None:
            await self._remove_now(orphan)
            return Removal(orphan.name, "removed")
        operation = await self._store.write(
            partial(
                record_removal,
                life=orphan.life,
                backend=orphan.backend,
                made_on=made_on(orphan.backend),
            )
        )
        log.info("reconcile.recorded", name=orphan.name, operation=operation)
        return Removal(orphan.name, "recorded", operation)

    async def _remove_now(self, orphan: Orphan) -> None:
        """Call the backend with the name, and with what else there is."""
        await self._require_unknown(orphan)
        backend = self._registry.backend(orphan.backend)
        run = LooseRun(self._seconds)
        try:
            async with asyncio.timeout(self._seconds):
                if orphan.kind == "binding":
                    await backend.unbind(unbinding(orphan), run)
                else:
                    await backend.deprovision(deprovisioning(orphan), run)
        except CannotReconcile:
            raise
        except Exception as error:
            log.error("reconcile.not_removed", name=orphan.name, **trouble(error))
            raise CannotReconcile(
                f"{orphan.name} could not be removed ({type(error).__name__})."
            ) from error
        log.info("reconcile.removed", name=orphan.name, backend=orphan.backend)

    async def _require_unknown(self, orphan: Orphan) -> None:
        """Look at the rows again: the operator may have thought for long."""
        listed = Listed(found={orphan.name: (orphan.backend, orphan.found)})
        report = await self._compare(listed, now(), 0.0)
        if [one.life for one in report.orphans] != [None]:
            raise CannotReconcile(f"{orphan.name} is no orphan any more.")

    async def wait(self, removals: Collection[Removal], seconds: float) -> set[str]:
        """Wait for recorded removals; the ids of those that have succeeded."""
        done: set[str] = set()
        open_ = {one.operation for one in removals if one.operation is not None}
        give_up = asyncio.get_running_loop().time() + seconds
        while open_:
            for operation in sorted(open_):
                row = await self._store.read(
                    partial(operations.show, operation_id=operation)
                )
                if row is None or not row.live:
                    open_.discard(operation)
                if row is not None and row.state is OperationState.SUCCEEDED:
                    done.add(operation)
            if not open_ or asyncio.get_running_loop().time() >= give_up:
                break
            await asyncio.sleep(LOOK)
        return done

    # --- adopt ------------------------------------------------------------------

    async def adopt(
        self,
        orphan: Orphan,
        adoption: Adoption,
        catalog: Catalog,
        rules: dict[tuple[str, str], PlanRules],
    ) -> Instance:
        """Write a ready row for an orphan whose platform still knows it.

        Raises:
            CannotReconcile: it is a binding, its id is another, the plan is another
                backend's, or the id is in use.
            RequestRejected: the parameters are none that the plan takes.
        """
        if orphan.kind == "binding":
            raise CannotReconcile(
                "A binding cannot be adopted: nobody here knows its credentials."
                " Let the platform bind anew, then remove this one."
            )
        life = self._life_to_adopt(orphan, adoption.instance_id)
        offering, plan = self._plan_to_adopt(orphan, adoption, catalog)
        fitting(rules[offering.id, plan.id].create, adoption.parameters)
        made = orphan.found.created_at
        instance = Instance(
            uid=new_uid(),
            instance_id=life.instance_id,
            platform=adoption.platform,
            service_id=offering.id,
            plan_id=plan.id,
            offering=offering.name,
            plan=plan.name,
            backend=self._registry.key(offering.name, plan.name) or "",
            generation=life.generation,
            state=ResourceState.READY,
            organization_guid=adoption.organization_guid,
            space_guid=adoption.space_guid,
            parameters=adoption.parameters,
            facts=adoption.facts,
            created_at=now() if made is None else int(made.timestamp() * MICROSECONDS),
        )
        await self._store.write(partial(record_adoption, fresh=instance))
        log.info(
            "reconcile.adopted", name=orphan.name, instance_id=instance.instance_id
        )
        return instance

    def _life_to_adopt(self, orphan: Orphan, instance_id: str | None) -> Life:
        life = orphan.life
        if life is None:
            if instance_id is None:
                raise CannotReconcile(
                    "The service does not know the id of this instance: say which it"
                    " is."
                )
            life = life_named(self._store.broker_id, orphan.name, instance_id)
            if life is None:
                raise CannotReconcile(
                    f"{orphan.name} is not the name of this instance: none of the"
                    f" first {LIVES} lives of the id has it under this broker."
                )
        if instance_id not in {None, life.instance_id}:
            raise CannotReconcile(f"{orphan.name} is the name of another instance.")
        return life

    def _plan_to_adopt(
        self, orphan: Orphan, adoption: Adoption, catalog: Catalog
    ) -> tuple[Any, Any]:
        for offering in catalog.services:
            if adoption.offering not in {offering.name, offering.id}:
                continue
            for plan in offering.plans:
                if adoption.plan in {plan.name, plan.id}:
                    key = self._registry.key(offering.name, plan.name)
                    theirs = self._registry.backend(orphan.backend)
                    if key is None or self._registry.backend(key) is not theirs:
                        raise CannotReconcile(
                            f"{orphan.name} is on the backend {orphan.backend!r},"
                            f" and the plan {offering.name}/{plan.name} is on"
                            f" {key!r}."
                        )
                    return offering, plan
        raise CannotReconcile(
            f"The catalog has no plan {adoption.offering}/{adoption.plan}."
        )


def whole(found: Any) -> Found:
    """What an inventory yielded, if it is what it should be. Raises BackendFault."""
    if not isinstance(found, Found):
        raise BackendFault("inventory must yield Found")
    if found.created_at is not None and found.created_at.tzinfo is None:
        raise BackendFault("Found.created_at must carry a time zone")
    return found


# --- units of work ----------------------------------------------------------------


def record_removal(
    db: sa.Connection, *, life: Life, backend: str, made_on: tuple[str, str]
) -> str:
    """Record that what is left of a life is to be removed; the operation's id.

    First its name is made sure never to be used again: a row that has not come so
    far yet is brought there, as a tombstone.

    Raises:
        CannotReconcile: the life is not over, or an operation is at it.
    """
    instance = _spent(db, life, backend, made_on)
    binding = None if life.binding_id is None else _spent_binding(db, life, instance)
    for other in operations.open_of(db, life.instance_id):
        if life.touched_by(_as_moving(other)):
            raise CannotReconcile("An operation works on it just now; look again.")
    of = Operation(
        id="",
        kind=OperationKind.PROVISION if binding is None else OperationKind.BIND,
        instance_id=life.instance_id,
        platform=instance.platform,
        backend=backend,
        generation=life.generation,
        binding_id=life.binding_id,
        binding_generation=life.binding_generation,
        asked=asked_by(None),
    )
    row = instance if binding is None else binding
    failed = _at(row, life) and row.state is ResourceState.FAILED
    if failed:
        endings.add_cleanup(db, of, now())
    else:
        endings.add_sweep(db, of, now())
    kind = OperationKind.CLEANUP if failed else OperationKind.SWEEP
    key = operations.key_of(
        kind,
        life.instance_id,
        life.binding_id,
        life.generation,
        life.binding_generation,
    )
    [recorded] = [
        one for one in operations.open_of(db, life.instance_id) if one.live_key == key
    ]
    return recorded.id


def _at(row: Instance | Binding, life: Life) -> bool:
    """Whether a row is at this very life."""
    if isinstance(row, Instance):
        return row.generation == life.generation
    return (row.instance_generation, row.generation) == (
        life.generation,
        life.binding_generation,
    )


def _spent(
    db: sa.Connection, life: Life, backend: str, made_on: tuple[str, str]
) -> Instance:
    """The instance's row, with a generation that is not below the life's.

    Raises:
        CannotReconcile: of an instance, its life is not over.
    """
    found = instances.lock(db, life.instance_id)
    if found is None:
        fresh = _tombstone(life, backend, made_on)
        if not instances.add(db, fresh):
            raise CannotReconcile("Its instance was made this moment; look again.")
        return fresh
    if found.generation > life.generation:
        return found
    over = found.state in OVER
    if found.generation == life.generation:
        if life.binding_id is None and not over:
            raise CannotReconcile("It is the instance of a row; look again.")
        return found
    if not over or found.residue:
        raise CannotReconcile(
            f"The instance {life.instance_id} lives on as generation"
            f" {found.generation}, before this one: let the platform delete it first."
        )
    later = replace(found, generation=life.generation)
    instances.save(db, later)
    return replace(later, revision=found.revision + 1)


def _tombstone(life: Life, backend: str, made_on: tuple[str, str]) -> Instance:
    moment = now()
    return Instance(
        uid=new_uid(),
        instance_id=life.instance_id,
        platform="",
        service_id="",
        plan_id="",
        offering=made_on[0],
        plan=made_on[1],
        backend=backend,
        generation=life.generation,
        state=ResourceState.GONE,
        organization_guid="",
        space_guid="",
        parameters={},
        created_at=moment,
        ended_at=moment,
    )


def _spent_binding(db: sa.Connection, life: Life, instance: Instance) -> Binding:
    """The same of a binding's row.

    Raises:
        CannotReconcile: its life is not over.
    """
    assert life.binding_id is not None
    found = bindings.lock(db, life.instance_id, life.binding_id)
    if found is None:
        moment = now()
        fresh = Binding(
            uid=new_uid(),
            instance_id=life.instance_id,
            binding_id=life.binding_id,
            platform=instance.platform,
            service_id=instance.service_id,
            plan_id=instance.plan_id,
            generation=life.binding_generation,
            instance_generation=life.generation,
            state=ResourceState.GONE,
            parameters={},
            created_at=moment,
            ended_at=moment,
        )
        if not bindings.add(db, fresh):
            raise CannotReconcile("The binding was made this moment; look again.")
        return fresh
    over = found.state in OVER
    if _at(found, life) and not over:
        raise CannotReconcile("It is the binding of a row; look again.")
    if found.generation >= life.binding_generation:
        return found
    if not over or found.residue:
        raise CannotReconcile(
            f"The binding {life.binding_id} lives on as generation"
            f" {found.generation}, before this one: let the platform unbind it first."
        )
    later = replace(
        found,
        generation=life.binding_generation,
        instance_generation=life.generation,
    )
    bindings.save(db, later)
    return replace(later, revision=found.revision + 1)


def _as_moving(operation: Operation) -> Moving:
    return Moving(
        kind=operation.kind,
        instance_id=operation.instance_id,
        generation=operation.generation,
        binding_id=operation.binding_id,
        binding_generation=operation.binding_generation,
        open=True,
    )


def record_adoption(db: sa.Connection, *, fresh: Instance) -> None:
    """Write the row of an adopted instance.

    Raises:
        CannotReconcile: the id is in use, or has been since.
    """
    found = instances.lock(db, fresh.instance_id)
    if any(operations.open_of(db, fresh.instance_id)):
        raise CannotReconcile("An operation works on this instance; look again.")
    if found is None:
        if not instances.add(db, fresh):
            raise CannotReconcile("The instance was made this moment; look again.")
        return
    if found.state not in OVER or found.residue:
        raise CannotReconcile(
            f"The instance {fresh.instance_id} has a row (generation"
            f" {found.generation}, {found.state.value}): let the platform delete it"
            " first."
        )
    if found.generation > fresh.generation:
        raise CannotReconcile(
            f"The id has been used again since (generation {found.generation}); an"
            " older life cannot come back."
        )
    instances.save(db, replace(fresh, uid=found.uid, revision=found.revision))


# --- a call without an operation ----------------------------------------------------


class LooseRun(Run):
    """The run of a call that no row stands for: it happens once.

    Args:
        seconds: until its deadline.
    """

    def __init__(self, seconds: float) -> None:
        self.id = new_operation_id()
        self.attempt = 1
        self.deadline = datetime.now(UTC) + timedelta(seconds=seconds)
        self.log = log.bind(operation=self.id)

    async def progress(
        self,
        text: str,
        *,
        percent: int | None = None,
        poll_after: int | None = None,
    ) -> None:
        """Nobody asks."""

    async def step(
        self, name: str, call: Callable[..., Awaitable[Any]], *args: Any
    ) -> Any:
        """Do it; there is no attempt before, and none after."""
        return await call(*args)

    def secret(self, name: str, *, length: int = 32) -> str:
        """Random; no other attempt asks for the same."""
        letters = string.ascii_letters + string.digits
        return "".join(secrets.choice(letters) for _ in range(length))


def made_on(key: str) -> tuple[str, str]:
    """Offering and plan, as far as the key of a backend tells them."""
    offering, _, plan = key.partition("/")
    return offering, plan


def deprovisioning(orphan: Orphan) -> DeprovisionRequest:
    """Remove what nothing is known of but its name.

    The offering is the key's, the instance id what the service says, if it says one;
    plan and platform are empty, context and facts None.
    """
    offering, plan = made_on(orphan.backend)
    return DeprovisionRequest(
        name=orphan.name,
        instance_id=orphan.found.instance_id or "",
        offering=offering,
        plan=plan,
        platform="",
    )


def unbinding(orphan: Orphan) -> UnbindRequest:
    """The same of a binding.

    Raises:
        CannotReconcile: the service does not say of which instance it is.
    """
    found = orphan.found
    if found.instance_name is None:
        raise CannotReconcile(
            f"{orphan.name} is a binding, and the inventory does not say of which"
            " instance (Found.instance_name): it cannot be removed."
        )
    offering, plan = made_on(orphan.backend)
    return UnbindRequest(
        name=orphan.name,
        instance_id=found.instance_id or "",
        offering=offering,
        plan=plan,
        platform="",
        binding_id=found.binding_id or "",
        instance_name=found.instance_name,
    )

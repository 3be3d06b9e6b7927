"""What a service has, held against what the broker's rows say it should have.

    on the service, and a row is ready with it    matched
    on the service, and no row stands for it      orphan
    a row is ready, and nothing on the service    lost
    an operation is at it, or was a moment ago    busy: left alone

Pure. A name on the service is a hash over the broker's id, the ids and their
generations, so it cannot be read back; it is computed from the rows, for the life
that they are at and for those before, and from the ids that the service keeps
beside the name. A name that follows from neither is unknown: nothing proves that
this broker made it.

What makes the comparison safe beside a broker at work is the order of reading: the
open operations, the service, the rows, and the operations that are open or have
ended since. An operation is recorded before it touches the service; so whatever was
made or removed while the service was read is among them. (The open ones come first
as well: an ending bears the moment before its COMMIT.)
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from osbkit.backends.contract import Found, Kind
from osbkit.domain import MICROSECONDS, ResourceState, resource_name
from osbkit.store.standings import Moving, Standing

LIVES = 100
"""How many lives of an id before the one it is at are looked for, and how many
after it where the service knows the id."""

Why = Literal["deleted", "failed", "replaced", "no row", "unknown"]
Wait = Literal["operation", "young"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One life of an instance or of a binding: what a name is computed from."""

    instance_id: str
    generation: int
    binding_id: str | None = None
    binding_generation: int = 0

    @property
    def kind(self) -> Kind:
        """What lives."""
        return "instance" if self.binding_id is None else "binding"

    def name(self, broker_id: str) -> str:
        """Its name on the service."""
        return resource_name(
            broker_id,
            self.instance_id,
            self.generation,
            self.binding_id,
            self.binding_generation,
        )

    def touched_by(self, moving: Moving) -> bool:
        """Whether an operation works on it; on an instance, with all its bindings."""
        if (moving.instance_id, moving.generation) != (
            self.instance_id,
            self.generation,
        ):
            return False
        if moving.binding_id is None:
            return True
        mine = (self.binding_id, self.binding_generation)
        return mine == (moving.binding_id, moving.binding_generation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """Something on the service that no row stands for.

    Attributes:
        backend: the key of the backend that listed it.
        life: what it was; None if nothing proves it.
        why: `deleted` (its row is a tombstone), `failed` (its creation was), `replaced`
            (the id lives again, by another name), `no row` (the service knows its
            ids), `unknown`.
    """

    found: Found
    backend: str
    kind: Kind
    life: Life | None
    why: Why

    @property
    def name(self) -> str:
        """Its name on the service."""
        return self.found.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A ready row that nothing on the service stands for."""

    name: str
    life: Life
    standing: Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """What is not judged: an operation is or was at it, or it is young."""

    name: str
    kind: Kind
    life: Life | None
    why: Wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a comparison found.

    Attributes:
        unjudged: backend key → ready rows that no inventory could be held against.
    """

    orphans: tuple[Orphan, ...] = ()
    lost: tuple[Lost, ...] = ()
    busy: tuple[Busy, ...] = ()
    matched: int = 0
    unjudged: Mapping[str, int]

    @property
    def clean(self) -> bool:
        """Whether there is nothing to do."""
        return not self.orphans and not self.lost

    def counts(self) -> dict[str, int]:
        """The figures for the log and for programs."""
        return {
            "orphans": len(self.orphans),
            "lost": len(self.lost),
            "matched": self.matched,
            "busy": len(self.busy),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What was found, and where it was looked for.

    Attributes:
        found: name → the key of the backend that listed it, and what it said.
        instances, bindings: keys of the backends that listed their instances, and
            those that listed their bindings too.
    """

    found: Mapping[str, tuple[str, Found]]
    instances: Collection[str] = ()
    bindings: Collection[str] = ()


class Comparison:
    """Takes rows page by page; keeps no more than the service has, and the lost."""

    def __init__(self, broker_id: str, listed: Listed, moment: int) -> None:
        self._broker_id = broker_id
        self._listed = listed
        self._moment = moment
        self._explained: dict[str, tuple[Life, Standing, bool]] = {}
        self._missing: list[Lost] = []
        self._unjudged: Counter[str] = Counter()
        self._marked = {
            found.instance_id
            for _, found in listed.found.values()
            if found.instance_id is not None
        }
        self._highest: Counter[tuple[str, str | None]] = Counter()

    def take(self, standings: Iterable[Standing]) -> None:
        """Hold rows against what was found."""
        for standing in standings:
            life = life_of(standing)
            name = life.name(self._broker_id)
            if name in self._listed.found:
                self._explained[name] = (life, standing, True)
            elif standing.state is ResourceState.READY:
                self._miss(name, life, standing)
            for former in lives_before(life):
                before = former.name(self._broker_id)
                if before in self._listed.found:
                    self._explained.setdefault(before, (former, standing, False))
            if standing.instance_id in self._marked:
                highest = max(standing.generation, standing.binding_generation)
                self._highest[standing.instance_id, standing.binding_id] = highest

    def _miss(self, name: str, life: Life, standing: Standing) -> None:
        if standing.backend not in self._listed.instances:
            self._unjudged[standing.backend] += 1
            return
        if life.kind == "binding" and standing.backend not in self._listed.bindings:
            return
        expires = standing.expires_at
        if expires is None or expires > self._moment:
            self._missing.append(Lost(name=name, life=life, standing=standing))

    def report(self, moving: Iterable[Moving], older_than: float) -> Report:
        """The outcome, once every row has been taken.

        Args:
            moving: what operations touch, and have touched since `older_than` seconds
                before the service was read.
            older_than: seconds; what was made later is left alone.
        """
        touched = _by_life(moving)
        young = self._moment - int(older_than * MICROSECONDS)
        orphans: list[Orphan] = []
        busy: list[Busy] = []
        matched = 0
        for name, (backend, found) in sorted(self._listed.found.items()):
            life, why = self._explain(name, found)
            kind = found.kind if life is None else life.kind
            at = _at(touched, life)
            if why == "ready" and not any(moved.open for moved in at):
                matched += 1
            elif at or why == "ready" or why == "making":
                busy.append(Busy(name=name, kind=kind, life=life, why="operation"))
            elif found.created_at is not None and _moment(found.created_at) > young:
                busy.append(Busy(name=name, kind=kind, life=life, why="young"))
            else:
                orphans.append(
                    Orphan(found=found, backend=backend, kind=kind, life=life, why=why)
                )
        moved_on = [one for one in self._missing if _at(touched, one.life)]
        busy += [
            Busy(name=one.name, kind=one.life.kind, life=one.life, why="operation")
            for one in moved_on
        ]
        return Report(
            orphans=tuple(orphans),
            lost=tuple(one for one in self._missing if not _at(touched, one.life)),
            busy=tuple(busy),
            matched=matched,
            unjudged=dict(sorted(self._unjudged.items())),
        )

    def _explain(
        self, name: str, found: Found
    ) -> tuple[Life | None, Literal[Why, "ready", "making"]]:
        """What a name stands for, and how that stands."""
        if name in self._explained:
            life, standing, current = self._explained[name]
            if not current:
                return life, "replaced"
            match standing.state:
                case ResourceState.READY:
                    return life, "ready"
                case ResourceState.MAKING:
                    return life, "making"
                case ResourceState.FAILED:
                    return life, "failed"
                case ResourceState.GONE:
                    return life, "deleted"
        proven = self._proven(name, found)
        return (None, "unknown") if proven is None else (proven, "no row")

    def _proven(self, name: str, found: Found) -> Life | None:
        """The life that the service's own mark tells of, if the name follows."""
        if found.instance_id is None:
            return None
        return life_named(
            self._broker_id,
            name,
            found.instance_id,
            found.binding_id if found.kind == "binding" else None,
            upto=self._highest[found.instance_id, None] + LIVES,
            binding_upto=self._highest[found.instance_id, found.binding_id] + LIVES,
            instance_name=found.instance_name,
        )


def life_named(
    broker_id: str,
    name: str,
    instance_id: str,
    binding_id: str | None = None,
    *,
    upto: int = LIVES,
    binding_upto: int = LIVES,
    instance_name: str | None = None,
) -> Life | None:
    """The life of given ids that has this name; None if none of the first has it."""
    for generation in range(1, upto + 1):
        life = Life(instance_id=instance_id, generation=generation)
        if binding_id is None:
            if life.name(broker_id) == name:
                return life
        elif instance_name is None or life.name(broker_id) == instance_name:
            for number in range(1, binding_upto + 1):
                bound = Life(
                    instance_id=instance_id,
                    generation=generation,
                    binding_id=binding_id,
                    binding_generation=number,
                )
                if bound.name(broker_id) == name:
                    return bound
    return None


def life_of(standing: Standing) -> Life:
    """The life that a row is at."""
    return Life(
        instance_id=standing.instance_id,
        generation=standing.generation,
        binding_id=standing.binding_id,
        binding_generation=standing.binding_generation,
    )


def lives_before(life: Life) -> Iterator[Life]:
    """The lives before one, the last `LIVES` of them.

    A binding's generation grows over all lives of its instance.
    """
    first = max(1, life.generation - LIVES)
    if life.binding_id is None:
        for generation in range(first, life.generation):
            yield Life(instance_id=life.instance_id, generation=generation)
        return
    for number in range(
        max(1, life.binding_generation - LIVES), life.binding_generation
    ):
        for generation in range(first, life.generation + 1):
            yield Life(
                instance_id=life.instance_id,
                generation=generation,
                binding_id=life.binding_id,
                binding_generation=number,
            )


def _by_life(moving: Iterable[Moving]) -> dict[tuple[str, int], list[Moving]]:
    found: dict[tuple[str, int], list[Moving]] = {}
    for one in moving:
        found.setdefault((one.instance_id, one.generation), []).append(one)
    return found


def _at(
    touched: Mapping[tuple[str, int], list[Moving]], life: Life | None
) -> list[Moving]:
    if life is None:
        return []
    near = touched.get((life.instance_id, life.generation), [])
    return [one for one in near if life.touched_by(one)]


def _moment(made: datetime) -> int:
    return int(made.timestamp() * MICROSECONDS)

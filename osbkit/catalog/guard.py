"""What a new catalog would do to what platforms know and to what lives.

    catalog last served ─┐
    instances that live ─┼─► compare ─► changes: note │ warning │ error
    catalog to be served ┘

Pure. The past is read by `osbkit.store.served`; the broker compares at its start
and when a catalog is reloaded, `osbkit catalog diff` before. An error stops the
start, unless the operator allows its id.

An id stands for one thing for ever, a name may change. Spec: "Service Offering
Object", "seeing the same value ... will always refer to this Service Offering".
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from osbkit.catalog.model import Catalog

ALL: Final = "all"
"""Allows every change at once, where ids of changes are expected."""

Kind = Literal["added", "removed", "renamed", "new id", "reused", "stranded"]
Thing = Literal["offering", "plan"]
Level = Literal["note", "warning", "error"]


@dataclass(frozen=True, slots=True)
class ServedPlan:
    """A plan by its ids, with the names that it had at the time."""

    service_id: str
    offering: str
    plan_id: str
    plan: str

    @property
    def key(self) -> tuple[str, str]:
        """What instances are tied to: ids alone."""
        return self.service_id, self.plan_id

    @property
    def names(self) -> str:
        """`offering/plan`, as people know it."""
        return f"{self.offering}/{self.plan}"


@dataclass(frozen=True, slots=True)
class LivePlan:
    """What lives on a plan and was made by one backend.

    Attributes:
        plan: ids and names as the instances' rows have them.
        backend: the key of `backends` that made them.
        instances, bindings: how many have not ended.
    """

    plan: ServedPlan
    backend: str
    instances: int
    bindings: int = 0


@dataclass(frozen=True, slots=True)
class Past:
    """What the database knows of the catalogs before.

    Attributes:
        last: the catalog last served; None before the first.
        live: what lives, whatever catalog it came from.
        busy: keys of backends that live instances or open operations need.
    """

    last: tuple[ServedPlan, ...] | None = None
    live: tuple[LivePlan, ...] = ()
    busy: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference, and what it does to service instances.

    Attributes:
        kind: `stranded` is no difference of ids: something lives that the broker
            cannot serve any longer, or not wholly.
        what: whose id it is.
        names: `queue` or `queue/tiny`; those that platforms know.
        instances: how many live instances are affected.
        level: an error stops the start, a warning is logged, a note only shown.
        problem: reads on from the names.
        fix: a sentence; empty for a note.
    """

    kind: Kind
    what: Thing
    id: str
    names: str
    instances: int = 0
    level: Level = "note"
    problem: str
    fix: str = ""

    def __str__(self) -> str:
        told = f"{self.what} {self.names} ({self.id}) {self.problem}."
        return f"{told} {self.fix}" if self.fix else told


def plans_of(catalog: Catalog) -> tuple[ServedPlan, ...]:
    """What is remembered of a catalog that was served."""
    return tuple(
        ServedPlan(offering.id, offering.name, plan.id, plan.name)
        for offering in catalog.services
        for plan in offering.plans
    )


def refused(changes: Iterable[Change], allowed: Collection[str]) -> list[Change]:
    """The changes that stop the start.

    Args:
        allowed: ids whose changes the operator answers for, or `all`.
    """
    return [
        change
        for change in changes
        if change.level == "error" and not {change.id, ALL} & set(allowed)
    ]


def compare(
    past: Past, catalog: Catalog, backends: Collection[str] | None = None
) -> list[Change]:
    """Everything that a catalog would change, the old first, then the new.

    Args:
        backends: the keys of the broker's backends; None when they are not known,
            then nothing is said of them.
    """
    sight = _Sight(past, catalog)
    told = [*_offerings(sight), *_plans(sight)]
    return [*told, *_added(sight, told), *_stranded(sight, backends)]


class _Sight:
    """Past and present by their ids.

    Names are those of the catalog last served; of what left it before, those of
    the instances.
    """

    def __init__(self, past: Past, catalog: Catalog) -> None:
        served = past.last or ()
        seen = [*(one.plan for one in past.live), *served]
        self.live = past.live
        self.catalog = catalog
        self.last = {plan.key for plan in served}
        self.then = {plan.key: plan for plan in seen}
        self.now = {plan.key: plan for plan in plans_of(catalog)}
        self.plans_now = {plan.plan_id: plan for plan in self.now.values()}
        self.holder = {(one.service_id, one.plan): key for key, one in self.now.items()}
        self.offerings_last = {plan.service_id for plan in served}
        self.offerings_then = {plan.service_id: plan.offering for plan in seen}
        self.offerings_now = {one.id: one.name for one in catalog.services}
        self.offering_holder = {name: id_ for id_, name in self.offerings_now.items()}
        known = self.offerings_then.keys() | {plan_id for _, plan_id in self.then}
        self.new_plans = {
            plan.names: id_ for id_, plan in self.plans_now.items() if id_ not in known
        }
        self.new_offerings = {
            name: id_ for id_, name in self.offerings_now.items() if id_ not in known
        }
        self.instances: Counter[str | tuple[str, str]] = Counter()
        self.bindings: Counter[tuple[str, str]] = Counter()
        for one in past.live:
            self.instances[one.plan.key] += one.instances
            self.instances[one.plan.service_id] += one.instances
            self.bindings[one.plan.key] += one.bindings


class _Whose(NamedTuple):
    """What a change is about, and how much lives on it."""

    what: Thing
    id: str
    names: str
    instances: int = 0

    def told(
        self,
        kind: Kind,
        problem: str,
        fix: str = "",
        level: Level = "note",
    ) -> Change:
        """Say something of it."""
        return Change(
            **self._asdict(), kind=kind, level=level, problem=problem, fix=fix
        )


def _offerings(sight: _Sight) -> Iterator[Change]:
    """Offerings that left, or have another id or name.

    An error only where an id was reused: what lives has an error at its plan.
    """
    for id_, name in sight.offerings_then.items():
        whose = _Whose("offering", id_, name, sight.instances[id_])
        if id_ in sight.offerings_now:
            new = sight.offerings_now[id_]
            if sight.offering_holder.get(name, id_) != id_:
                yield _exchanged(whose, new)
            elif id_ in sight.offerings_last and new != name:
                yield _renamed(whose, new)
        elif id_ in sight.plans_now:
            yield _reused(whose, f"the plan {sight.plans_now[id_].names}")
        elif name in sight.new_offerings:
            problem = f"has the new id {sight.new_offerings[name]}"
            yield whose.told("new id", problem, OLD_ID, "warning")
        else:
            yield whose.told("removed", "has left the catalog")


def _plans(sight: _Sight) -> Iterator[Change]:
    """The same of plans."""
    for key, plan in sight.then.items():
        whose = _Whose("plan", plan.plan_id, plan.names, sight.instances[key])
        if key in sight.now:
            new = sight.now[key].plan
            if sight.holder.get((plan.service_id, plan.plan), key) != key:
                yield _exchanged(whose, new)
            elif key in sight.last and new != plan.plan:
                yield _renamed(whose, new)
        elif plan.plan_id in sight.plans_now:
            yield _moved(whose, plan, sight.plans_now[plan.plan_id])
        elif plan.plan_id in sight.offerings_now:
            yield _reused(whose, f"the offering {sight.offerings_now[plan.plan_id]}")
        elif plan.names in sight.new_plans:
            problem = f"has the new id {sight.new_plans[plan.names]}"
            level: Level = "error" if whose.instances else "warning"
            yield whose.told("new id", problem + _while(whose), OLD_ID, level)
        elif whose.instances:
            problem = "has left the catalog" + _while(whose)
            yield whose.told("removed", problem, PUT_BACK, "error")
        else:
            yield whose.told("removed", "has left the catalog")


OLD_ID: Final = "Write its old id back: platforms know it by nothing else."
PUT_BACK: Final = "Put it back until they are deleted."


def _added(sight: _Sight, told: Collection[Change]) -> Iterator[Change]:
    """Ids that are new, and are not the new ids of something known."""
    renewed = {(one.what, one.names) for one in told if one.kind == "new id"}
    named: list[tuple[Thing, dict[str, str]]] = [
        ("offering", sight.new_offerings),
        ("plan", sight.new_plans),
    ]
    for what, new in named:
        for names, id_ in new.items():
            if (what, names) not in renewed:
                yield _Whose(what, id_, names).told("added", "is new")


def _stranded(sight: _Sight, backends: Collection[str] | None) -> Iterator[Change]:
    """What lives and could not be served, or not wholly, whatever its ids."""
    for live in sight.live:
        if backends is not None and live.backend not in backends:
            yield _without_backend(live)
    for key, count in sight.bindings.items():
        offering, plan = sight.catalog.offering(key[0]), sight.catalog.plan(*key)
        if (
            count
            and offering is not None
            and plan is not None
            and not sight.catalog.bindable(offering, plan)
        ):
            names = f"{offering.name}/{plan.name}"
            yield _Whose("plan", plan.id, names, sight.instances[key]).told(
                "stranded",
                f"is not bindable, and has {_count(count, 'binding')}",
                "They can be fetched and removed, not renewed: keep the backend's"
                " method unbind until they are gone.",
                "warning",
            )


def _without_backend(live: LivePlan) -> Change:
    whose = _Whose("plan", live.plan.plan_id, live.plan.names, live.instances)
    return whose.told(
        "stranded",
        f"has {_count(live.instances, 'service instance')} made by the backend"
        f" {live.backend!r}, which this broker does not have",
        f"Give Broker(backends=…) the key {live.backend!r} until they are deleted.",
        "error",
    )


def _renamed(whose: _Whose, new: str) -> Change:
    fix = f"If that is another {whose.what}, give it an id of its own."
    return whose.told("renamed", f"is named {new} now", fix, "warning")


def _exchanged(whose: _Whose, new: str) -> Change:
    """No rename: what had this id stands under another one."""
    level: Level = "error" if whose.instances else "warning"
    name = whose.names.rpartition("/")[2]
    problem = f"has given its id to {new}, and has another one now" + _while(whose)
    fix = f"Write its id back to {name}; give {new} its own."
    return whose.told("reused", problem, fix, level)


def _reused(whose: _Whose, holder: str) -> Change:
    problem = f"has lost its id to {holder}" + _while(whose)
    return whose.told("reused", problem, f"Give {holder} an id of its own.", "error")


def _moved(whose: _Whose, plan: ServedPlan, new: ServedPlan) -> Change:
    """A plan's id under another offering: one of the two ids is wrong."""
    return whose.told(
        "reused",
        f"belonged to the offering {plan.service_id}, and its id stands under the"
        f" offering {new.offering} ({new.service_id}) now" + _while(whose),
        f"Write the offering's old id back: {plan.service_id}."
        if plan.names == new.names
        else f"Give the plan {new.names} an id of its own.",
        "error",
    )


def _while(whose: _Whose) -> str:
    """What makes a change unsafe; nothing when nothing lives."""
    if not whose.instances:
        return ""
    noun = _count(whose.instances, "service instance")
    return f", while {noun} {'lives' if whose.instances == 1 else 'live'} on it"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"

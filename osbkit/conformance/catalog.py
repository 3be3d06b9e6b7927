"""The broker's catalog as the kit reads it: whatever it holds, nothing is believed.

A catalog may be wrong in every field; what has the wrong type counts as not there,
and the checks of the catalog look at `raw` themselves.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from osbkit.conformance.facts import Facts

Json = dict[str, Any]


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(each for each in value if isinstance(each, str))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[Json]:
    """The objects of an array; none if it is no array."""
    if not isinstance(value, list):
        return []
    return [each for each in value if isinstance(each, dict)]


@dataclass(frozen=True, eq=False)
class Offering:
    """A service offering of the catalog; `raw` is its object."""

    raw: Json = field(repr=False)

    @property
    def id(self) -> str:
        """Its id; empty when it has none."""
        return _text(self.raw.get("id"))

    @property
    def name(self) -> str:
        """Its name; empty when it has none."""
        return _text(self.raw.get("name"))

    @property
    def requires(self) -> tuple[str, ...]:
        """What a platform must permit: syslog_drain, …"""
        return _texts(self.raw.get("requires"))

    @property
    def instances_retrievable(self) -> bool:
        """Whether instances can be fetched."""
        return self.raw.get("instances_retrievable") is True

    @property
    def bindings_retrievable(self) -> bool:
        """Whether bindings can be fetched."""
        return self.raw.get("bindings_retrievable") is True

    @property
    def context_updates(self) -> bool:
        """Whether an update may hold a context alone."""
        return self.raw.get("allow_context_updates") is True


@dataclass(frozen=True, eq=False)
class Plan:
    """A plan of the catalog, and what the kit has learned of it.

    Attributes:
        raw: its object.
        offering: to which it belongs.
        facts: what was learned by trying; filled before the checks begin.
    """

    raw: Json = field(repr=False)
    offering: Offering
    facts: Facts = field(default_factory=Facts, repr=False)

    @property
    def id(self) -> str:
        """Its id; empty when it has none."""
        return _text(self.raw.get("id"))

    @property
    def name(self) -> str:
        """Its name; empty when it has none."""
        return _text(self.raw.get("name"))

    @property
    def label(self) -> str:
        """For people: `offering/plan`."""
        return f"{self.offering.name}/{self.name}"

    @property
    def bindable(self) -> bool:
        """Its own word, or else the offering's."""
        return self._own("bindable") is True

    @property
    def updateable(self) -> bool:
        """Whether instances may leave it for another plan."""
        return self._own("plan_updateable") is True

    @property
    def rotatable(self) -> bool:
        """Whether bindings can have successors."""
        return self.raw.get("binding_rotatable") is True

    @property
    def maintenance_version(self) -> str | None:
        """`maintenance_info.version`; None without."""
        return _text(_object(self.raw.get("maintenance_info")).get("version")) or None

    @property
    def maximum_polling_duration(self) -> int | None:
        """Seconds; None when the plan does not say."""
        value = self.raw.get("maximum_polling_duration")
        return value if isinstance(value, int) and value > 0 else None

    def schema(self, resource: str, action: str) -> Json | None:
        """The schema of parameters; None without.

        Args:
            resource: service_instance or service_binding.
            action: create or update.
        """
        schemas = _object(self.raw.get("schemas"))
        place = _object(_object(schemas.get(resource)).get(action))
        return _object(place.get("parameters")) or None

    def _own(self, name: str) -> Any:
        own = self.raw.get(name)
        return self.offering.raw.get(name) if own is None else own


@dataclass(frozen=True, eq=False)
class Catalog:
    """The whole of it; `raw` is what came as JSON, of any type."""

    raw: Any = field(repr=False)
    plans: tuple[Plan, ...] = ()

    @property
    def offerings(self) -> tuple[Offering, ...]:
        """Every offering, also one without plans."""
        return tuple(
            Offering(raw) for raw in objects(_object(self.raw).get("services"))
        )

    def raw_plans(self) -> Iterator[tuple[Json, Json]]:
        """Every plan's object with its offering's."""
        for offering in self.offerings:
            for plan in objects(offering.raw.get("plans")):
                yield offering.raw, plan


def read(raw: Any, *, service: str | None = None, plan: str | None = None) -> Catalog:
    """A catalog, its plans limited to an offering or plan if one is named.

    Args:
        raw: the body of the answer, as JSON.
        service, plan: id or name.
    """
    services: Mapping[str, Any] = _object(raw)
    offerings = [Offering(each) for each in objects(services.get("services"))]
    plans = [
        Plan(each, offering)
        for offering in offerings
        if service in {None, offering.id, offering.name}
        for each in objects(offering.raw.get("plans"))
    ]
    chosen = tuple(
        each
        for each in plans
        if plan in {None, each.id, each.name} and each.id and each.offering.id
    )
    return Catalog(raw, chosen)

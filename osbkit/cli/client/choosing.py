"""Which offering and which plan a person means.

Both are given by name or by id; what is not given is taken from the catalog
where it leaves no choice. Nothing here talks to a broker.
"""

from dataclasses import dataclass
from typing import Any, TypeGuard

from osbkit.cli.terminal import Problem, Unusable

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pair:
    """A plan within its offering, as the catalog has them."""

    offering: Json
    plan: Json

    @property
    def ids(self) -> dict[str, str]:
        """The two fields of the wire."""
        return {"service_id": self.offering["id"], "plan_id": self.plan["id"]}

    def __str__(self) -> str:
        return f"{name_of(self.offering)}/{name_of(self.plan)}"


def name_of(entry: Json) -> str:
    """The name of an offering or a plan; its id if it has none."""
    return str(entry.get("name") or entry["id"])


def offerings_in(catalog: Json) -> list[Json]:
    """The offerings of a catalog's body, each with its plans.

    Raises:
        Problem: the body is no catalog.
    """
    offerings = catalog.get("services")
    if not (_are_entries(offerings) and all(map(_has_plans, offerings))):
        raise Problem(
            "The answer is not a catalog: it has no list of services with plans and"
            " ids.",
            hint="Is --url the root of a broker?",
        )
    return offerings


def _has_plans(offering: Json) -> bool:
    return _are_entries(offering.get("plans"))


def _are_entries(value: Any) -> TypeGuard[list[Json]]:
    return isinstance(value, list) and all(
        isinstance(entry, dict) and isinstance(entry.get("id"), str) for entry in value
    )


def offerings_meant(offerings: list[Json], service: str | None) -> list[Json]:
    """The offerings that `--service` can mean: all of them if it was left out.

    Raises:
        Unusable: there is none of that name or id.
    """
    meant = _named(offerings, service)
    if not meant:
        raise Unusable(
            f"There is no offering {service!r} in the catalog.",
            hint="Known offerings: " + _listed(offerings),
        )
    return meant


def pairs_meant(
    offerings: list[Json], service: str | None, plan: str | None
) -> list[Pair]:
    """Every plan that `--service` and `--plan` can mean.

    Raises:
        Unusable: there is none; the known ones are named.
    """
    meant = offerings_meant(offerings, service)
    everything = [Pair(o, p) for o in meant for p in o["plans"]]
    pairs = [Pair(o, p) for o in meant for p in _named(o["plans"], plan)]
    if not pairs:
        raise Unusable(
            f"There is no plan {plan!r} in the catalog.",
            hint="Known plans: " + (", ".join(map(str, everything)) or "none"),
        )
    return pairs


def the_one(pairs: list[Pair]) -> Pair:
    """The only plan meant.

    Raises:
        Unusable: several are.
    """
    if len(pairs) > 1:
        services = {pair.offering["id"] for pair in pairs}
        options = "--plan" if len(services) == 1 else "--service and --plan"
        raise Unusable(
            f"More than one plan can be meant: say which with {options}.",
            hint="Known plans: " + ", ".join(map(str, pairs)),
        )
    return pairs[0]


def _named(entries: list[Json], wanted: str | None) -> list[Json]:
    """Those with this id; if none, those with this name; all for None."""
    if wanted is None:
        return entries
    by_id = [entry for entry in entries if entry["id"] == wanted]
    return by_id or [entry for entry in entries if entry.get("name") == wanted]


def _listed(entries: list[Json]) -> str:
    return ", ".join(map(name_of, entries)) or "none"

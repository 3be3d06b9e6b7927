"""What goes into a request: the body, the flag, the ids of offering and plan."""

from typing import Any

from osbkit.cli.client import choosing
from osbkit.cli.client.remote import instance_path
from osbkit.cli.client.session import Session
from osbkit.cli.reading import json_object, parameters

Json = dict[str, Any]


def flag(no_async: bool) -> dict[str, str]:
    """The query that lets the broker answer 202. Spec: "Asynchronous Operations"."""
    return {} if no_async else {"accepts_incomplete": "true"}


def body_of(pairs: list[str] | None, params: str | None, context: str | None) -> Json:
    """The fields of a body that a person writes: parameters and context."""
    body: Json = {}
    given = parameters(pairs or [], params)
    if given is not None:
        body["parameters"] = given
    if context is not None:
        body["context"] = json_object(context, "--context")
    return body


def maintenance_of(pair: choosing.Pair) -> Json:
    """What a platform sends back of the catalog's maintenance_info."""
    info = pair.plan.get("maintenance_info")
    version = info.get("version") if isinstance(info, dict) else None
    return {"maintenance_info": {"version": version}} if version else {}


def ids_of(
    session: Session, instance_id: str, service: str | None, plan: str | None
) -> dict[str, str]:
    """`service_id` and `plan_id` of an instance that exists.

    From the options, from a catalog that leaves no choice, or from the broker.

    Raises:
        Unusable: none of them says.
    """
    offerings = session.offerings()
    pairs = choosing.pairs_meant(offerings, service, plan)
    if len(pairs) == 1:
        return pairs[0].ids
    told = _told(session, instance_id, offerings)
    if "service_id" in told and "plan_id" in told:
        return told
    return choosing.the_one(pairs).ids


def ids_for_update(
    session: Session, instance_id: str, service: str | None, plan: str | None
) -> tuple[dict[str, str], Json]:
    """The instance's ids as far as they are known, and the fields to send.

    last_operation wants the plan from before the update, so the new one is no
    substitute. Spec: "Polling Last Operation for Service Instances".
    """
    offerings = session.offerings()
    meant = choosing.offerings_meant(offerings, service)
    told = {} if len(meant) == 1 else _told(session, instance_id, offerings)
    told_service = told.get("service_id")
    if told_service is not None:
        meant = choosing.offerings_meant(offerings, told_service)
    if plan is None and len(meant) == 1:
        known = {"service_id": meant[0]["id"]}
        return known | told, dict(known)
    pair = choosing.the_one(choosing.pairs_meant(meant, None, plan))
    return {"service_id": pair.offering["id"]} | told, pair.ids | maintenance_of(pair)


def _told(session: Session, instance_id: str, offerings: list[Json]) -> dict[str, str]:
    """What GET says of an instance's ids; nothing where it cannot be asked."""
    if not any(offering.get("instances_retrievable") for offering in offerings):
        return {}
    answer = session.remote.ask("GET", instance_path(instance_id))
    if answer.status != 200:
        return {}
    ids = {key: answer.text(key) for key in ("service_id", "plan_id")}
    return {key: value for key, value in ids.items() if value is not None}

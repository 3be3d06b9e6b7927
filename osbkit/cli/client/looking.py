"""`catalog`, `fetch` and `poll`: nothing at the broker changes."""

from typing import Annotated, Any

import typer

from osbkit.cli.client import choosing
from osbkit.cli.client.ending import unless_failed, watched
from osbkit.cli.client.hints import expect
from osbkit.cli.client.options import (
    HOUR,
    InstanceId,
    MaxWait,
    MaybeBindingId,
    NoWait,
)
from osbkit.cli.client.polling import Operation, ask_once
from osbkit.cli.client.remote import instance_path
from osbkit.cli.client.session import Session
from osbkit.cli.terminal import Problem, print_json, print_table

Json = dict[str, Any]


def catalog(session: Session) -> None:
    """Show the offerings and plans of a broker."""
    answer = session.remote.ask("GET", "/v2/catalog")
    body = expect(answer, {200}, "give its catalog", session.remote.target)
    offerings = choosing.offerings_in(body)
    if session.as_json:
        print_json(body)
    else:
        print_table(
            ("offering", "plan", "free", "bindable", "update", "description"),
            [_plan_row(one, plan) for one in offerings for plan in one["plans"]],
        )


def _plan_row(offering: Json, plan: Json) -> tuple[str, ...]:
    """One line of the table; a plan that is silent takes its offering's word."""
    bindable = plan.get("bindable", offering.get("bindable"))
    updateable = plan.get("plan_updateable", offering.get("plan_updateable"))
    return (
        choosing.name_of(offering),
        choosing.name_of(plan),
        "yes" if plan.get("free", True) else "no",
        "yes" if bindable else "no",
        "yes" if updateable else "no",
        str(plan.get("description", "")),
    )


def fetch(
    session: Session, instance_id: InstanceId, binding_id: MaybeBindingId = None
) -> None:
    """Show an instance, or a binding with its credentials."""
    path, what = _what(session, instance_id, binding_id)
    answer = session.remote.ask("GET", path)
    body = expect(answer, {200}, f"show {what}", session.remote.target)
    session.print(_opening(what), {**body, "status": answer.status})


def poll(
    session: Session,
    instance_id: InstanceId,
    binding_id: MaybeBindingId = None,
    operation: Annotated[
        str | None, typer.Option(help="As the broker named it; else the latest.")
    ] = None,
    service_id: Annotated[str | None, typer.Option(help="Sent as a hint.")] = None,
    plan_id: Annotated[str | None, typer.Option(help="Sent as a hint.")] = None,
    no_wait: NoWait = False,
    max_wait: MaxWait = HOUR,
) -> None:
    """Follow the latest operation of an instance or a binding to its end."""
    path, what = _what(session, instance_id, binding_id)
    hints = {"service_id": service_id, "plan_id": plan_id, "operation": operation}
    asked = Operation(
        path=path,
        hints={key: value for key, value in hints.items() if value},
        deleting=True,  # it may be: then 410 is the end
    )
    if no_wait:
        standing, answer = ask_once(session.remote, asked)
        if standing is None:
            raise Problem(
                f"The broker answered {answer.phrase}, which does not tell how far the"
                " operation is.",
                fields={"status": answer.status},
            )
    else:
        standing = watched(session, asked, accepted=None, wait=max_wait)
    ended = unless_failed(standing, f"The latest operation on {what} failed.")
    session.print(_opening(what), ended)


def _what(
    session: Session, instance_id: str, binding_id: str | None
) -> tuple[str, str]:
    """The path, and the words for people; notes the ids."""
    session.about["instance_id"] = instance_id
    path = instance_path(instance_id, binding_id)
    if binding_id is None:
        return path, f"instance {instance_id}"
    session.about["binding_id"] = binding_id
    return path, f"binding {binding_id} of {instance_id}"


def _opening(words: str) -> str:
    """The words as a title; `capitalize` would change the ids."""
    return words[0].upper() + words[1:]

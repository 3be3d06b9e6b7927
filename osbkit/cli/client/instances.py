"""`provision`, `update` and `deprovision`."""

from typing import Annotated

import typer

from osbkit.cli.client import choosing
from osbkit.cli.client.asking import (
    body_of,
    flag,
    ids_for_update,
    ids_of,
    maintenance_of,
)
from osbkit.cli.client.ending import removed, settled
from osbkit.cli.client.hints import expect
from osbkit.cli.client.options import (
    HOUR,
    Context,
    InstanceId,
    MaxWait,
    NoAsync,
    NoWait,
    Pairs,
    Params,
    Plan,
    Service,
)
from osbkit.cli.client.remote import instance_path
from osbkit.cli.client.session import Session
from osbkit.cli.terminal import Unusable


def provision(
    session: Session,
    instance_id: InstanceId,
    service: Service = None,
    plan: Plan = None,
    param: Pairs = None,
    params: Params = None,
    context: Context = None,
    org: Annotated[str, typer.Option(help="organization_guid")] = "osbkit-client",
    space: Annotated[str, typer.Option(help="space_guid")] = "osbkit-client",
    no_async: NoAsync = False,
    no_wait: NoWait = False,
    max_wait: MaxWait = HOUR,
) -> None:
    """Make a service instance, and wait until it is ready."""
    session.about["instance_id"] = instance_id
    path = instance_path(instance_id)
    written = body_of(param, params, context)
    pair = choosing.the_one(choosing.pairs_meant(session.offerings(), service, plan))
    session.about.update(pair.ids)
    answer = session.remote.ask(
        "PUT",
        path,
        query=flag(no_async),
        body={
            **pair.ids,
            "organization_guid": org,
            "space_guid": space,
            **maintenance_of(pair),
            **written,
        },
    )
    action = f"provision {instance_id}"
    made = expect(answer, {200, 201, 202}, action, session.remote.target)
    ended = settled(
        session,
        answer,
        path=path,
        ids=pair.ids,
        action=action,
        wait=None if no_wait else max_wait,
    )
    session.print(f"Instance {instance_id} of {pair}", {**made, **ended})


def update(
    session: Session,
    instance_id: InstanceId,
    service: Service = None,
    plan: Annotated[
        str | None, typer.Option(help="Name or id of the plan to change to.")
    ] = None,
    param: Pairs = None,
    params: Params = None,
    context: Context = None,
    maintenance: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="maintenance_info.version to reach."),
    ] = None,
    no_async: NoAsync = False,
    no_wait: NoWait = False,
    max_wait: MaxWait = HOUR,
) -> None:
    """Change an instance's plan, parameters or context."""
    session.about["instance_id"] = instance_id
    path = instance_path(instance_id)
    written = body_of(param, params, context)
    if maintenance is not None:
        written["maintenance_info"] = {"version": maintenance}
    if not written and plan is None:
        raise Unusable(
            "There is nothing to change.",
            hint="Give --plan, -p, --params, --context or --maintenance.",
        )
    now, wanted = ids_for_update(session, instance_id, service, plan)
    session.about.update({k: v for k, v in wanted.items() if k.endswith("_id")})
    answer = session.remote.ask(
        "PATCH", path, query=flag(no_async), body={**wanted, **written}
    )
    action = f"update {instance_id}"
    made = expect(answer, {200, 202}, action, session.remote.target)
    ended = settled(
        session,
        answer,
        path=path,
        ids=now,
        action=action,
        wait=None if no_wait else max_wait,
    )
    session.print(f"Instance {instance_id}", {**made, **ended})


def deprovision(
    session: Session,
    instance_id: InstanceId,
    service: Service = None,
    plan: Plan = None,
    no_async: NoAsync = False,
    no_wait: NoWait = False,
    max_wait: MaxWait = HOUR,
) -> None:
    """Remove an instance and everything in it."""
    session.about["instance_id"] = instance_id
    path = instance_path(instance_id)
    ids = ids_of(session, instance_id, service, plan)
    answer = session.remote.ask("DELETE", path, query=ids | flag(no_async))
    ended = removed(
        session,
        answer,
        path=path,
        ids=ids,
        action=f"deprovision {instance_id}",
        wait=None if no_wait else max_wait,
    )
    session.print(f"Instance {instance_id}", ended)

"""`bind` and `unbind`. Credentials are printed here and by `fetch`, nowhere else."""

from typing import Annotated, Any

import typer

from osbkit.cli.client.asking import body_of, flag, ids_of
from osbkit.cli.client.ending import removed, settled
from osbkit.cli.client.hints import expect
from osbkit.cli.client.options import (
    HOUR,
    BindingId,
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


def bind(
    session: Session,
    instance_id: InstanceId,
    binding_id: BindingId,
    service: Service = None,
    plan: Plan = None,
    param: Pairs = None,
    params: Params = None,
    context: Context = None,
    app: Annotated[
        str | None, typer.Option(metavar="GUID", help="The application to bind to.")
    ] = None,
    predecessor: Annotated[
        str | None,
        typer.Option(metavar="BINDING_ID", help="Rotate: succeed this binding."),
    ] = None,
    no_async: NoAsync = False,
    no_wait: NoWait = False,
    max_wait: MaxWait = HOUR,
) -> None:
    """Make a binding and print its credentials."""
    session.about.update(instance_id=instance_id, binding_id=binding_id)
    path = instance_path(instance_id, binding_id)
    written = body_of(param, params, context) | _app(app)
    if predecessor is None:
        ids = ids_of(session, instance_id, service, plan)
    elif written:
        raise Unusable(
            "A rotation takes over the parameters and the app of the old binding:"
            " leave out what stands beside --predecessor."
        )
    else:  # spec "Binding Rotation": the only field that the body needs
        ids, written = {}, {"predecessor_binding_id": predecessor}
    answer = session.remote.ask(
        "PUT", path, query=flag(no_async), body={**ids, **written}
    )
    action = f"bind {binding_id}"
    made = expect(answer, {200, 201, 202}, action, session.remote.target)
    ended = settled(
        session,
        answer,
        path=path,
        ids=ids,
        action=action,
        wait=None if no_wait else max_wait,
    )
    if answer.status == 202 and not no_wait:
        fetched = session.remote.ask("GET", path)
        action = "give the new binding, which is there"
        made = made | expect(fetched, {200}, action, session.remote.target)
    session.print(f"Binding {binding_id} of {instance_id}", {**made, **ended})


def _app(guid: str | None) -> dict[str, Any]:
    """Both places of the wire: the newer one, and the one older brokers read."""
    if guid is None:
        return {}
    return {"app_guid": guid, "bind_resource": {"app_guid": guid}}


def unbind(
    session: Session,
    instance_id: InstanceId,
    binding_id: BindingId,
    service: Service = None,
    plan: Plan = None,
    no_async: NoAsync = False,
    no_wait: NoWait = False,
    max_wait: MaxWait = HOUR,
) -> None:
    """Remove a binding: its credentials stop working."""
    session.about.update(instance_id=instance_id, binding_id=binding_id)
    path = instance_path(instance_id, binding_id)
    ids = ids_of(session, instance_id, service, plan)
    answer = session.remote.ask("DELETE", path, query=ids | flag(no_async))
    ended = removed(
        session,
        answer,
        path=path,
        ids=ids,
        action=f"unbind {binding_id}",
        wait=None if no_wait else max_wait,
    )
    session.print(f"Binding {binding_id} of {instance_id}", ended)

"""What a check needs a plan to be able to do.

    plan = target.plan(wants.sync, wants.bindable)

When no plan can, the check is skipped, and the wants say why in words. Most are facts
that were learned by trying (`osbkit.conformance.learning`), not the catalog's word.
"""

from collections.abc import Callable
from dataclasses import dataclass

from osbkit.conformance.catalog import Plan


@dataclass(frozen=True)
class Want:
    """One demand on a plan.

    Attributes:
        words: ends "no plan …".
        holds: whether a plan meets it.
        slow: a slower plan is the better one, so that what runs can be looked at.
        verb: which must work for it: update, bind, unbind or deprovision; empty for
            provision. Where it is promised and does not work, that is no lack of the
            catalog (`osbkit.conformance.promises`).
    """

    words: str
    holds: Callable[[Plan], bool]
    slow: bool = False
    verb: str = ""


usable = Want(
    "whose instances can be provisioned", lambda plan: plan.facts.provision.succeeded
)
sync = Want("that provisions within the request", lambda p: p.facts.provision.sync)
gives_202 = Want(
    "that answers provisioning with 202 and succeeds",
    lambda plan: plan.facts.provision.gives_202,
    slow=True,
)
async_only = Want(
    "that is provisioned asynchronously only",
    lambda plan: plan.facts.provision.async_only and plan.facts.provision.succeeded,
)
provision_fails = Want(
    "whose provisioning begins and then fails", lambda p: p.facts.provision.fails
)

updates = Want(
    "whose instances can be updated", lambda p: p.facts.update.succeeded, verb="update"
)
update_sync = Want(
    "that updates within the request", lambda p: p.facts.update.sync, verb="update"
)
update_202 = Want(
    "that answers an update with 202 and succeeds",
    lambda plan: plan.facts.update.gives_202,
    slow=True,
    verb="update",
)
update_async_only = Want(
    "that is updated asynchronously only",
    lambda plan: plan.facts.update.async_only and plan.facts.update.succeeded,
    verb="update",
)
update_fails = Want(
    "whose update begins and then fails", lambda p: p.facts.update.fails
)
updateable = Want("with plan_updateable: true", lambda p: p.updateable)
not_updateable = Want("without plan_updateable: true", lambda p: not p.updateable)
context_updates = Want(
    "of an offering with allow_context_updates", lambda p: p.offering.context_updates
)

removable = Want(
    "whose instances can be deprovisioned",
    lambda p: p.facts.deprovision.succeeded,
    verb="deprovision",
)
deprovision_sync = Want(
    "that deprovisions within the request",
    lambda p: p.facts.deprovision.sync,
    verb="deprovision",
)
deprovision_202 = Want(
    "that answers deprovisioning with 202 and succeeds",
    lambda plan: plan.facts.deprovision.gives_202,
    slow=True,
    verb="deprovision",
)
deprovision_async_only = Want(
    "that is deprovisioned asynchronously only",
    lambda plan: plan.facts.deprovision.async_only,
    verb="deprovision",
)
deprovision_fails = Want(
    "whose deprovisioning begins and then fails", lambda p: p.facts.deprovision.fails
)

bindable = Want("with bindable: true", lambda plan: plan.bindable)
not_bindable = Want("with bindable: false", lambda plan: not plan.bindable)
binds = Want(
    "whose bindings can be made", lambda p: p.facts.bind.succeeded, verb="bind"
)
bind_sync = Want(
    "that binds within the request", lambda p: p.facts.bind.sync, verb="bind"
)
bind_202 = Want(
    "that answers binding with 202 and succeeds",
    lambda plan: plan.facts.bind.gives_202,
    slow=True,
    verb="bind",
)
bind_async_only = Want(
    "that binds asynchronously only",
    lambda plan: plan.facts.bind.async_only and plan.facts.bind.succeeded,
    verb="bind",
)
bind_fails = Want("whose binding begins and then fails", lambda p: p.facts.bind.fails)
unbinds = Want(
    "whose bindings can be removed", lambda p: p.facts.unbind.succeeded, verb="unbind"
)
unbind_sync = Want(
    "that unbinds within the request", lambda p: p.facts.unbind.sync, verb="unbind"
)
unbind_202 = Want(
    "that answers unbinding with 202 and succeeds",
    lambda plan: plan.facts.unbind.gives_202,
    slow=True,
    verb="unbind",
)
unbind_async_only = Want(
    "that unbinds asynchronously only",
    lambda plan: plan.facts.unbind.async_only,
    verb="unbind",
)
needs_app = Want(
    "whose bindings need an app", lambda plan: plan.facts.needs_app, verb="bind"
)
rotatable = Want("with binding_rotatable: true", lambda plan: plan.rotatable)
not_rotatable = Want("without binding_rotatable", lambda plan: not plan.rotatable)

retrievable = Want(
    "of an offering with instances_retrievable: true",
    lambda plan: plan.offering.instances_retrievable,
)
bindings_retrievable = Want(
    "of an offering with bindings_retrievable: true",
    lambda plan: plan.offering.bindings_retrievable,
)
maintained = Want("with maintenance_info", lambda p: p.maintenance_version is not None)
not_maintained = Want("without maintenance_info", lambda p: not p.maintenance_version)


def requires(permission: str) -> Want:
    """The offering requires a permission: syslog_drain, route_forwarding, …"""
    return Want(
        f"of an offering that requires {permission}",
        lambda plan: permission in plan.offering.requires,
    )


def schema(resource: str, action: str) -> Want:
    """The plan has a schema of parameters there.

    Args:
        resource: service_instance or service_binding.
        action: create or update.
    """
    return Want(
        f"with a schema for {action} of {resource}",
        lambda plan: plan.schema(resource, action) is not None,
    )


create_schema = schema("service_instance", "create")
update_schema = schema("service_instance", "update")
bind_schema = schema("service_binding", "create")

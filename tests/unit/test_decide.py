"""What a request means, case by case: pure decisions on real records.

Requirements proved here: PROV-04, PROV-06, PROV-09 to PROV-14, PROV-36, PROV-39,
UPD-04, UPD-19, UPD-28, BIND-04, BIND-06, BIND-08 to BIND-10, BIND-27, BIND-38,
ROT-03, DEPROV-04, DEPROV-08, DEPROV-11, UNBIND-04, UNBIND-08, UNBIND-10, UNBIND-11,
ASYNC-06, CONC-02, CONC-04, CONC-11, ORPH-01, ORPH-02.
"""

from dataclasses import replace
from typing import Any

import pytest

from osbkit.domain import (
    Binding,
    Instance,
    Json,
    Operation,
    OperationKind,
    ResourceState,
    WantedBinding,
    WantedInstance,
    WantedUpdate,
)
from osbkit.errors import (
    AsyncRequired,
    BindingConflict,
    Gone,
    InstanceConflict,
    NotThere,
    OperationInProgress,
    RequestRejected,
)
from osbkit.lifecycle.decide import (
    Begin,
    Repeat,
    Settled,
    on_bind,
    on_deprovision,
    on_provision,
    on_unbind,
    on_update,
)
from tests.store.records import a_binding, an_instance, an_operation

MINE, THEIRS = "default", "another"
PARAMETERS: Json = {"a": 1, "b": [True, {"c": None}]}
WANTED = WantedInstance(
    service_id="s-1",
    plan_id="p-1",
    organization_guid="org",
    space_guid="space",
    parameters=PARAMETERS,
)
CHANGE = WantedUpdate(service_id="s-1", parameters={"a": 2})


def instance(state: ResourceState = ResourceState.READY, **fields: Any) -> Instance:
    """An instance with the attributes of WANTED."""
    return an_instance(**{"state": state, "parameters": PARAMETERS, **fields})


READY = instance()
MAKING = instance(ResourceState.MAKING)
FAILED = instance(ResourceState.FAILED)
LEFT = instance(ResourceState.FAILED, residue=True)
GONE = instance(ResourceState.GONE, parameters={}, residue=False)


def running(kind: OperationKind, **fields: Any) -> Operation:
    """A live operation."""
    return an_operation(kind=kind, **fields)


PROVISION = running(OperationKind.PROVISION)
UPDATE = running(OperationKind.UPDATE, asked={"sent": CHANGE.sent()})
DEPROVISION = running(OperationKind.DEPROVISION)
CLEANUP = running(OperationKind.CLEANUP, asked={"of": "provision"})
RESTORE = running(OperationKind.CLEANUP, asked={"of": "update"})
SWEEP = running(OperationKind.SWEEP, asked={"of": "provision"})
BIND = running(OperationKind.BIND, binding_id="b-1", binding_generation=1)
OTHER_BIND = running(OperationKind.BIND, binding_id="b-2", binding_generation=1)
UNBIND = running(OperationKind.UNBIND, binding_id="b-1", binding_generation=1)
UNBIND_SWEEP = running(
    OperationKind.SWEEP,
    binding_id="b-1",
    binding_generation=1,
    asked={"of": "unbind"},
)


def decided(call: Any, *given: Any, **more: Any) -> Any:
    """The decision, or the class of the refusal."""
    try:
        return call(*given, **more)
    except RequestRejected as refused:
        return type(refused)


# --- PUT of an instance ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "live", "expected"),
    [
        pytest.param(None, [], Begin(1), id="an id never seen begins"),
        pytest.param(MAKING, [PROVISION], Repeat(PROVISION), id="being made: joins"),
        pytest.param(READY, [], Settled(), id="made: the record is the answer"),
        pytest.param(READY, [UPDATE], Settled(), id="made, and being updated"),
        pytest.param(READY, [BIND], Settled(), id="made, and being bound"),
        pytest.param(READY, [RESTORE], Settled(), id="an update is taken back"),
        pytest.param(READY, [DEPROVISION], OperationInProgress, id="being deleted"),
        pytest.param(LEFT, [DEPROVISION], OperationInProgress, id="halted, deleted"),
        pytest.param(FAILED, [], Begin(2), id="its creation failed: begins again"),
        pytest.param(LEFT, [], Begin(2, leftover=True), id="it left something behind"),
        pytest.param(
            LEFT, [CLEANUP], Begin(2, leftover=True), id="its clean-up still runs"
        ),
        pytest.param(GONE, [], Begin(2), id="it was deleted: begins again"),
        pytest.param(GONE, [SWEEP], Begin(2), id="deleted, and a late call is swept"),
        pytest.param(
            replace(GONE, generation=7), [], Begin(8), id="the generation counts on"
        ),
    ],
)
def test_same_put_of_an_instance(found, live, expected):
    assert decided(on_provision, found, live, WANTED, MINE) == expected


OTHERS = [
    pytest.param(replace(WANTED, service_id="s-2"), id="another offering"),
    pytest.param(replace(WANTED, plan_id="p-2"), id="another plan"),
    pytest.param(replace(WANTED, organization_guid="o"), id="another organization"),
    pytest.param(replace(WANTED, space_guid="o"), id="another space"),
    pytest.param(replace(WANTED, parameters={}), id="no parameters"),
    pytest.param(replace(WANTED, parameters=PARAMETERS | {"a": 2}), id="one changed"),
    pytest.param(replace(WANTED, parameters=PARAMETERS | {"x": None}), id="one more"),
    pytest.param(replace(WANTED, parameters={"a": 1}), id="one less"),
    pytest.param(replace(WANTED, parameters=PARAMETERS | {"a": True}), id="true for 1"),
    pytest.param(replace(WANTED, parameters=PARAMETERS | {"a": "1"}), id="text for 1"),
]


@pytest.mark.parametrize("wanted", OTHERS)
def test_put_with_other_attributes_conflicts_whether_made_or_being_made(wanted):
    for found, live in ((READY, []), (MAKING, [PROVISION]), (READY, [UPDATE])):
        assert decided(on_provision, found, live, wanted, MINE) is InstanceConflict


@pytest.mark.parametrize("wanted", OTHERS)
def test_put_with_other_attributes_on_a_free_id_begins(wanted):
    for found in (None, FAILED, GONE):
        assert isinstance(decided(on_provision, found, [], wanted, MINE), Begin)


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(replace(WANTED, context={"instance_name": "new"}), id="context"),
        pytest.param(replace(WANTED, maintenance_version="9.9"), id="maintenance"),
        pytest.param(
            replace(WANTED, parameters={"b": [True, {"c": None}], "a": 1.0}),
            id="order of keys, 1.0 for 1",
        ),
    ],
)
def test_what_changes_by_itself_does_not_count(wanted):
    assert decided(on_provision, READY, [], wanted, MINE) == Settled()


@pytest.mark.parametrize("found", [READY, MAKING], ids=["made", "being made"])
def test_put_of_an_id_that_another_platform_owns_conflicts(found):
    live = [PROVISION] if found is MAKING else []

    assert decided(on_provision, found, live, WANTED, THEIRS) is InstanceConflict


# --- PATCH ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "live", "expected"),
    [
        pytest.param(None, [], NotThere, id="unknown"),
        pytest.param(GONE, [], NotThere, id="deleted"),
        pytest.param(FAILED, [], NotThere, id="never made"),
        pytest.param(LEFT, [CLEANUP], NotThere, id="never made, being cleaned up"),
        pytest.param(MAKING, [PROVISION], OperationInProgress, id="being made"),
        pytest.param(READY, [], Begin(1), id="made: begins"),
        pytest.param(
            instance(usable=False), [], Begin(1), id="left unusable: it may be mended"
        ),
        pytest.param(
            instance(generation=3), [], Begin(3), id="works on this life of the id"
        ),
        pytest.param(READY, [UPDATE], Repeat(UPDATE), id="the same runs: joins"),
        pytest.param(
            READY,
            [replace(UPDATE, asked={"sent": replace(CHANGE, plan_id="x").sent()})],
            OperationInProgress,
            id="another update runs",
        ),
        pytest.param(READY, [DEPROVISION], OperationInProgress, id="being deleted"),
        pytest.param(READY, [BIND], OperationInProgress, id="a binding is made"),
        pytest.param(READY, [UNBIND], OperationInProgress, id="a binding is removed"),
        pytest.param(READY, [RESTORE], OperationInProgress, id="one is taken back"),
        pytest.param(READY, [SWEEP], Begin(1), id="a late call is swept"),
    ],
)
def test_patch(found, live, expected):
    assert decided(on_update, found, live, CHANGE, MINE) == expected


@pytest.mark.parametrize(
    "sent",
    [
        replace(CHANGE, parameters={"a": 2.0}),
        replace(CHANGE, parameters={"a": 2}, context=None),
    ],
)
def test_patch_is_recognised_by_its_values(sent):
    assert decided(on_update, READY, [UPDATE], sent, MINE) == Repeat(UPDATE)


@pytest.mark.parametrize(
    "sent",
    [
        replace(CHANGE, parameters={"a": True}),
        replace(CHANGE, context={}),
        replace(CHANGE, maintenance_version="1"),
        replace(CHANGE, plan_id="p-1"),
    ],
)
def test_patch_that_differs_anywhere_is_another(sent):
    assert decided(on_update, READY, [UPDATE], sent, MINE) is OperationInProgress


def test_patch_of_another_platforms_instance_finds_nothing():
    for live in ([], [UPDATE], [BIND]):
        assert decided(on_update, READY, live, CHANGE, THEIRS) is NotThere


# --- DELETE of an instance ------------------------------------------------------------


def deprovision(found: Any, live: Any, platform: str = MINE, **more: bool) -> Any:
    """Decide a DELETE; on a plan of any mode and with the flag, unless it is said."""
    given = {"async_only": False, "accepts_incomplete": True} | more
    return decided(on_deprovision, found, live, platform, **given)


@pytest.mark.parametrize(
    ("found", "live", "expected"),
    [
        pytest.param(None, [], Gone, id="never seen"),
        pytest.param(GONE, [], Gone, id="deleted before"),
        pytest.param(GONE, [SWEEP], Gone, id="deleted, a late call is swept"),
        pytest.param(FAILED, [], Gone, id="never made, nothing left"),
        pytest.param(LEFT, [], Begin(1), id="never made, something left"),
        pytest.param(
            LEFT, [CLEANUP], Begin(1, halts=(CLEANUP,)), id="takes a clean-up over"
        ),
        pytest.param(READY, [], Begin(1), id="made"),
        pytest.param(READY, [DEPROVISION], Repeat(DEPROVISION), id="the same runs"),
        pytest.param(LEFT, [DEPROVISION], Repeat(DEPROVISION), id="halted, the same"),
        pytest.param(
            MAKING, [PROVISION], Begin(1, halts=(PROVISION,)), id="halts the creation"
        ),
        pytest.param(
            READY,
            [BIND, UPDATE, OTHER_BIND],
            Begin(1, halts=(BIND, UPDATE, OTHER_BIND)),
            id="halts all that runs",
        ),
        pytest.param(instance(generation=4), [], Begin(4), id="this life of the id"),
    ],
)
def test_delete_of_an_instance(found, live, expected):
    assert deprovision(found, live) == expected


@pytest.mark.parametrize(
    ("found", "live", "expected"),
    [
        pytest.param(READY, [], AsyncRequired, id="healthy: nothing is recorded"),
        pytest.param(MAKING, [PROVISION], AsyncRequired, id="being made"),
        pytest.param(LEFT, [], Begin(1), id="failed: it is our own account"),
        pytest.param(
            LEFT, [CLEANUP], Begin(1, halts=(CLEANUP,)), id="failed, being cleaned up"
        ),
        pytest.param(READY, [DEPROVISION], Repeat(DEPROVISION), id="the same runs"),
        pytest.param(None, [], Gone, id="never seen"),
        pytest.param(GONE, [], Gone, id="deleted before"),
    ],
)
def test_delete_without_the_flag_on_an_async_plan(found, live, expected):
    decision = deprovision(found, live, async_only=True, accepts_incomplete=False)

    assert decision == expected


@pytest.mark.parametrize("accepts", [True, False])
def test_flag_does_not_matter_where_the_plan_is_not_async(accepts):
    assert deprovision(READY, [], accepts_incomplete=accepts) == Begin(1)
    assert deprovision(READY, [], async_only=True) == Begin(1)


def test_delete_of_another_platforms_instance_finds_nothing():
    for found, live in ((READY, []), (MAKING, [PROVISION]), (READY, [DEPROVISION])):
        assert deprovision(found, live, THEIRS) is Gone


# --- PUT of a binding -----------------------------------------------------------------

ROLE: Json = {"role": "reader"}
ASKED = WantedBinding(
    service_id="s-1",
    plan_id="p-1",
    parameters=ROLE,
    app_guid="app",
    bind_resource={"app_guid": "app", "route": "r.example"},
)


def binding(state: ResourceState = ResourceState.READY, **fields: Any) -> Binding:
    """A binding with the attributes of ASKED."""
    given = {
        "state": state,
        "parameters": ROLE,
        "app_guid": "app",
        "bind_resource": {"route": "r.example"},
    }
    return a_binding(**given | fields)


BOUND = binding()
BINDING = binding(ResourceState.MAKING)
BIND_FAILED = binding(ResourceState.FAILED)
BIND_LEFT = binding(ResourceState.FAILED, residue=True)
UNBOUND = binding(ResourceState.GONE, parameters={}, bind_resource=None)
OLD_LIFE = binding(instance_generation=1, generation=4)
BIND_CLEANUP = replace(BIND, kind=OperationKind.CLEANUP, asked={"of": "bind"})
BIND_SWEEP = replace(BIND, kind=OperationKind.SWEEP, asked={"of": "bind"})


@pytest.mark.parametrize(
    ("there", "found", "live", "expected"),
    [
        pytest.param(None, None, [], NotThere, id="no such instance"),
        pytest.param(GONE, None, [], NotThere, id="the instance was deleted"),
        pytest.param(GONE, BOUND, [], NotThere, id="deleted, the binding was there"),
        pytest.param(FAILED, None, [], NotThere, id="the instance was never made"),
        pytest.param(MAKING, None, [PROVISION], OperationInProgress, id="being made"),
        pytest.param(READY, None, [], Begin(1), id="a new id begins"),
        pytest.param(instance(usable=False), None, [], Begin(1), id="an unusable one"),
        pytest.param(READY, BINDING, [BIND], Repeat(BIND), id="being made: joins"),
        pytest.param(READY, BOUND, [], Settled(), id="made: the record is the answer"),
        pytest.param(READY, BOUND, [UPDATE], Settled(), id="made, instance updated"),
        pytest.param(READY, BOUND, [UNBIND], OperationInProgress, id="being removed"),
        pytest.param(READY, None, [UPDATE], OperationInProgress, id="instance updated"),
        pytest.param(
            READY, None, [DEPROVISION], OperationInProgress, id="instance deleted"
        ),
        pytest.param(
            READY, None, [RESTORE], OperationInProgress, id="an update taken back"
        ),
        pytest.param(READY, None, [OTHER_BIND], Begin(1), id="beside another binding"),
        pytest.param(READY, BIND_FAILED, [], Begin(2), id="its creation failed"),
        pytest.param(
            READY, BIND_LEFT, [], Begin(2, leftover=True), id="it left something"
        ),
        pytest.param(
            READY,
            BIND_LEFT,
            [BIND_CLEANUP],
            Begin(2, leftover=True),
            id="its clean-up still runs",
        ),
        pytest.param(READY, UNBOUND, [], Begin(2), id="it was removed"),
        pytest.param(READY, UNBOUND, [BIND_SWEEP], Begin(2), id="removed, swept"),
        pytest.param(
            instance(generation=2), OLD_LIFE, [], Begin(5), id="of an earlier life"
        ),
    ],
)
def test_same_put_of_a_binding(there, found, live, expected):
    assert decided(on_bind, there, found, live, ASKED, MINE) == expected


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(replace(ASKED, parameters={}), id="no parameters"),
        pytest.param(replace(ASKED, parameters={"role": "w"}), id="another role"),
        pytest.param(replace(ASKED, app_guid="other"), id="another application"),
        pytest.param(replace(ASKED, app_guid=None), id="no application"),
        pytest.param(replace(ASKED, bind_resource=None), id="no route"),
        pytest.param(replace(ASKED, bind_resource={"route": "x"}), id="another route"),
        pytest.param(replace(ASKED, plan_id="p-9"), id="another plan"),
        pytest.param(replace(ASKED, service_id="s-9"), id="another offering"),
        pytest.param(replace(ASKED, predecessor="b-0"), id="a rotation"),
    ],
)
def test_put_of_a_binding_with_other_attributes_conflicts(wanted):
    for found, live in ((BOUND, []), (BINDING, [BIND])):
        assert decided(on_bind, READY, found, live, wanted, MINE) is BindingConflict


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        pytest.param(READY, replace(ASKED, context={"a": 1}), id="another context"),
        pytest.param(
            READY,
            replace(ASKED, bind_resource={"route": "r.example", "x": 1}),
            id="another field of the platform's",
        ),
        pytest.param(
            instance(plan_id="p-2"),
            replace(ASKED, plan_id="p-2"),
            id="the plan that the instance has now",
        ),
        pytest.param(instance(plan_id="p-2"), ASKED, id="the plan that it had then"),
    ],
)
def test_put_of_a_binding_that_differs_in_what_does_not_count(there, wanted):
    assert decided(on_bind, there, BOUND, [], wanted, MINE) == Settled()


def test_rotation_is_recognised_by_its_predecessor():
    rotated = binding(predecessor="b-0")
    bare = WantedBinding(
        service_id=None, plan_id=None, parameters={}, predecessor="b-0"
    )

    assert decided(on_bind, READY, rotated, [], bare, MINE) == Settled()
    for other in (replace(bare, predecessor="b-9"), ASKED):
        assert decided(on_bind, READY, rotated, [], other, MINE) is BindingConflict


def test_bind_on_another_platforms_instance_finds_nothing():
    assert decided(on_bind, READY, BOUND, [], ASKED, THEIRS) is NotThere


# --- DELETE of a binding --------------------------------------------------------------


def unbind(
    there: Any, found: Any, live: Any, platform: str = MINE, **more: bool
) -> Any:
    """Decide a DELETE; on a plan of any mode and with the flag, unless it is said."""
    given = {"async_only": False, "accepts_incomplete": True} | more
    return decided(on_unbind, there, found, live, platform, **given)


@pytest.mark.parametrize(
    ("there", "found", "live", "expected"),
    [
        pytest.param(None, None, [], Gone, id="no such instance"),
        pytest.param(READY, None, [], Gone, id="no such binding"),
        pytest.param(GONE, BOUND, [], Gone, id="gone with its instance"),
        pytest.param(READY, UNBOUND, [], Gone, id="removed before"),
        pytest.param(READY, UNBOUND, [UNBIND_SWEEP], Gone, id="removed, and swept"),
        pytest.param(READY, UNBOUND, [DEPROVISION], Gone, id="revoked by a deletion"),
        pytest.param(READY, UNBOUND, [UPDATE], Gone, id="removed before an update"),
        pytest.param(READY, BIND_FAILED, [], Gone, id="never made, nothing left"),
        pytest.param(READY, BIND_LEFT, [], Begin(1), id="never made, something left"),
        pytest.param(
            READY,
            BIND_LEFT,
            [BIND_CLEANUP],
            Begin(1, halts=(BIND_CLEANUP,)),
            id="takes a clean-up over",
        ),
        pytest.param(READY, BOUND, [], Begin(1), id="made"),
        pytest.param(READY, BOUND, [OTHER_BIND], Begin(1), id="beside another"),
        pytest.param(READY, BOUND, [UNBIND], Repeat(UNBIND), id="the same runs"),
        pytest.param(
            READY, BINDING, [BIND], Begin(1, halts=(BIND,)), id="halts the creation"
        ),
        pytest.param(READY, BOUND, [UPDATE], OperationInProgress, id="updated"),
        pytest.param(READY, BOUND, [DEPROVISION], OperationInProgress, id="deleted"),
        pytest.param(READY, BOUND, [RESTORE], OperationInProgress, id="taken back"),
        pytest.param(
            instance(generation=2),
            replace(OLD_LIFE, residue=False),
            [],
            Gone,
            id="of an earlier life of the instance",
        ),
    ],
)
def test_delete_of_a_binding(there, found, live, expected):
    assert unbind(there, found, live) == expected


@pytest.mark.parametrize(
    ("found", "live", "expected"),
    [
        pytest.param(BOUND, [], AsyncRequired, id="healthy: nothing is recorded"),
        pytest.param(BINDING, [BIND], AsyncRequired, id="being made"),
        pytest.param(BIND_LEFT, [], Begin(1), id="failed: it is our own account"),
        pytest.param(BOUND, [UNBIND], Repeat(UNBIND), id="the same runs"),
        pytest.param(None, [], Gone, id="never seen"),
    ],
)
def test_delete_of_a_binding_without_the_flag_on_an_async_plan(found, live, expected):
    decision = unbind(READY, found, live, async_only=True, accepts_incomplete=False)

    assert decision == expected


def test_delete_of_another_platforms_binding_finds_nothing():
    for found, live in ((BOUND, []), (BINDING, [BIND]), (BOUND, [UNBIND])):
        assert unbind(READY, found, live, THEIRS) is Gone

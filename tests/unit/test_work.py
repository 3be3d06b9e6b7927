"""What a backend is called with: the same for a fresh operation and a resumed one."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel

from osbkit.backends.contract import Predecessor, ServiceBackend
from osbkit.backends.registry import Registry
from osbkit.domain import (
    Binding,
    Identity,
    Instance,
    OperationKind,
    ResourceState,
    resource_name,
)
from osbkit.operations.work import Requests, Work, load
from osbkit.store import bindings, instances, operations
from osbkit.store.migrate import upgrade_file
from osbkit.store.sealing import KeyRing
from osbkit.store.sqlite import make_engine
from tests.store.records import a_binding, an_instance, an_operation

BROKER = "a-broker"
WHO = {"platform": "cloudfoundry", "value": {"user_id": "u"}}
ASKED: dict[str, Any] = {"seed": "00" * 32, "identity": WHO}


class Size(BaseModel):
    size: int = 1


class Role(BaseModel):
    role: str = "reader"


class Queue(ServiceBackend[Size, Role]):
    """Its models are what counts."""

    async def provision(self, request: Any, run: Any) -> None: ...

    async def deprovision(self, request: Any, run: Any) -> None: ...


REQUESTS = Requests(BROKER, Registry({"queue": Queue()}))
INSTANCE = an_instance(
    state=ResourceState.READY,
    generation=2,
    parameters={"size": 3},
    context={"platform": "cf"},
    facts={"port": 1},
    maintenance_version="1.0.0",
)
BINDING = a_binding(
    state=ResourceState.READY,
    generation=3,
    instance_generation=2,
    parameters={"role": "writer"},
    context={"app": "a"},
    app_guid="app",
    bind_resource={"app_guid": "app"},
    facts={"user": "u"},
)


def work(
    kind: OperationKind,
    instance: Instance = INSTANCE,
    binding: Binding | None = None,
    **fields: Any,
) -> Work:
    """An operation on the present life of what it names."""
    given: dict[str, Any] = {"generation": instance.generation, "asked": ASKED}
    if binding is not None:
        given["binding_id"] = binding.binding_id
        given["binding_generation"] = binding.generation
    operation = an_operation(kind=kind, **given | fields)
    return Work(operation=operation, instance=instance, binding=binding)


def test_provision_says_what_is_wanted_where_and_by_whom():
    request = REQUESTS.provision(work(OperationKind.PROVISION))

    assert request.name == resource_name(BROKER, "i-1", 2)
    assert (request.offering, request.plan) == ("queue", "tiny")
    assert request.parameters == Size(size=3)
    assert request.identity == Identity("cloudfoundry", {"user_id": "u"})
    assert (request.organization_guid, request.space_guid) == ("org", "space")
    assert (request.platform, request.context) == ("default", {"platform": "cf"})
    assert (request.facts, request.maintenance_version) == ({"port": 1}, "1.0.0")


def test_platform_that_says_nobody_acts_for_nobody():
    request = REQUESTS.provision(work(OperationKind.PROVISION, asked={}))

    assert request.identity is None


# --- update -------------------------------------------------------------------------

TARGET = {
    "target": {"plan_id": "p-2", "plan": "large", "parameters": {"size": 9}},
    "changed": ["plan", "parameters"],
}


def test_update_is_given_what_is_to_be_and_what_was():
    request = REQUESTS.update(work(OperationKind.UPDATE, asked=ASKED | TARGET))

    assert (request.plan, request.parameters) == ("large", Size(size=9))
    assert request.changed == {"plan", "parameters"}
    assert (request.previous.plan, request.previous.parameters) == (
        "tiny",
        Size(size=3),
    )
    assert request.name == request.previous.name


def test_restore_is_the_same_update_the_other_way_round():
    restored = REQUESTS.restore(work(OperationKind.CLEANUP, asked=ASKED | TARGET))

    assert (restored.plan, restored.parameters) == ("tiny", Size(size=3))
    assert (restored.previous.plan, restored.previous.parameters) == (
        "large",
        Size(size=9),
    )
    assert restored.changed == {"plan", "parameters"}


# --- bind ---------------------------------------------------------------------------


def test_bind_is_given_the_instance_and_the_binding():
    request = REQUESTS.bind(work(OperationKind.BIND, binding=BINDING))

    assert request.name == resource_name(BROKER, "i-1", 2, "b-1", 3)
    assert request.parameters == Role(role="writer")
    assert request.context == {"app": "a"}
    assert (request.app_guid, request.bind_resource) == ("app", {"app_guid": "app"})
    assert request.instance == REQUESTS.view(INSTANCE)
    assert request.instance.name == resource_name(BROKER, "i-1", 2)
    assert (request.facts, request.predecessor) == ({"port": 1}, None)


@pytest.mark.parametrize(
    ("asked", "generation"),
    [
        pytest.param({"predecessor_generation": 4}, 4, id="recorded"),
        pytest.param({}, 1, id="not recorded"),
    ],
)
def test_successor_is_given_the_name_of_its_predecessor(asked, generation):
    successor = replace(BINDING, predecessor="b-0")

    request = REQUESTS.bind(
        work(OperationKind.BIND, binding=successor, asked=ASKED | asked)
    )

    assert request.predecessor == Predecessor(
        binding_id="b-0", name=resource_name(BROKER, "i-1", 2, "b-0", generation)
    )


# --- removals -----------------------------------------------------------------------


def test_deprovision_of_the_present_life_is_given_its_facts():
    request = REQUESTS.deprovision(work(OperationKind.DEPROVISION))

    assert request.name == resource_name(BROKER, "i-1", 2)
    assert (request.facts, request.context) == ({"port": 1}, {"platform": "cf"})
    assert (request.offering, request.plan) == ("queue", "tiny")


def test_clean_up_of_a_former_life_works_from_its_own_name_alone():
    """What the row says now is of another life, on another plan perhaps."""
    asked = {"was": {"offering": "queue", "plan": "large"}}

    request = REQUESTS.deprovision(
        work(OperationKind.CLEANUP, generation=1, asked=asked)
    )

    assert request.name == resource_name(BROKER, "i-1", 1)
    assert (request.facts, request.context) == (None, None)
    assert (request.offering, request.plan) == ("queue", "large")


def test_unbind_is_given_the_facts_of_both():
    request = REQUESTS.unbind(work(OperationKind.UNBIND, binding=BINDING))

    assert request.name == resource_name(BROKER, "i-1", 2, "b-1", 3)
    assert request.instance_name == resource_name(BROKER, "i-1", 2)
    assert (request.facts, request.binding_facts) == ({"port": 1}, {"user": "u"})
    assert (request.binding_id, request.context) == ("b-1", {"app": "a"})


@pytest.mark.parametrize(
    ("fields", "facts"),
    [
        pytest.param({"binding_generation": 2}, ({"port": 1}, None), id="of a binding"),
        pytest.param({"generation": 1}, (None, None), id="of an instance"),
    ],
)
def test_unbind_of_a_former_life_is_given_no_facts_of_this_one(fields, facts):
    request = REQUESTS.unbind(work(OperationKind.CLEANUP, binding=BINDING, **fields))

    assert (request.facts, request.binding_facts) == facts
    assert request.context is None
    assert request.name != resource_name(BROKER, "i-1", 2, "b-1", 3)


def test_deletion_revokes_each_binding_by_its_own_name():
    deletion = work(OperationKind.DEPROVISION)

    request = REQUESTS.unbind(deletion, BINDING)

    assert request == REQUESTS.unbind(work(OperationKind.UNBIND, binding=BINDING))


# --- what a later start finds -------------------------------------------------------


@pytest.fixture
def db(tmp_path):
    path = tmp_path / "work.db"
    upgrade_file(path)
    engine = make_engine(path, KeyRing({"test": bytes(32)}))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def test_resumed_operation_finds_its_rows_and_waits_for_halted_calls(db):
    instances.add(db, INSTANCE)
    bindings.add(db, BINDING)
    fresh = work(OperationKind.BIND, binding=BINDING)

    assert load(db, fresh.operation) == fresh
    halted = replace(fresh.operation, id="op-9", owner="a", live_key="halted")
    operations.add(db, halted)
    operations.halt(db, halted, by=fresh.operation.id, text="Deleted.", now=1)
    assert load(db, fresh.operation) == replace(fresh, waits=True)


def test_resumed_deletion_finds_the_bindings_of_this_life(db):
    instances.add(db, INSTANCE)
    bindings.add(db, BINDING)
    bindings.add(db, a_binding(2, instance_generation=1))
    bindings.add(db, a_binding(3, instance_id="i-2", instance_generation=2))

    found = load(db, work(OperationKind.DEPROVISION).operation)

    assert found is not None
    assert (found.instance, found.binding) == (INSTANCE, None)
    assert found.bindings == (BINDING,)


def test_resumed_operation_of_what_is_forgotten_finds_nothing(db):
    assert load(db, work(OperationKind.DEPROVISION).operation) is None

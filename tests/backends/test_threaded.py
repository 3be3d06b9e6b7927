"""Blocking backends: what a thread sees, and when its call counts as ended."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, TypeVar

import pytest
from pydantic import BaseModel

from osbkit import (
    AnyParameters,
    Description,
    Found,
    NoParameters,
    ProvisionRequest,
    Refused,
    ServiceBackend,
)
from osbkit.backends.contract import BrokerInfo, DeprovisionRequest, InstanceView
from osbkit.backends.registry import Registry, models_of, writes
from osbkit.backends.threaded import (
    BlockingBackend,
    BlockingRun,
    Cancelled,
    threaded,
)
from osbkit.errors import BackendsInvalid, LeaseLost
from tests.backends.runs import KeptRun, to_deprovision, to_provision
from tests.flows.serving import a_catalog, queue, soon, until

Work = Callable[[Any, BlockingRun], Any]


class Size(BaseModel, extra="forbid"):
    """Parameters of an instance."""

    size: int = 1


class Small(Size):
    """Parameters on the plan `sync`."""


class Plain(BlockingBackend[Any, Any]):
    """Provisions as a test says; notes in which threads it was called."""

    def __init__(self, work: Work = lambda request, run: None) -> None:
        self._work = work
        self.threads: dict[str, int] = {}

    def _note(self, verb: str) -> None:
        self.threads[verb] = threading.get_ident()

    def open(self) -> None:
        self._note("open")

    def close(self) -> None:
        self._note("close")

    def check(self, request: Any) -> None:
        self._note("check")
        raise Refused("Not today.")

    def describe(self, instance: InstanceView[Any]) -> Description:
        self._note("describe")
        return Description(dashboard_url="https://dashboard.example")

    def provision(self, request: ProvisionRequest[Any], run: BlockingRun) -> Any:
        self._note("provision")
        return self._work(request, run)

    def deprovision(self, request: DeprovisionRequest, run: BlockingRun) -> None:
        self._note("deprovision")

    def inventory(self) -> Iterator[Found]:
        self._note("inventory")
        yield Found(name="osb-1")
        yield Found(name="osb-2")

    def ping(self) -> None:
        self._note("ping")


class Listing(Plain):
    """Says at once what exists, and of its bindings too."""

    lists_bindings = True

    def inventory(self) -> list[Found]:  # type: ignore[override]
        return [Found(name="osb-1"), Found(name="osb-2", kind="binding")]


class Gate:
    """Keeps threads inside until it is opened."""

    def __init__(self) -> None:
        self.inside = 0
        self.cancelled: list[bool] = []
        self._open = threading.Event()

    def open(self) -> None:
        """Let every thread go on."""
        self._open.set()

    def __call__(self, request: Any, run: BlockingRun) -> Any:
        self.inside += 1
        assert self._open.wait(20)
        self.cancelled.append(run.cancelled)
        return {"made": request.name}


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate that no thread outlives."""
    made = Gate()
    yield made
    made.open()


async def test_a_list_is_an_inventory_as_well() -> None:
    backend = threaded(Listing(lambda request, run: None))

    assert [one.name async for one in backend.inventory()] == ["osb-1", "osb-2"]
    assert backend.lists_bindings
    assert not threaded(Plain(lambda request, run: None)).lists_bindings


# --- the threads --------------------------------------------------------------------


async def test_every_method_but_describe_runs_in_a_thread() -> None:
    author = Plain(lambda request, run: {"of": request.name})
    backend = threaded(author)
    backend.broker = BrokerInfo(id="broker", public_url="http://broker")
    here = threading.get_ident()

    await backend.open()
    facts = await backend.provision(to_provision(), KeptRun())
    await backend.deprovision(to_deprovision(), KeptRun())
    with pytest.raises(Refused, match="Not today"):
        await backend.check(to_provision())
    found = [one.name async for one in backend.inventory()]
    await backend.ping()
    view: Any = None
    assert backend.describe(view).dashboard_url == "https://dashboard.example"
    await backend.close()

    assert facts == {"of": "osb-1"}
    assert found == ["osb-1", "osb-2"]
    assert author.broker.id == "broker"
    assert author.threads.pop("describe") == here
    assert author.threads.keys() == {
        "open",
        "close",
        "check",
        "provision",
        "deprovision",
        "inventory",
        "ping",
    }
    assert here not in author.threads.values()


class Hanging(Plain):
    """A service that does not answer."""

    def __init__(self) -> None:
        super().__init__(lambda request, run: None)
        self.inside = 0
        self.answer = threading.Event()

    def ping(self) -> None:
        self.inside += 1
        self.answer.wait(30)


async def test_probes_that_are_given_up_do_not_gather_threads() -> None:
    author = Hanging()
    backend = threaded(author, threads=2)
    for _ in range(5):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(backend.ping(), 0.01)
    inside = author.inside
    author.answer.set()
    await soon(backend.ping())

    assert inside == 2


async def test_as_many_calls_run_at_once_as_there_are_threads(gate: Gate) -> None:
    backend = threaded(Plain(gate), threads=2)
    calls = [
        asyncio.create_task(backend.provision(to_provision(f"osb-{n}"), KeptRun()))
        for n in range(3)
    ]
    await until(lambda: gate.inside == 2)
    await asyncio.sleep(0.01)
    assert gate.inside == 2

    await soon(backend.ping())  # what is short does not wait behind what is long
    gate.open()

    assert await soon(asyncio.gather(*calls)) == [
        {"made": "osb-0"},
        {"made": "osb-1"},
        {"made": "osb-2"},
    ]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        pytest.param(Refused("No."), Refused, id="a word for the user"),
        pytest.param(OSError("disk"), OSError, id="anything else"),
        pytest.param(StopIteration(), RuntimeError, id="one that no future can hold"),
        pytest.param(SystemExit(1), RuntimeError, id="one that would end the loop"),
    ],
)
async def test_what_a_thread_raises_reaches_the_caller(
    error: BaseException, raised: type[Exception]
) -> None:
    def work(request: Any, run: BlockingRun) -> None:
        raise error

    with pytest.raises(raised):
        await threaded(Plain(work)).provision(to_provision(), KeptRun())


# --- the run ------------------------------------------------------------------------


async def test_a_thread_tells_its_progress_and_knows_its_run() -> None:
    run = KeptRun()
    seen: list[Any] = []

    def work(request: Any, blocking: BlockingRun) -> None:
        blocking.progress("Half of it.", percent=50, poll_after=3)
        seen.extend([blocking.id, blocking.attempt, blocking.deadline])
        seen.append(blocking.secret("password", length=16))
        seen.append(blocking.cancelled)
        seen.append(blocking.wait(0))

    await threaded(Plain(work)).provision(to_provision(), run)

    assert run.told == [("Half of it.", 50, 3)]
    secret = "passwordpassword"
    assert seen == [run.id, run.attempt, run.deadline, secret, False, False]


async def test_a_step_is_done_once_and_in_the_thread_of_its_call() -> None:
    run = KeptRun()
    made: list[tuple[int, int]] = []

    def make(number: int) -> int:
        made.append((number, threading.get_ident()))
        return number + 1

    def work(request: Any, blocking: BlockingRun) -> dict[str, int]:
        made.append((0, threading.get_ident()))
        first = blocking.step("one", make, 1)
        return {"first": first, "again": blocking.step("one", make, 5)}

    facts = await threaded(Plain(work)).provision(to_provision(), run)

    assert facts == {"first": 2, "again": 2}
    assert run.steps == {"one": 2}
    assert [number for number, _ in made] == [0, 1]
    assert len({thread for _, thread in made}) == 1


async def test_a_step_that_fails_raises_in_the_thread_and_is_not_kept() -> None:
    run = KeptRun()
    caught: list[BaseException] = []

    def broken() -> None:
        raise OSError("disk")

    def work(request: Any, blocking: BlockingRun) -> None:
        try:
            blocking.step("one", broken)
        except OSError as error:
            caught.append(error)

    await threaded(Plain(work)).provision(to_provision(), run)

    assert len(caught) == 1
    assert run.steps == {}


async def test_a_step_that_cannot_be_stored_raises_in_the_thread() -> None:
    run = KeptRun()
    run.breaks = LeaseLost("claimed by another")

    def work(request: Any, blocking: BlockingRun) -> None:
        blocking.step("one", lambda: 1)

    with pytest.raises(LeaseLost):
        await threaded(Plain(work)).provision(to_provision(), run)


# --- a call that is to return -------------------------------------------------------


async def test_a_cancelled_call_ends_when_its_thread_has_returned(gate: Gate) -> None:
    backend = threaded(Plain(gate))
    call = asyncio.create_task(backend.provision(to_provision(), KeptRun()))
    await until(lambda: gate.inside)

    for _ in range(3):
        call.cancel()
        await asyncio.sleep(0.005)
        assert not call.done()
    gate.open()

    with pytest.raises(asyncio.CancelledError):
        await soon(call)
    assert gate.cancelled == [True]


async def test_a_thread_that_listens_returns_as_soon_as_it_is_told() -> None:
    inside = threading.Event()
    waited: list[bool] = []

    def work(request: Any, run: BlockingRun) -> None:
        inside.set()
        waited.append(run.wait(20))
        run.progress("Still here.")

    run = KeptRun()
    call = asyncio.create_task(threaded(Plain(work)).provision(to_provision(), run))
    await until(inside.is_set)
    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await soon(call)
    assert waited == [True]
    assert run.told == []


async def test_progress_and_steps_end_a_call_that_is_to_return(gate: Gate) -> None:
    ended: list[str] = []

    def work(request: Any, run: BlockingRun) -> None:
        gate(request, run)
        for name, go_on in (
            ("progress", lambda: run.progress("More.")),
            ("step", lambda: run.step("one", ended.append, "never")),
        ):
            try:
                go_on()
            except Cancelled:
                ended.append(name)
        raise OSError("counts for nothing")

    backend = threaded(Plain(work))
    call = asyncio.create_task(backend.provision(to_provision(), KeptRun()))
    await until(lambda: gate.inside)
    call.cancel()
    await asyncio.sleep(0)
    gate.open()

    with pytest.raises(asyncio.CancelledError):
        await soon(call)
    assert ended == ["progress", "step"]


async def test_a_call_that_waits_for_a_thread_is_cancelled_at_once(gate: Gate) -> None:
    backend = threaded(Plain(gate), threads=1)
    first = asyncio.create_task(backend.provision(to_provision("osb-1"), KeptRun()))
    await until(lambda: gate.inside)
    second = asyncio.create_task(backend.provision(to_provision("osb-2"), KeptRun()))
    await asyncio.sleep(0)
    second.cancel()

    with pytest.raises(asyncio.CancelledError):
        await soon(second)
    assert not first.done()
    gate.open()
    assert await soon(first) == {"made": "osb-1"}


async def test_a_stop_does_not_wait_for_a_thread_that_never_returns(
    gate: Gate,
) -> None:
    author = Plain(gate)
    backend = threaded(author)
    backend.broker = BrokerInfo(id="broker", public_url="")
    await backend.open()
    call = asyncio.create_task(backend.provision(to_provision(), KeptRun()))
    await until(lambda: gate.inside)
    call.cancel()
    await asyncio.sleep(0)

    await backend.close()

    with pytest.raises(asyncio.CancelledError):
        await soon(call)
    assert gate.cancelled == []


async def test_one_backend_serves_one_broker_after_another() -> None:
    backend = threaded(Plain(lambda request, run: {"of": request.name}))
    backend.broker = BrokerInfo(id="broker", public_url="")

    for _ in range(2):
        await backend.open()
        assert await backend.provision(to_provision(), KeptRun()) == {"of": "osb-1"}
        await backend.close()


# --- what the registry reads of it --------------------------------------------------

P = TypeVar("P", bound=BaseModel)


class Half(BlockingBackend[P, NoParameters]):
    """Leaves the instance's parameters open."""

    def provision(self, request: ProvisionRequest[P], run: BlockingRun) -> None:
        """Nothing."""

    def deprovision(self, request: DeprovisionRequest, run: BlockingRun) -> None:
        """Nothing."""


class Whole(Half[Size]):
    """Says which."""

    plan_parameters: ClassVar = {"sync": Small}


class Further(Whole):
    """Says nothing more."""


class Open(ServiceBackend):
    """Without models."""

    async def provision(self, request: Any, run: Any) -> None:
        """Nothing."""

    async def deprovision(self, request: Any, run: Any) -> None:
        """Nothing."""


class Swapped(ServiceBackend[NoParameters, P]):
    """Names the first of the two only."""


class Both(Swapped[Size], Open):
    """Names the second."""


@pytest.mark.parametrize(
    ("backend", "models"),
    [
        pytest.param(threaded(Whole()), (Size, NoParameters), id="threaded"),
        pytest.param(threaded(Further()), (Size, NoParameters), id="inherited"),
        pytest.param(threaded(Half()), (AnyParameters, NoParameters), id="left open"),
        pytest.param(threaded(Plain()), (AnyParameters, AnyParameters), id="Any"),
        pytest.param(Open(), (AnyParameters, AnyParameters), id="none"),
        pytest.param(Both(), (NoParameters, Size), id="one class in between"),
    ],
)
def test_models_are_found_through_adapters_and_classes_in_between(
    backend: ServiceBackend[Any, Any], models: tuple[type, type]
) -> None:
    assert models_of(backend) == models


def test_verbs_and_plan_parameters_are_those_of_the_author() -> None:
    backend = threaded(Whole())
    registry = Registry({"queue": backend})

    assert writes(backend, "provision")
    assert not any(writes(backend, v) for v in ("update", "bind", "check", "describe"))
    assert not registry.checks("queue")
    assert registry.instance_model("queue", "sync") is Small
    assert registry.instance_model("queue", "auto") is Size


def test_verbs_that_are_missing_name_the_class_the_author_wrote() -> None:
    registry = Registry({"queue": threaded(Whole())})

    with pytest.raises(BackendsInvalid) as refused:
        registry.require_fit(a_catalog(queue()))

    findings = refused.value.findings
    assert "Whole (plan queue/sync) has no method bind" in findings[0]
    assert {"bind", "unbind", "update"} == {
        one.split("no method ")[1].split(":")[0] for one in findings
    }


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        pytest.param(Whole(), "'queue' blocks: give threaded", id="not wrapped"),
        pytest.param(Open, "not a ServiceBackend: subclass it", id="a class"),
        pytest.param(object(), "not a ServiceBackend: subclass it", id="anything"),
    ],
)
def test_what_is_no_backend_is_a_finding_that_names_the_fix(
    given: Any, sentence: str
) -> None:
    with pytest.raises(BackendsInvalid) as refused:
        Registry({"queue": given}).require_fit(a_catalog(queue()))

    assert [one for one in refused.value.findings if sentence in one]
    assert len(refused.value.findings) == 1


def test_attributes_of_the_author_count() -> None:
    class Serial(Half[Size]):
        parallel_binds = False
        requires_app = True

    backend = threaded(Serial())

    assert (backend.parallel_binds, backend.requires_app) == (False, True)


# --- what cannot be -----------------------------------------------------------------


def test_a_method_that_is_async_is_refused_with_the_fix() -> None:
    class Async(Half[Size]):
        async def ping(self) -> None:  # type: ignore[override]
            """Not here."""

    with pytest.raises(TypeError, match=r"Async\.ping is async: write it as plain"):
        threaded(Async())


def test_at_least_one_thread_is_needed() -> None:
    with pytest.raises(ValueError, match="threads must be at least 1"):
        threaded(Whole(), threads=0)

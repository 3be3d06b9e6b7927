"""The contract of every backend, as a suite of tests.

    class TestMailboxes(BackendContract):
        plan = "box"
        refusals = (smtplib.SMTPAuthenticationError,)

        @property
        def address(self): return SERVER.host, SERVER.port
        def backend(self, host, port): return Mailboxes(f"http://{host}:{port}")
        def client(self, credentials): return mailbox_client(credentials)
        def trespassing(self, credentials, other): ...

Subclass it in a module of tests: pytest runs every test of the class, without a
plug-in. The backend is driven as the broker drives it, against a real server, and what
it gives out is used by the real client library.

Between backend and server stands a `Wire`, which is how calls are broken off before
and after everything that the backend says to the server. So `backend` must go to the
host and port it is given, and tell applications those of `address`.

Units: spans are seconds.
"""

import abc
import asyncio
import json
import secrets
import time
import unittest
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Mapping,
)
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import wraps
from itertools import count
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from osbkit.backends.contract import BrokerInfo, ServiceBackend
from osbkit.domain import Json
from osbkit.errors import BackendSays
from osbkit.testing.driving import Binding, Drive, Instance
from osbkit.testing.platform import BINDING, INSTANCE, body, ids, serving
from osbkit.testing.wire import MOMENTS, Moment, Wire

S = TypeVar("S", bound="BackendContract")
Ability = Literal["put", "get"]
Roles = Mapping[str | None, Collection[Ability]]
PATIENCE = 60.0
"""How long a call may take that was broken off; then it hangs."""
MANY = 200
"""So many turns no verb takes; then it does not end."""
LOOK = 0.02


class Client(Protocol):
    """An application, connected with the credentials of a binding.

    Whatever the server refuses is raised as the client library raises it.
    """

    async def put(self, text: str) -> None:
        """Store a text, or send it."""

    async def get(self) -> str | None:
        """A text that was put and not yet got; None if there is none."""

    async def touch(self) -> None:
        """Ask for anything that every role may have, over the same connection."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A backend that is open, the wire to its server, and who drives it."""

    wire: Wire
    drive: Drive
    backend: ServiceBackend[Any, Any]


def in_a_loop(
    test: Callable[[S], Coroutine[Any, Any, None]],
) -> Callable[[S], None]:
    """An async test as a plain one: no plug-in is needed, and no setting."""

    @wraps(test)
    def run(self: S) -> None:
        asyncio.run(test(self))

    return run


class BackendContract(abc.ABC):
    """What every backend keeps. Subclass it as `class Test…`.

    Attributes:
        offering, plan: names, as requests have them.
        larger_plan: a plan that `plan` can be updated to and back; None skips that.
        parameters: of every instance.
        other_parameters: a valid value that differs; None skips the conflict unless
            there is a larger plan.
        roles: parameter `role` of a bind → what its application can not do. None
            stands for a bind without parameters.
        refusals: the exceptions by which the client library says no.
        keeps_connections: False where each request stands by itself: then the next
            one is refused.
        cut_within: how long a connection may outlive its binding.
        parallel_instances: so many are made side by side.
    """

    offering: ClassVar[str] = "service"
    plan: ClassVar[str]
    larger_plan: ClassVar[str | None] = None
    parameters: ClassVar[Json] = {}
    other_parameters: ClassVar[Json | None] = None
    roles: ClassVar[Roles] = {None: ()}
    refusals: ClassVar[tuple[type[Exception], ...]]
    keeps_connections: ClassVar[bool] = True
    cut_within: ClassVar[float] = 1.0
    parallel_instances: ClassVar[int] = 20

    # --- what the author says ---------------------------------------------------------

    @property
    @abc.abstractmethod
    def address(self) -> tuple[str, int]:
        """Host and port of the server."""

    @abc.abstractmethod
    def backend(self, host: str, port: int) -> ServiceBackend[Any, Any]:
        """A backend, not open, that finds the server there; see the module's head."""

    @abc.abstractmethod
    def client(self, credentials: Json) -> AbstractAsyncContextManager[Client]:
        """An application with these credentials. Entering connects it."""

    @abc.abstractmethod
    def trespassing(self, credentials: Json, other: Json) -> Json:
        """The place that `other` names, with the principal of `credentials`."""

    def wrong(self, credentials: Json) -> Json:
        """The same credentials with a secret that is not theirs."""
        secret = str(credentials["password"])
        return dict(json.loads(json.dumps(credentials).replace(secret, "x" * 32)))

    def forbidden(self, client: Any) -> Mapping[str, Callable[[], Awaitable[object]]]:
        """What no application may do, by name; asked of each role."""
        return {}

    async def state(self, name: str) -> object:
        """Everything that is there of an instance, in a form that compares.

        Names may stand in it, bindings' too: they are replaced before it is
        compared. Leave out what differs each time (moments, verifiers). By default
        nothing but what `inventory` lists is compared.
        """
        return None

    def spellings(self, name: str) -> Collection[str]:
        """How a name is written on the server; to replace it in `state`."""
        return {name, name.replace("-", "_")}

    async def restart(self) -> None:
        """Restart the server; wait until it answers. Skipped if not written."""
        raise unittest.SkipTest("this suite does not say how to restart the server")

    # --- making and asking again ------------------------------------------------------

    @in_a_loop
    async def test_provision_twice_ends_in_the_same_state(self) -> None:
        async with self._stage() as stage:
            one = await stage.drive.provision()
            first = await self._state(stage, one)
            await stage.drive.provision(one)

            assert await self._state(stage, one) == first, "the second call differs"

    @in_a_loop
    async def test_a_platform_s_requests_are_answered_as_specified(self) -> None:
        """201, the same again 200, other values 409; credentials do not change."""
        if self.other_parameters is None and self.larger_plan is None:
            raise unittest.SkipTest("neither other_parameters nor larger_plan is said")
        wanted = body(self.plan, self.parameters)
        differs = (
            body(self.plan, self.other_parameters)
            if self.other_parameters is not None
            else body(self.larger_plan or "", self.parameters)
        )
        plans = [plan for plan in (self.plan, self.larger_plan) if plan is not None]
        async with serving(
            self.backend(*self.address), self.offering, plans
        ) as platform:
            made = await platform.put(INSTANCE, json=wanted)
            again = await platform.put(INSTANCE, json=wanted)
            conflict = await platform.put(INSTANCE, json=differs)
            bound = await platform.put(BINDING, json=ids(self.plan))
            same = await platform.put(BINDING, json=ids(self.plan))
            unbound = await platform.delete(BINDING, params=ids(self.plan))
            removed = await platform.delete(INSTANCE, params=ids(self.plan))
            gone = await platform.delete(INSTANCE, params=ids(self.plan))

        answers = [made, again, conflict, bound, same, unbound, removed, gone]
        assert [answer.status_code for answer in answers] == [
            *(201, 200, 409, 201, 200, 200, 200, 410)
        ]
        assert bound.json()["credentials"] == same.json()["credentials"]

    @in_a_loop
    async def test_bind_twice_gives_the_same_credentials(self) -> None:
        async with self._stage() as stage:
            one = await stage.drive.provision()
            binding = await stage.drive.bind(one)
            first, before = binding.bound, await self._state(stage, one)
            await stage.drive.bind_again(binding)

            assert binding.bound == first, "the second call gives other credentials"
            assert await self._state(stage, one) == before
            await self._works(binding)

    # --- using what was made ----------------------------------------------------------

    @in_a_loop
    async def test_credentials_let_an_application_do_what_its_role_can(self) -> None:
        async with self._stage() as stage:
            one = await stage.drive.provision()
            for role, lacks in self.roles.items():
                text = f"for {role}"
                binding = await stage.drive.bind(one, said(role))
                async with (
                    self._other(stage, one, "put", lacks, binding) as sender,
                    self._other(stage, one, "get", lacks, binding) as receiver,
                ):
                    await sender.put(text)
                    assert await receiver.get() == text, f"{role}: nothing came"

    @in_a_loop
    async def test_each_role_is_refused_what_it_lacks(self) -> None:
        async with self._stage() as stage:
            one = await stage.drive.provision()
            for role, lacks in self.roles.items():
                binding = await stage.drive.bind(one, said(role))
                for ability in lacks:
                    async with self.client(binding.credentials) as client:
                        asked = client.put("no") if ability == "put" else client.get()
                        await self._refused(asked, f"{role} may {ability}")
                async with self.client(binding.credentials) as client:
                    names = list(self.forbidden(client))
                for name in names:
                    async with self.client(binding.credentials) as client:
                        attempt = self.forbidden(client)[name]
                        await self._refused(attempt(), f"{role} may {name}")

    @in_a_loop
    async def test_a_neighbour_is_refused(self) -> None:
        async with self._stage() as stage:
            one, other = await stage.drive.provision(), await stage.drive.provision()
            theirs = await stage.drive.bind(other)
            for role in self.roles:
                mine = await stage.drive.bind(one, said(role))
                try_it = self.trespassing(mine.credentials, theirs.credentials)
                await self._stays_out(try_it, f"{role} of one is let into the other")
            await self._works(theirs)

    @in_a_loop
    async def test_a_wrong_secret_is_refused(self) -> None:
        async with self._stage() as stage:
            binding = await stage.drive.bind(await stage.drive.provision())

            wrong = self.wrong(binding.credentials)
            await self._stays_out(wrong, "any secret lets in")

    @in_a_loop
    async def test_endpoints_are_where_the_credentials_lead(self) -> None:
        async with self._stage() as stage:
            binding = await stage.drive.bind(await stage.drive.provision())
            given, bound = binding.credentials, binding.bound
            assert bound is not None
            host, port = self.address

            assert bound.endpoints, "a platform opens no firewall without endpoints"
            assert all(each.host for each in bound.endpoints)
            assert not any(isinstance(each, dict | list) for each in given.values()), (
                "nested: a Secret holds strings"
            )
            if "port" in given:
                assert (given.get("hostname"), given.get("host")) == (host, host)
                assert given["port"] == port
                assert any(port in each.ports for each in bound.endpoints)

    # --- broken off, then again; broken off, then taken back -------------------------

    @in_a_loop
    async def test_provision_broken_off_anywhere_is_mended_by_the_next(self) -> None:
        async with self._stage() as stage:
            undisturbed = await self._state(stage, await stage.drive.provision())
            async for broken in self._each_break(stage):
                one = stage.drive.instance()
                await broken(stage.drive.provision(one))
                await stage.drive.provision(one)

                found = await self._state(stage, one)
                assert found == undisturbed, f"provision broken {broken}"
                await stage.drive.deprovision(one)

    @in_a_loop
    async def test_provision_broken_off_anywhere_can_be_taken_back(self) -> None:
        async with self._stage() as stage:
            async for broken in self._each_break(stage):
                one = stage.drive.instance()
                await broken(stage.drive.provision(one))
                await stage.drive.deprovision(one)

                await self._nothing_left(stage, one, f"provision broken {broken}")

    @in_a_loop
    async def test_bind_broken_off_anywhere_is_mended_by_the_next(self) -> None:
        async with self._stage() as stage:
            one = await stage.drive.provision()
            first = await stage.drive.bind(one)
            undisturbed = await self._state(stage, one)
            await stage.drive.unbind(one, first)
            async for broken in self._each_break(stage):
                one.bindings.clear()
                binding = stage.drive.binding(one)
                await broken(stage.drive.bind_again(binding))
                await stage.drive.bind_again(binding)

                found = await self._state(stage, one)
                assert found == undisturbed, f"bind broken {broken}"
                await self._works(binding)
                await stage.drive.unbind(one, binding)

    @in_a_loop
    async def test_bind_broken_off_anywhere_can_be_taken_back(self) -> None:
        async with self._stage() as stage:
            one = await stage.drive.provision()
            undisturbed = await self._state(stage, one)
            async for broken in self._each_break(stage):
                one.bindings.clear()
                binding = stage.drive.binding(one)
                await broken(stage.drive.bind_again(binding))
                await stage.drive.unbind(one, binding)

                found = await self._state(stage, one)
                assert found == undisturbed, f"bind broken {broken} is not taken back"

    @in_a_loop
    async def test_update_broken_off_anywhere_is_mended_either_way(self) -> None:
        larger = self._larger()
        async with self._stage() as stage:
            one = await stage.drive.provision()
            small = await self._state(stage, one)
            await stage.drive.update(one, larger)
            large = await self._state(stage, one)
            await stage.drive.update(one, self.plan)
            async for broken in self._each_break(stage):
                await broken(stage.drive.update(one, larger))
                await stage.drive.update(one, larger)
                forward = await self._state(stage, one)
                await broken(stage.drive.update(one, self.plan))
                await stage.drive.update(one, self.plan)
                backward = await self._state(stage, one)

                assert (forward, backward) == (large, small), f"update broken {broken}"

    @in_a_loop
    async def test_unbind_broken_off_anywhere_is_mended_by_the_next(self) -> None:
        async with self._stage() as stage:
            one = await stage.drive.provision()
            undisturbed = await self._state(stage, one)
            async for broken in self._each_break(stage):
                one.bindings.clear()
                binding = await stage.drive.bind(one)
                await broken(stage.drive.unbind(one, binding))
                await stage.drive.unbind(one, binding)

                found = await self._state(stage, one)
                assert found == undisturbed, f"unbind broken {broken}"
                await self._stays_out(binding.credentials, f"unbind broken {broken}")

    @in_a_loop
    async def test_deprovision_broken_off_anywhere_is_mended_by_the_next(self) -> None:
        async with self._stage() as stage:
            async for broken in self._each_break(stage):
                one = await stage.drive.provision()
                await stage.drive.bind(one)
                await broken(stage.drive.deprovision(one))
                await stage.drive.deprovision(one)

                await self._nothing_left(stage, one, f"deprovision broken {broken}")

    # --- removing ---------------------------------------------------------------------

    @in_a_loop
    async def test_unbind_cuts_live_connections_and_no_others(self) -> None:
        async with self._stage() as stage:
            one = await stage.drive.provision()
            kept = await stage.drive.bind(one)
            for role in self.roles:
                binding = await stage.drive.bind(one, said(role))
                async with (
                    self.client(kept.credentials) as staying,
                    self._leaving(binding.credentials) as leaving,
                ):
                    await leaving.touch()
                    await stage.drive.unbind(one, binding)
                    await self._is_cut(leaving, role)
                    await staying.touch()
                await self._stays_out(binding.credentials, f"{role} is unbound")

    @in_a_loop
    async def test_data_survives_unbind(self) -> None:
        async with self._stage() as stage:
            one = await stage.drive.provision()
            first = await stage.drive.bind(one)
            async with self.client(first.credentials) as client:
                await client.put("kept")
            await stage.drive.unbind(one, first)
            second = await stage.drive.bind(one)
            async with self.client(second.credentials) as client:
                assert await client.get() == "kept"

    @in_a_loop
    async def test_unbind_and_deprovision_twice_and_out_of_order(self) -> None:
        async with self._stage() as stage:
            one = await stage.drive.provision()
            first, late = await stage.drive.bind(one), await stage.drive.bind(one)
            await stage.drive.unbind(one, first)
            await stage.drive.unbind(one, first)
            await self._works(late)
            await stage.drive.deprovision(one)
            await self._nothing_left(stage, one, "deprovision with a binding")
            await stage.drive.unbind(one, late)
            await stage.drive.deprovision(one)
            never = stage.drive.instance()
            await stage.drive.unbind(never, stage.drive.binding(never))
            await stage.drive.deprovision(never)

            await self._nothing_left(stage, one, "removed twice")

    @in_a_loop
    async def test_deprovision_with_live_connections(self) -> None:
        async with self._stage() as stage:
            one = await stage.drive.provision()
            bindings = [await stage.drive.bind(one, said(role)) for role in self.roles]
            async with AsyncExitStack() as several:
                clients = [
                    await several.enter_async_context(self._leaving(each.credentials))
                    for each in bindings
                ]
                for client in clients:
                    await client.touch()
                await stage.drive.deprovision(one)
                for client in clients:
                    await self._is_cut(client, "deprovision")

            await self._nothing_left(stage, one, "deprovision in use")
            for each in bindings:
                await self._stays_out(each.credentials, "deprovision")

    # --- changing ---------------------------------------------------------------------

    @in_a_loop
    async def test_plan_up_and_down_ends_where_it_began_and_keeps_what_is_stored(
        self,
    ) -> None:
        larger = self._larger()
        async with self._stage() as stage:
            made_large = await stage.drive.provision(stage.drive.instance(larger))
            large = await self._state(stage, made_large)
            one = await stage.drive.provision()
            small = await self._state(stage, one)
            await stage.drive.update(one, larger)
            up = await self._state(stage, one)
            binding = await stage.drive.bind(one)
            async with self.client(binding.credentials) as client:
                await client.put("kept")
            await stage.drive.update(one, self.plan)
            async with self.client(binding.credentials) as client:
                assert await client.get() == "kept"
            await stage.drive.unbind(one, binding)
            one.bindings.clear()

            assert up == large, "updated is not as made so at once"
            assert await self._state(stage, one) == small, "back is not as before"
            assert large != small or not self._shows_state, "state() shows no plan"

    @in_a_loop
    async def test_rotation_keeps_both_alive(self) -> None:
        async with self._stage() as stage:
            one = await stage.drive.provision()
            old = await stage.drive.bind(one)
            new = await stage.drive.bind(one, predecessor=old)
            await self._works(old)
            await self._works(new)
            await stage.drive.unbind(one, old)

            await self._stays_out(old.credentials, "the old binding is gone")
            await self._works(new)

    # --- at once ----------------------------------------------------------------------

    @in_a_loop
    async def test_two_binds_at_once(self) -> None:
        async with self._stage() as stage:
            one = await stage.drive.provision()
            if not stage.backend.parallel_binds:
                raise unittest.SkipTest("parallel_binds is False: the broker waits")
            pair = [stage.drive.binding(one) for _ in range(2)]
            await asyncio.gather(*map(stage.drive.bind_again, pair))

            assert pair[0].credentials != pair[1].credentials
            for binding in pair:
                await self._works(binding)

    @in_a_loop
    async def test_many_instances_at_once(self) -> None:
        async def life(stage: Stage, one: Instance) -> None:
            await stage.drive.provision(one)
            binding = await stage.drive.bind(one)
            await self._works(binding)
            await stage.drive.unbind(one, binding)
            await stage.drive.deprovision(one)

        async with self._stage() as stage:
            many = [stage.drive.instance() for _ in range(self.parallel_instances)]
            await asyncio.gather(*(life(stage, one) for one in many))

            assert await stage.drive.listed() == [], "something is left"

    # --- the server -------------------------------------------------------------------

    @in_a_loop
    async def test_a_restart_of_the_server_loses_nothing(self) -> None:
        async with self._stage() as stage:
            one = await stage.drive.provision()
            binding = await stage.drive.bind(one)
            async with self.client(binding.credentials) as client:
                await client.put("kept")
            await self.restart()
            async with self.client(binding.credentials) as client:
                assert await client.get() == "kept"
            await stage.backend.ping()

            again = await stage.drive.bind(one)
            await self._works(again)
            await stage.drive.unbind(one, binding)
            await self._stays_out(binding.credentials, "unbound after a restart")

    @in_a_loop
    async def test_ping_raises_when_the_server_cannot_be_reached(self) -> None:
        async with self._stage() as stage:
            await stage.backend.ping()
            stage.wire.away = True
            try:
                await stage.backend.ping()
            except Exception:  # noqa: BLE001 (whatever the client says of it)
                return
            raise AssertionError("ping() says that a server is there which is not")

    @in_a_loop
    async def test_inventory_lists_its_own_with_their_ids(self) -> None:
        async with self._stage() as stage, self._stage() as neighbour:
            one = await stage.drive.provision()
            binding = await stage.drive.bind(one)
            await neighbour.drive.provision()
            listed = await stage.drive.listed()

            wanted: list[tuple[str | None, ...]] = [
                ("instance", one.name, one.id, None, None)
            ]
            if stage.backend.lists_bindings:
                wanted.insert(
                    0, ("binding", binding.name, one.id, binding.id, one.name)
                )
            found = [
                (
                    each.kind,
                    each.name,
                    each.instance_id,
                    each.binding_id,
                    each.instance_name if each.kind == "binding" else None,
                )
                for each in listed
            ]
            assert found == wanted

    # --- how --------------------------------------------------------------------------

    @asynccontextmanager
    async def _stage(self) -> AsyncIterator[Stage]:
        """A backend of a broker of its own, open; whatever it made is removed."""
        async with Wire(*self.address) as wire:
            backend = self.backend(wire.host, wire.port)
            backend.broker = BrokerInfo(
                id=secrets.token_hex(16), public_url="http://broker.example"
            )
            drive = Drive(
                backend,
                offering=self.offering,
                plan=self.plan,
                parameters=dict(self.parameters),
            )
            await backend.open()
            try:
                yield Stage(wire, drive, backend)
            finally:
                wire.disarm()
                wire.away = False
                try:
                    await drive.clear()
                finally:
                    await backend.close()

    async def _each_break(self, stage: Stage) -> AsyncIterator["Break"]:
        """One after the other: broken before and after each turn of a verb, until it
        has no turn more."""
        for moment in MOMENTS:
            for turn in count(1):
                broken = Break(stage.wire, turn, moment)
                yield broken
                assert turn < MANY, "there is no end to what is said to the server"
                if not broken.happened:
                    assert turn > 1, "nothing is said over the wire: see `backend`"
                    break

    @property
    def _shows_state(self) -> bool:
        return type(self).state is not BackendContract.state

    async def _state(self, stage: Stage, one: Instance) -> str:
        """What is there of an instance, with its names replaced."""
        listed = [
            (each.kind, each.name, each.instance_name)
            for each in await stage.drive.listed()
            if one.name in (each.name, each.instance_name)
        ]
        names = [each.name for each in one.bindings]
        text = repr((listed, await self.state(one.name)))
        for number, name in enumerate([one.name, *names]):
            for spelling in self.spellings(name):
                text = text.replace(spelling, f"<{number}>")
        return text

    async def _nothing_left(self, stage: Stage, one: Instance, when: str) -> None:
        left = [
            each.name
            for each in await stage.drive.listed()
            if one.name in (each.name, each.instance_name)
        ]
        assert left == [], f"{when}: the inventory lists what is left"
        if self._shows_state:
            never = stage.drive.instance()
            stage.drive.instances.remove(never)
            nothing = await self._state(stage, never)
            found = await self._state(stage, one)
            assert found == nothing, f"{when}: something is left"

    @asynccontextmanager
    async def _other(
        self,
        stage: Stage,
        one: Instance,
        ability: Ability,
        lacks: Collection[Ability],
        binding: Binding,
    ) -> AsyncIterator[Client]:
        """The binding's application, or one that can do what its role lacks."""
        if ability in lacks:
            able = next(role for role, no in self.roles.items() if ability not in no)
            binding = await stage.drive.bind(one, said(able))
        async with self.client(binding.credentials) as client:
            yield client

    async def _works(self, binding: Binding) -> None:
        async with self.client(binding.credentials) as client:
            await client.touch()

    async def _refused(self, asked: Awaitable[object], what: str) -> None:
        try:
            await asked
        except self.refusals:
            return
        raise AssertionError(what)

    async def _stays_out(self, credentials: Json, what: str) -> None:
        """These credentials let nobody in, or let do nothing."""
        try:
            async with self.client(credentials) as client:
                await client.touch()
        except self.refusals:
            return
        raise AssertionError(f"{what}: the credentials let in")

    @asynccontextmanager
    async def _leaving(self, credentials: Json) -> AsyncIterator[Client]:
        """An application that will be cut; how its library takes that is its own."""
        stack = AsyncExitStack()
        yield await stack.enter_async_context(self.client(credentials))
        try:
            await stack.aclose()
        except self.refusals:
            return

    async def _is_cut(self, client: Client, what: str | None) -> None:
        """The next thing it asks is refused, at the latest after `cut_within`."""
        until = time.monotonic() + (self.cut_within if self.keeps_connections else 0)
        while True:
            late = time.monotonic() > until
            try:
                await client.touch()
            except self.refusals:
                return
            assert not late, f"{what}: still connected"
            await asyncio.sleep(LOOK)

    def _larger(self) -> str:
        if self.larger_plan is None:
            raise unittest.SkipTest("larger_plan is not said")
        return self.larger_plan


class Break:
    """Breaks a call off at one turn. `str()` says where."""

    def __init__(self, wire: Wire, turn: int, moment: Moment) -> None:
        self._wire, self._turn, self._moment = wire, turn, moment
        self.happened = False

    def __str__(self) -> str:
        return f"{self._moment} turn {self._turn}"

    async def __call__(self, call: Awaitable[object]) -> None:
        """Await it; what it raises is passing trouble, or it did not notice."""
        self._wire.arm(self._turn, self._moment)
        try:
            async with asyncio.timeout(PATIENCE):
                await call
        except BackendSays as final:
            raise AssertionError(
                f"broken {self}: a lost connection passes, and was called final"
            ) from final
        except TimeoutError:
            raise AssertionError(f"broken {self}: the call hangs") from None
        except Exception:  # noqa: BLE001 (whatever the author's client says of it)
            return
        finally:
            self.happened = self._wire.disarm() or self.happened


def said(role: str | None) -> Json:
    """The parameters of a bind by its role."""
    return {} if role is None else {"role": role}

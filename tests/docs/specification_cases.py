"""How to ask a broker for each case of the page about the specification.

`TRIALS` holds a way of asking by the beginning of a case's words; a case is asked by
the longest beginning that fits. Nothing here knows which answer is right.

The broker is the conformance broker, in process. What is slow there waits until it
is let go on (`Thing.settled`), so nothing depends on time.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from inspect import isawaitable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from pydantic import SecretStr

from osbkit import Bound, Failed, Refused
from osbkit.backends.contract import Request
from osbkit.backends.scripted import Hold, fail, succeed
from osbkit.settings import Settings
from tests.conformance import broker as conformance

# --- a platform ---------------------------------------------------------------------

Json = dict[str, Any]
USER, PASSWORD = "platform", "a password for tests"
VERSION = "x-broker-api-version"
LIMIT = 20_000
WHERE: Json = {"organization_guid": "org", "space_guid": "space"}
LARGER: Json = {"parameters": {"size": 5}}
WRITER: Json = {"parameters": {"role": "writer"}}
PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Thing:
    """An instance or a binding, as a platform asks for it."""

    platform: "Platform"
    path: str
    plan: str
    more: Json = field(default_factory=dict)

    @property
    def ids(self) -> Json:
        """`service_id` and `plan_id`."""
        return ids_of(self.plan)

    async def put(
        self, *, flag: bool = False, without: str = "", **fields: Any
    ) -> httpx.Response:
        """Make it."""
        body = {**self.ids, **self.more, **fields}
        body.pop(without, None)
        return await self.platform.http.put(self.path, params=asked(flag), json=body)

    async def patch(
        self, *, flag: bool = False, without: str = "", **fields: Any
    ) -> httpx.Response:
        """Change it."""
        body = {"service_id": self.ids["service_id"], **fields}
        body.pop(without, None)
        return await self.platform.http.patch(self.path, params=asked(flag), json=body)

    async def delete(
        self, *, flag: bool = False, without: str = "", **ids: str
    ) -> httpx.Response:
        """Remove it."""
        query = {**self.ids, **ids, **asked(flag)}
        query.pop(without, None)
        return await self.platform.http.delete(self.path, params=query)

    async def get(self, **query: str) -> httpx.Response:
        """Fetch it."""
        return await self.platform.http.get(self.path, params=query)

    async def poll(self, **query: str) -> httpx.Response:
        """Ask how far it is."""
        return await self.platform.http.get(f"{self.path}/last_operation", params=query)

    async def made(self, **fields: Any) -> "Thing":
        """Make it, and see the end of that."""
        answer = await self.put(flag=True, **fields)
        assert answer.status_code in {201, 202}, answer.text
        await self.settled()
        return self

    async def begun(self, verb: str, **fields: Any) -> httpx.Response:
        """Begin something slow."""
        answer: httpx.Response = await getattr(self, verb)(flag=True, **fields)
        assert answer.status_code == 202, answer.text
        return answer

    async def settled(self) -> httpx.Response:
        """Let go on what waits, and see its end."""
        gate = self.platform.gate(self.path)
        gate.set()
        async with asyncio.timeout(PATIENCE):
            while True:
                answer = await self.poll()
                if answer.json()["state"] != "in progress":
                    break
                await asyncio.sleep(0)
        gate.clear()
        return answer

    def binding(self, named: str | None = None) -> "Thing":
        """A binding of this instance."""
        path = f"{self.path}/service_bindings/{named or uuid4()}"
        return Thing(self.platform, path, self.plan)

    @property
    def instance(self) -> "Thing":
        """What a binding belongs to."""
        return Thing(self.platform, self.path.rsplit("/", 2)[0], self.plan, WHERE)

    async def elsewhere(self) -> "Thing":
        """A binding of the same id, under another instance."""
        return (await self.platform.made(self.plan)).binding(self.id)

    @property
    def id(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]


class Platform:
    """A client of the conformance broker; slow calls wait until they are let go."""

    def __init__(self) -> None:
        self.services = conformance.backends(wait=self._wait)
        self.http: httpx.AsyncClient
        self._gates: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def _wait(self, request: Request) -> None:
        await self._gates[request.instance_id].wait()

    def gate(self, path: str) -> asyncio.Event:
        """What slow calls of an instance wait for."""
        return self._gates[path.split("/")[3]]

    def instance(self, plan: str = "queue/sync", named: str | None = None) -> Thing:
        """An instance that is not there yet."""
        path = f"/v2/service_instances/{named or uuid4()}"
        return Thing(self, path, plan, WHERE)

    async def made(self, plan: str = "queue/sync", **fields: Any) -> Thing:
        """An instance that is there."""
        return await self.instance(plan).made(**fields)

    async def bound(self, plan: str = "queue/sync", **fields: Any) -> Thing:
        """A binding that is there."""
        return await (await self.made(plan)).binding().made(**fields)

    async def busy(self, verb: str = "put", **fields: Any) -> Thing:
        """An instance on which something slow runs."""
        if verb == "put":
            thing = self.instance("slow/slow")
        else:
            thing = await self.made("slow/slow")
        await thing.begun(verb, **fields)
        return thing

    async def busy_binding(self, verb: str = "put") -> Thing:
        """A binding on which something slow runs."""
        binding = (await self.made("slow/slow")).binding()
        if verb != "put":
            await binding.made()
        await binding.begun(verb)
        return binding

    async def bound_and_busy(self, verb: str, **fields: Any) -> Thing:
        """A binding that is there, while something slow runs on its instance."""
        instance = await self.made("slow/slow")
        binding = await instance.binding().made()
        await instance.begun(verb, **fields)
        return binding

    async def failed(self, plan: str, verb: str = "put", **fields: Any) -> Thing:
        """An instance of which something has failed."""
        thing = self.instance(plan)
        if verb != "put":
            await thing.made()
        await thing.begun(verb, **fields)
        await thing.settled()
        return thing

    async def failed_binding(self) -> Thing:
        """A binding whose making failed."""
        binding = (await self.made("trouble/bind")).binding()
        await binding.begun("put")
        await binding.settled()
        return binding

    async def gone(self) -> Thing:
        """An instance that was there."""
        instance = await self.made()
        await instance.delete()
        return instance

    async def unbound(self) -> Thing:
        """A binding that was there."""
        binding = await self.bound()
        await binding.delete()
        return binding

    async def left(self) -> Thing:
        """A binding that was there when its instance was removed."""
        binding = await self.bound()
        await binding.instance.delete()
        return binding

    async def expired(self) -> Thing:
        """A binding that was good until long ago."""
        ended = Bound(credentials={}, expires_at=datetime(2020, 1, 1, tzinfo=UTC))
        self.services["queue"].next("bind", succeed(ended))
        return await self.bound()

    async def raw(self, content: bytes, **headers: str) -> httpx.Response:
        """A provision whose body is text."""
        path = self.instance().path
        return await self.http.put(path, content=content, headers=headers)

    async def catalog(self, **headers: str) -> httpx.Response:
        """GET of the catalog."""
        return await self.http.get("/v2/catalog", headers=headers)


def ids_of(plan: str) -> Json:
    """The ids of `offering/plan`."""
    offering = plan.partition("/")[0]
    return {
        "service_id": conformance.ident(offering),
        "plan_id": conformance.ident(plan),
    }


def asked(flag: bool) -> dict[str, str]:
    """The query of a request with the flag, or without it."""
    return {"accepts_incomplete": "true"} if flag else {}


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Platform]:
    """The conformance broker, and a platform for it."""
    platform = Platform()
    settings = Settings(
        database_url=SecretStr(f"sqlite:///{folder / 'osbkit.db'}"),
        basic_user=USER,
        basic_password=SecretStr(PASSWORD),
        max_body_bytes=LIMIT,
        log_level="ERROR",
    )
    broker = conformance.make(settings, services=platform.services)
    async with (
        broker.lifespan(),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app=broker.app),
            base_url="https://broker.example",
            auth=(USER, PASSWORD),
            headers={VERSION: "2.17"},
        ) as platform.http,
    ):
        yield platform


# --- how each case is asked ---------------------------------------------------------

Trial = Callable[[Platform, list[str]], Awaitable[httpx.Response]]
TRIALS: dict[str, Trial] = {}


class Later:
    """Requests that are sent one after the other, each to what the last one gave."""

    def __init__(self, *steps: tuple[str, tuple[Any, ...], Json]) -> None:
        self._steps = steps

    def __getattr__(self, name: str) -> Callable[..., "Later"]:
        return lambda *given, **named: Later(*self._steps, (name, given, named))

    async def __call__(self, p: Platform, words: list[str]) -> Any:
        """Send them."""
        thing: Any = p
        for name, given, named in self._steps:
            thing = getattr(thing, name)
            thing = thing(*given, **named) if callable(thing) else thing
            thing = await thing if isawaitable(thing) else thing
        return thing


def case(*beginnings: str) -> Callable[[Trial], Trial]:
    """How to ask for the cases that begin so; they are told what is in backticks."""

    def known(trial: Trial) -> Trial:
        TRIALS.update(dict.fromkeys(beginnings, trial))
        return trial

    return known


@case("a provision as a 2.11 platform sends it")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    p.http.headers[VERSION] = "2.11"
    try:
        return await p.instance().put()
    finally:
        p.http.headers[VERSION] = "2.17"


@case("a provision that names")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    p.http.headers[VERSION] = words[0]
    try:
        return await p.instance().put(unknown=1, context={"platform": "x", "new": {}})
    finally:
        p.http.headers[VERSION] = "2.17"


@case("GET catalog with version")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    return await p.catalog(**{VERSION: words[0]})


@case("GET catalog without the header")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    request = p.http.build_request("GET", "/v2/catalog")
    del request.headers[VERSION]
    return await p.http.send(request)


@case("no credentials")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    request = p.http.build_request("GET", "/v2/catalog")
    return await p.http.send(request, auth=None)


@case("an Authorization header that cannot be read")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    request = p.http.build_request("GET", "/v2/catalog")
    request.headers["authorization"] = "Basic ???"
    return await p.http.send(request, auth=None)


@case("a wrong password, no version header and a broken body")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    request = p.http.build_request("PUT", p.instance().path, content=b"{")
    del request.headers[VERSION]
    return await p.http.send(request, auth=httpx.BasicAuth(USER, "wrong"))


@case("an instance id of")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    return await p.instance(named="x" * int(words[0])).put()


@case("an instance id with a slash")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    return await p.instance(named=f"a{words[0]}last_operation").put()


@case("two instance ids that differ in case")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    await p.instance("queue/sync", named="differs").made()
    return await p.instance("queue/sync-large", named="DIFFERS").put()


@case("`//v2/catalog`", "`/v2/catalog/`")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    return await p.http.get(f"https://broker.example{words[0]}")


@case("POST of an instance")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    return await p.http.post(p.instance().path, json={})


@case("a provision with Content-Type")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    body = json.dumps({**ids_of("queue/sync"), **WHERE}).encode()
    return await p.raw(body, **{"content-type": f"{words[0]}; charset=utf-8"})


@case("a provision with the body")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    return await p.raw(words[0].encode())


@case("GET catalog with If-None-Match of the ETag it has")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    etag = (await p.catalog()).headers["etag"]
    return await p.catalog(**{"if-none-match": etag})


@case("a provision with the right version, another `description`")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    info = {"version": conformance.VERSION, "description": "other", "x-vendor": 1}
    return await p.instance().put(maintenance_info=info)


@case("a provision with `maintenance_info` that is `{}`")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    return await p.instance().put(maintenance_info=json.loads(words[1]))


@case("a provision on an async plan, with `accepts_incomplete=")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    path = f"{p.instance().path}?{words[0]}"
    return await p.http.put(path, json={**ids_of("queue/async"), **WHERE})


@case("another update while one runs")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    running = await p.busy("patch", **LARGER)
    return await running.patch(flag=True, parameters={"size": 6})


async def same(first: httpx.Response, again: httpx.Response) -> httpx.Response:
    """The repeat, once it is clear that it names the same operation."""
    assert again.json()["operation"] == first.json()["operation"]
    return again


@case("the same provision while it runs, with the flag")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    instance = p.instance("slow/slow")
    return await same(await instance.begun("put"), await instance.put(flag=True))


@case("a poll with the `operation` of the 202, when it is done")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    instance = p.instance("slow/slow")
    begun = await instance.begun("put")
    await instance.settled()
    return await instance.poll(operation=begun.json()["operation"])


@case("a second poll after the end")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    instance = p.instance("slow/slow")
    operation = (await instance.begun("put")).json()["operation"]
    await instance.settled()
    await instance.poll(operation=operation)
    return await instance.poll(operation=operation)


@case("a poll of the provision that a deprovision halted")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    instance = p.instance("slow/slow")
    begun = await instance.begun("put")
    await instance.begun("delete")
    return await instance.poll(operation=begun.json()["operation"])


@case("a poll of a binding that failed")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    answer = await (await p.failed_binding()).poll()
    assert answer.json().keys() == {"state", "description"}
    return answer


@case("the same provision again, made synchronously")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    instance = p.instance()
    first = await instance.put()
    again = await instance.put()
    assert again.json() == first.json()
    return again


@case("the same with keys in another order, and 1.0 for 1")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    instance = await p.made(parameters={"size": 1, "color": "red"})
    return await instance.put(parameters={"color": "red", "size": 1.0})


@case("a provision without `")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    return await p.instance().put(without=words[0])


@case("a provision that the author refuses")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    p.services["queue"].next("provision", fail(Refused("Not this one.")))
    return await p.instance().put()


@case("a provision that fails in the backend, synchronous")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    p.services["queue"].next("provision", fail(Failed("It is full.")))
    return await p.instance().put()


@case("a provision that a DELETE halts while it waits")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    hold = Hold()
    p.services["queue"].next("provision", succeed(hold=hold))
    instance = p.instance("queue/auto")
    async with asyncio.timeout(PATIENCE):
        waiting = asyncio.create_task(instance.put())
        await hold.entered.wait()
        removed = await instance.delete()
    assert removed.status_code == 200
    return await waiting


@case("an update of parameters")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    instance = await p.made(parameters={"size": 3, "color": "blue", "name": "n"})
    answer = await instance.patch(parameters={"size": 5, "name": None})
    shown = (await instance.get()).json()["parameters"]
    assert shown == {"size": 5, "color": "blue"}  # merged; null removes
    return answer


@case("an update with `parameters` that are `{}`")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    instance = await p.made(**LARGER)
    answer = await instance.patch(parameters={})
    assert (await instance.get()).json()["parameters"] == LARGER["parameters"]
    return answer


@case("the same update while it runs, with the flag")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    instance = await p.made("slow/slow")
    first = await instance.begun("patch", **LARGER)
    return await same(first, await instance.patch(flag=True, **LARGER))


@case("an update without `service_id`")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    return await (await p.made()).patch(without=words[0], **LARGER)


@case("an update that the author refuses")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    instance = await p.made()
    p.services["queue"].next("update", fail(Refused("Not now.")))
    return await instance.patch(**LARGER)


@case("a bind of a new id on an async plan, with the flag")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    answer = await (await p.made("queue/async")).binding().put(flag=True)
    assert answer.json().keys() == {"operation"}
    return answer


@case("the same bind while it runs, with the flag")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    binding = (await p.made("slow/slow")).binding()
    return await same(await binding.begun("put"), await binding.put(flag=True))


@case("the same bind again, made synchronously")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    binding = (await p.made()).binding()
    first = await binding.put()
    again = await binding.put()
    assert again.json() == first.json()
    return again


@case("the same bind again, made asynchronously")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    again = await (await p.bound("queue/async")).put(flag=True)
    assert again.json()["credentials"]
    return again


@case("the same bind with another `app_guid`")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    return await (await p.bound()).put(bind_resource={words[0]: "another"})


@case("a bind without `service_id`", "a bind without `plan_id`")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    return await (await p.made()).binding().put(without=words[0])


async def rotation(
    predecessor: Thing, instance: Thing | None = None, **body: Any
) -> httpx.Response:
    """A new binding that names its predecessor."""
    path = instance.path if instance else predecessor.path.rsplit("/", 2)[0]
    return await predecessor.platform.http.put(
        f"{path}/service_bindings/{uuid4()}",
        params=asked(flag=True),
        json={"predecessor_binding_id": predecessor.id, **body},
    )


@case("a rotation that holds only `predecessor_binding_id`")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    return await rotation(await p.bound())


@case("a rotation with `service_id` and `plan_id`")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    return await rotation(await p.bound(), **ids_of("queue/sync"))


@case("the same rotation again")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    instance = await p.made()
    before = await instance.binding().made()
    after = await instance.binding().made(predecessor_binding_id=before.id)
    return await after.put(predecessor_binding_id=before.id)


@case("the same rotation with another predecessor")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    instance = await p.made()
    before = await instance.binding().made()
    after = await instance.binding().made(predecessor_binding_id=before.id)
    other = await instance.binding().made()
    return await after.put(predecessor_binding_id=other.id)


@case("a rotation with `parameters` of its own")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    return await rotation(await p.bound(), **WRITER)


@case("a rotation of an unknown predecessor")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    return await rotation((await p.made()).binding())


@case("a rotation of a predecessor of another instance")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    return await rotation(await p.bound(), await p.made())


@case("a rotation of a predecessor that is being removed")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    return await rotation(await p.busy_binding("delete"))


@case("a rotation of a predecessor that expired")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    return await rotation(await p.expired())


@case("a rotation on a plan without `binding_rotatable`")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    return await rotation(await p.bound("plain/plan"))


@case("GET of a binding")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    binding = (await p.made()).binding()
    made = await binding.put()
    fetched = await binding.get()
    assert fetched.json() == made.json()
    return fetched


@case("the same unbind while it runs, with the flag")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    binding = await p.bound("slow/slow")
    return await same(await binding.begun("delete"), await binding.delete(flag=True))


@case("an unbind after a failed unbind")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    binding = await p.bound("trouble/unbind")
    await binding.begun("delete")
    assert (await binding.settled()).json()["state"] == "failed"
    return await binding.delete(flag=True)


@case("an unbind without `")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    return await (await p.bound()).delete(without=words[0])


@case("a poll after the unbind that halted a bind")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    binding = await p.busy_binding()
    await binding.begun("delete")
    return await binding.settled()


@case("the same deprovision while it runs, with the flag")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    instance = await p.made("slow/slow")
    first = await instance.begun("delete")
    return await same(first, await instance.delete(flag=True))


@case("the same deprovision while it runs, without the flag, on an auto plan")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    instance = await p.made("slow/either")
    await instance.begun("delete")
    waiting = asyncio.create_task(instance.delete())
    await instance.settled()
    return await waiting


@case("a deprovision without `")
async def _(p: Platform, words: list[str]) -> httpx.Response:
    return await (await p.made()).delete(without=words[0])


DO = Later()
TRIALS |= {
    "GET catalog with an empty header": DO.catalog(**{VERSION: ""}),
    "a wrong password": DO.http().get("/v2/catalog", auth=(USER, "wrong")),
    "an instance id with blank": DO.instance(named="a%20%2B%3A%40%C3%BC").put(),
    "an instance id with a control character": DO.instance(named="a%07").put(),
    "an unknown path": DO.http().get("/v2/unknown"),
    "a provision without Content-Type": DO.raw(
        json.dumps({**ids_of("queue/sync"), **WHERE}).encode()
    ),
    "a provision with an empty body": DO.raw(b""),
    "a provision with `service_id` 7": DO.instance().put(service_id=7),
    "a body larger than": DO.raw(b" " * (LIMIT + 1)),
    "GET catalog": DO.catalog(),
    "GET catalog with If-None-Match of another ETag": DO.catalog(
        **{"if-none-match": '"another"'}
    ),
    "a provision with the catalog's `maintenance_info.version`": DO.instance().put(
        maintenance_info={"version": conformance.VERSION}
    ),
    "a provision with another `maintenance_info.version`": DO.instance().put(
        maintenance_info={"version": "999.0.0"}
    ),
    "a provision with a version, on a plan": DO.instance("plain/plan").put(
        maintenance_info={"version": "1.0.0"}
    ),
    "an update to another `maintenance_info.version`": DO.made().patch(
        maintenance_info={"version": "999.0.0"}
    ),
    "a provision repeated": DO.made().put(maintenance_info={"version": "999.0.0"}),
    "a provision on a sync plan, with the flag": DO.instance().put(flag=True),
    "an unbind": DO.bound().delete(),
    "a provision on an async plan, with the flag": DO.instance("queue/async").put(
        flag=True
    ),
    "a provision of a new id on an async plan": DO.instance("queue/async").put(
        flag=True
    ),
    "a provision that is slow": DO.instance("slow/either").put(flag=True),
    "a provision on an async plan, without the flag": DO.instance("queue/async").put(),
    "an update on an async plan, without the flag": DO.made("queue/async").patch(
        **LARGER
    ),
    "an update on an async plan, without the flag, that": DO.made(
        "queue/async"
    ).patch(),
    "a deprovision on an async plan, without the flag": DO.made("queue/async").delete(),
    "a bind on an async plan, without the flag": DO.made("queue/async").binding().put(),
    "an unbind on an async plan, without the flag": DO.bound("queue/async").delete(),
    "an update while the instance is made": DO.busy().patch(flag=True, **LARGER),
    "a bind while the instance is made": DO.busy().binding().put(flag=True),
    "a bind while the instance is updated": DO.busy("patch", **LARGER)
    .binding()
    .put(flag=True),
    "an unbind while the instance is updated": DO.bound_and_busy(
        "patch", **LARGER
    ).delete(flag=True),
    "an update while a binding is made": DO.busy_binding()
    .instance()
    .patch(flag=True, **LARGER),
    "a bind while another binding is made": DO.busy_binding()
    .instance()
    .binding()
    .put(flag=True),
    "a provision of an id that is being removed": DO.busy("delete").put(flag=True),
    "an update while the instance is removed": DO.busy("delete").patch(
        flag=True, **LARGER
    ),
    "an unbind while the instance is removed": DO.bound_and_busy("delete").delete(
        flag=True
    ),
    "a deprovision while the instance is updated": DO.busy("patch", **LARGER).delete(
        flag=True
    ),
    "the same provision while it runs, without the flag": DO.busy().put(),
    "a poll while it runs": DO.busy().poll(),
    "a poll without any query": DO.made().poll(),
    "a poll after a synchronous provision": DO.made().poll(),
    "a poll with an `operation` that never was": DO.made().poll(operation="never-was"),
    "a poll with an empty `operation`": DO.made().poll(operation=""),
    "a poll with `service_id`": DO.made().poll(**ids_of("plain/plan")),
    "a poll after an asynchronous deprovision": DO.busy("delete").settled(),
    "a poll after a synchronous deprovision": DO.gone().poll(),
    "a poll of a provision that failed": DO.failed("trouble/provision").poll(),
    "a poll of an unknown instance": DO.instance().poll(),
    "a poll of a binding while it is made": DO.busy_binding().poll(),
    "a poll of a binding that is made, without any query": DO.bound(
        "queue/async"
    ).poll(),
    "a poll of a binding with an `operation` that never was": DO.bound(
        "queue/async"
    ).poll(operation="never-was"),
    "a poll of a binding after its unbind": DO.unbound().poll(),
    "a poll of a binding after the deprovision": DO.left().poll(),
    "a poll of an unknown binding": DO.made().binding().poll(),
    "a poll of a binding under another instance": DO.bound().elsewhere().poll(),
    "a provision of a new id": DO.instance().put(),
    "a provision with `parameters` that are null": DO.instance().put(parameters=None),
    "a provision after a deprovision of the same id": DO.gone().put(),
    "a provision after a failed one of the same id": DO.failed("trouble/provision").put(
        flag=True
    ),
    "the same provision again, made asynchronously": DO.made("queue/async").put(
        flag=True
    ),
    "the same while the instance is updated": DO.busy("patch", **LARGER).put(flag=True),
    "the same with another `context`": DO.made().put(context={"platform": "other"}),
    "the same with another `plan_id`": DO.made().put(**ids_of("queue/sync-large")),
    "the same with another `service_id`": DO.made().put(**ids_of("plain/plan")),
    "the same with other `parameters`": DO.made().put(**LARGER),
    "the same with another `organization_guid`": DO.made().put(
        organization_guid="another"
    ),
    "another `plan_id` while the instance is made": DO.busy().put(
        flag=True, **ids_of("slow/slow-large")
    ),
    "a provision with `space_guid` that is empty": DO.instance().put(space_guid=""),
    "a provision with an unknown `service_id`": DO.instance().put(
        service_id=str(uuid4())
    ),
    "a provision with a `plan_id` of another offering": DO.instance().put(
        plan_id=conformance.ident("plain/plan")
    ),
    "a provision with parameters that the schema refuses": DO.instance().put(
        parameters={"size": "5"}
    ),
    "GET of an instance": DO.made().get(),
    "GET of an instance with": DO.made().get(**ids_of("plain/plan")),
    "GET of an instance while a binding is made": DO.busy_binding().instance().get(),
    "GET of an unknown instance": DO.instance().get(),
    "GET of an instance while it is made": DO.busy().get(),
    "GET of an instance whose creation failed": DO.failed("trouble/provision").get(),
    "GET of an instance, offering without": DO.made("plain/plan").get(),
    "GET of an instance while it is updated": DO.busy("patch", **LARGER).get(),
    "GET of an instance while it is removed": DO.busy("delete").get(),
    "an update to another plan": DO.made().patch(
        plan_id=conformance.ident("queue/sync-large")
    ),
    "an update that holds only `service_id`": DO.made().patch(),
    "an update of `context` only, offering with `allow": DO.made().patch(
        context={"platform": "x", "instance_name": "y"}
    ),
    "an update of `context` only, offering without it": DO.made("plain/plan").patch(
        context={"platform": "x"}
    ),
    "an update with unknown `previous_values`": DO.made().patch(
        previous_values={"plan_id": "x", "new": 1}
    ),
    "an update of parameters on an async plan": DO.made("queue/async").patch(
        flag=True, **LARGER
    ),
    "an update with another offering's `service_id`": DO.made().patch(
        service_id=conformance.ident("plain")
    ),
    "an update with an unknown `plan_id`": DO.made().patch(plan_id=str(uuid4())),
    "an update with parameters that the schema refuses": DO.made().patch(
        parameters={"size": "5"}
    ),
    "an update with `parameters` that are a list": DO.made().patch(parameters=[]),
    "an update to another plan, `plan_up": DO.made("queue/fixed").patch(
        plan_id=conformance.ident("queue/sync")
    ),
    "an update of an unknown instance": DO.instance().patch(),
    "an update of an instance whose creation failed": DO.failed(
        "trouble/provision"
    ).patch(flag=True, **LARGER),
    "a poll of an update that failed": DO.failed(
        "trouble/update", "patch", **LARGER
    ).poll(),
    "a bind of a new id": DO.made().binding().put(),
    "a bind without `bind_resource`": DO.made().binding().put(),
    "the same binding id under another instance": DO.bound().elsewhere().put(),
    "a bind after an unbind of the same id": DO.unbound().put(),
    "a bind after a failed one of the same id": DO.failed_binding().put(flag=True),
    "the same bind with other `parameters`": DO.bound().put(**WRITER),
    "the same bind with another `plan_id`": DO.bound().put(
        **ids_of("queue/sync-large")
    ),
    "the same bind with other `parameters` while it runs": DO.busy_binding().put(
        flag=True, **WRITER
    ),
    "a bind with a `plan_id` that is not the instance's": DO.made()
    .binding()
    .put(**ids_of("queue/sync-large")),
    "a bind with parameters that the schema refuses": DO.made()
    .binding()
    .put(parameters={"role": "owner"}),
    "a bind with `bind_resource` that is a list": DO.made()
    .binding()
    .put(bind_resource=[]),
    "a bind on a plan that is not bindable": DO.made("queue/unbindable")
    .binding()
    .put(),
    "a bind of an unknown instance": DO.instance().binding().put(),
    "a bind with `bind_resource.app_guid`": DO.made("app-only/plan")
    .binding()
    .put(bind_resource={"app_guid": "app"}),
    "a bind with the deprecated `app_guid`": DO.made("app-only/plan")
    .binding()
    .put(app_guid="app"),
    "a bind without an application": DO.made("app-only/plan").binding().put(),
    "a bind with `app_guid` that": DO.made("app-only/plan")
    .binding()
    .put(app_guid="", bind_resource={"app_guid": ""}),
    "GET of a binding with": DO.bound().get(**ids_of("plain/plan")),
    "GET of a binding while its instance is updated": DO.bound_and_busy(
        "patch", **LARGER
    ).get(),
    "GET of an unknown binding": DO.made().binding().get(),
    "GET of a binding while it is made": DO.busy_binding().get(),
    "GET of a binding while it is removed": DO.busy_binding("delete").get(),
    "GET of a binding while its instance is removed": DO.bound_and_busy("delete").get(),
    "GET of a binding under another instance": DO.bound().elsewhere().get(),
    "GET of a binding, offering without": DO.bound("plain/plan").get(),
    "GET of a binding that expired": DO.expired().get(),
    "an unbind with ids of something else": DO.bound().delete(**ids_of("plain/plan")),
    "an unbind on an async plan, with the flag": DO.bound("queue/async").delete(
        flag=True
    ),
    "an unbind while the binding is made": DO.busy_binding().delete(flag=True),
    "an unbind of an unknown binding": DO.made().binding().delete(),
    "an unbind under an unknown instance": DO.instance().binding().delete(),
    "an unbind that was done": DO.unbound().delete(),
    "a deprovision": DO.made().delete(),
    "a deprovision with ids of something else": DO.made().delete(
        **ids_of("plain/plan")
    ),
    "a deprovision with bindings left": DO.bound().instance().delete(),
    "GET of a binding whose instance was removed": DO.left().get(),
    "a deprovision on an async plan, with the flag": DO.made("queue/async").delete(
        flag=True
    ),
    "a deprovision while the instance is made": DO.busy().delete(flag=True),
    "a deprovision after a failed deprovision": DO.failed(
        "trouble/deprovision", "delete"
    ).delete(flag=True),
    "a poll of a deprovision that failed": DO.failed(
        "trouble/deprovision", "delete"
    ).poll(),
    "a deprovision of an unknown instance": DO.instance().delete(),
    "a deprovision of an unknown instance, ids": DO.instance("queue/async").delete(),
    "a deprovision that was done": DO.gone().delete(),
    "a deprovision after a failed provision": DO.failed("trouble/provision").delete(
        flag=True
    ),
}
"""Those that are one request after another."""

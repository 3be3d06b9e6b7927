"""Twenty things that a broker must do so that every platform works with it.

Each is a section below, its tests named by its number; what a platform would do
otherwise is said where it is not plain. How each platform judges an answer stands
in `platforms/`, and `test_recordings.py` replays what they really sent.

    1 JSON always     6 DELETE twice   11 polls            16 parameter schemas
    2 no nulls        7 DELETE wins    12 async bindings   17 credentials
    3 versions        8 in time        13 what is sent     18 binding extras
    4 error words     9 last operation 14 slashes          19 authentication
    5 PUT twice      10 tokens         15 catalog          20 the HTTP server
"""

import asyncio
import base64
import gzip
import hashlib
import hmac
import json
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
import uvicorn
from jsonschema import Draft4Validator
from pydantic import BaseModel, Field, SecretStr
from structlog.testing import CapturingLogger

from osbkit import Bound, Broker, Catalog, Failed, NoParameters, Refused
from osbkit.backends.scripted import Hold, Progress, ScriptedBackend, fail, succeed
from osbkit.cli.serve import server_config
from osbkit.errors import CatalogInvalid, Unavailable
from osbkit.lifecycle.housekeeping import forget
from osbkit.lifecycle.waiting import ROLLBACK_WAIT
from osbkit.operations import backoff
from osbkit.operations import bound as operations_bound
from osbkit.settings import Settings
from osbkit.store.tables import instances as instances_table
from osbkit.store.tables import operations as operations_table
from tests.conformance.broker import (
    MOUNT,
    OFFERINGS,
    VERBS,
    VERSION,
    Queues,
    backends,
    catalog,
    ident,
    offering,
    plan,
)
from tests.conformance.platforms.fields import strangers
from tests.conformance.platforms.replay import TOKEN
from tests.flows.serving import (
    BODY,
    PASSWORD,
    USER,
    Served,
    body_of,
    is_error,
    serving,
    soon,
    until,
)

Json = dict[str, Any]
QUEUE = ident("queue")
SYNC, LARGE = ident("queue/sync"), ident("queue/sync-large")
ASYNC, ASYNC_LARGE = ident("queue/async"), ident("queue/async-large")
AUTO, POLLED = ident("queue/auto"), ident("queue/polled")
HOUSE = "/service_instances/i-1"
KEY = f"{HOUSE}/service_bindings/b-1"
UNRESERVED = re.compile(r"[A-Za-z0-9._~-]{1,64}")
SENTENCES = {
    "AsyncRequired": "This service plan requires client support for asynchronous"
    " service operations.",
    "ConcurrencyError": "The Service Broker does not support concurrent requests that"
    " mutate the same resource.",
    "RequiresApp": "This service supports generation of credentials through binding an"
    " application only.",
    "MaintenanceInfoConflict": "The maintenance information for the requested Service"
    " Plan has changed.",
}


# --- how a platform asks -------------------------------------------------------------


async def put(
    broker: Served, plan: str = SYNC, service: str = QUEUE, **more: Any
) -> httpx.Response:
    """PUT of the instance i-1."""
    return await broker.put("i-1", plan=plan, service_id=service, **more)


async def patch(broker: Served, **more: Any) -> httpx.Response:
    """PATCH of the instance i-1."""
    return await broker.patch("i-1", **{"service_id": QUEUE} | more)


async def delete(broker: Served, plan: str = SYNC, **more: Any) -> httpx.Response:
    """DELETE of the instance i-1."""
    return await broker.delete("i-1", service_id=QUEUE, plan_id=plan, **more)


async def bind(
    broker: Served, plan: str = SYNC, service: str = QUEUE, **more: Any
) -> httpx.Response:
    """PUT of the binding b-1 of i-1."""
    return await broker.bind("b-1", "i-1", plan=plan, service_id=service, **more)


async def unbind(broker: Served, plan: str = SYNC, **more: Any) -> httpx.Response:
    """DELETE of the binding b-1 of i-1."""
    return await broker.unbind("b-1", "i-1", service_id=QUEUE, plan_id=plan, **more)


async def raw(
    broker: Served, method: str, path: str, content: bytes = b"", **headers: str
) -> httpx.Response:
    """A request with exactly this path and body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await broker.http.request(
        method, path, content=content, headers=named, auth=(USER, PASSWORD)
    )


CHANGES = ("put", "patch", "bind", "unbind", "delete")


async def async_alone(broker: Served, verb: str) -> None:
    """What there must be before a change of the asynchronous plan is asked for."""
    if verb != "put":
        await put(broker, ASYNC, flag=True)
        await broker.quiet()
    if verb == "unbind":
        await bind(broker, ASYNC, flag=True)
        await broker.quiet()


async def without_flag(broker: Served, verb: str) -> httpx.Response:
    """A change of the asynchronous plan from a client that cannot poll."""
    asking = {
        "put": partial(put, broker, ASYNC),
        "patch": partial(patch, broker, parameters={"size": 2}),
        "bind": partial(bind, broker, ASYNC),
        "unbind": partial(unbind, broker, ASYNC),
        "delete": partial(delete, broker, ASYNC),
    }
    return await asking[verb]()


async def held(queue: Queues, verb: Any, *, deaf: bool = False) -> Hold:
    """Keep the next call of a verb until it is released."""
    hold = Hold(deaf=deaf)
    queue.next(verb, succeed(hold=hold))
    return hold


async def a_whole_life(
    broker: Served, queue: Queues
) -> list[tuple[str, httpx.Response]]:
    """Every answer of one instance's life, sync and async, by verb."""
    found: list[tuple[str, httpx.Response]] = []

    async def keep(verb: str, asking: Any) -> httpx.Response:
        answer: httpx.Response = await asking
        found.append((verb, answer))
        return answer

    await keep("catalog", broker.ask("GET", "/catalog"))
    for sync, other, flag in ((SYNC, LARGE, None), (ASYNC, ASYNC_LARGE, True)):
        asking: Json = {"flag": flag}
        await keep("provision", put(broker, sync, **asking))
        await keep("poll provision", broker.poll())
        await broker.quiet()
        await keep("provision", put(broker, sync, **asking))
        await keep("update", patch(broker, parameters={"size": 2}, **asking))
        await broker.quiet()
        await keep("update", patch(broker, parameters={}, **asking))
        await keep("update", patch(broker, plan_id=other, **asking))
        await broker.quiet()
        await keep("poll update", broker.poll())
        await keep("fetch instance", broker.get())
        await keep("bind", bind(broker, other, **asking))
        await keep("poll bind", broker.poll_binding())
        await broker.quiet()
        await keep("bind", bind(broker, other, **asking))
        await keep("fetch binding", broker.get_binding())
        await keep("unbind", unbind(broker, other, **asking))
        await broker.quiet()
        await keep("poll unbind", broker.poll_binding())
        await keep("unbind", unbind(broker, other, **asking))
        await keep("deprovision", delete(broker, other, **asking))
        await broker.quiet()
        await keep("poll deprovision", broker.poll())
        await keep("deprovision", delete(broker, other, **asking))
    return found


async def everything_that_is_refused(
    broker: Served, queue: Queues
) -> list[httpx.Response]:
    """An answer of every status from 400 on."""
    queue.next("provision", fail(Failed("The queue server is full.")))
    found = [
        await put(broker),  # 500
        await raw(broker, "PUT", f"/v2{HOUSE}", b"{"),  # 400
        await broker.of("nobody", "nothing").get(),  # 401
        await broker.get(),  # 404, unknown instance
        await broker.ask("GET", "/nothing"),  # 404, unknown path
        await broker.ask("POST", HOUSE),  # 405
        await broker.ask("DELETE", "/catalog"),  # 405
        await broker.with_headers(X_Broker_API_Version="3.0").get(),  # 412
        await raw(broker, "PUT", f"/v2{HOUSE}", b" " * (1024 * 1024 + 1)),  # 413
        await put(broker, ASYNC),  # 422
        await delete(broker),  # 410
    ]
    hold = await held(queue, "provision")
    late = asyncio.create_task(put(broker))
    await soon(hold.entered.wait())
    await delete(broker)
    found.append(await soon(late))  # 503
    await put(broker)
    found.append(await put(broker, parameters={"size": 7}))  # 409
    return found


# --- 1: a JSON object on every answer -------------------------------------------------


async def test_01_every_answer_is_a_json_object_and_no_body_is_empty(
    broker: Served, queue: Queues
) -> None:
    """CT-01, CT-07, ERR-14, ORPH-06. After an empty body Service Catalog repeats an
    unbind, Cloud Foundry fails a deletion, SAP Service Manager writes one of its
    own."""
    lived = [answer for _, answer in await a_whole_life(broker, queue)]
    refused = await everything_that_is_refused(broker, queue)

    for answer in (*lived, *refused):
        assert answer.headers["content-type"] == "application/json"
        assert isinstance(json.loads(answer.content), dict)
    assert {answer.status_code for answer in lived} == {200, 201, 202, 410}
    assert {answer.status_code for answer in refused} == {
        *(400, 401, 404, 405, 409, 410, 412, 413, 422, 500, 503)
    }


# --- 2: unset fields are left out -----------------------------------------------------


def nulls(value: Any, place: str = "") -> Iterator[str]:
    """Where a null stands."""
    if value is None:
        yield place
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from nulls(inner, f"{place}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from nulls(inner, place)


async def test_02_unset_fields_are_left_out_and_never_null(
    broker: Served, queue: Queues
) -> None:
    """Cloud Foundry takes a null for malformed: operation, metadata, tags, requires."""
    lived = await a_whole_life(broker, queue)
    refused = await everything_that_is_refused(broker, queue)

    for answer in (*(answer for _, answer in lived), *refused):
        assert list(nulls(answer.json())) == []


async def test_02_an_offering_without_anything_optional_sends_nothing_optional(
    broker: Served,
) -> None:
    service, plain = ident("plain"), ident("plain/plan")

    made = await put(broker, plain, service)
    bound = await bind(broker, plain, service)
    listed = (await broker.ask("GET", "/catalog")).json()["services"]

    assert (made.status_code, body_of(made)) == (201, {})
    assert (bound.status_code, [*body_of(bound)]) == (201, ["credentials"])
    shown = next(one for one in listed if one["id"] == service)
    assert shown.keys().isdisjoint({"tags", "requires", "metadata", "dashboard_client"})
    assert (
        first(shown)
        .keys()
        .isdisjoint({"metadata", "maintenance_info", "maximum_polling_duration"})
    )


def test_02_a_null_of_an_author_never_goes_out() -> None:
    """Cloud Foundry refuses a catalog for `tags: null` and `requires: null`."""
    optional = ("tags", "requires", "metadata", "dashboard_client", "plan_updateable")
    of_plans = ("metadata", "free", "bindable", "schemas", "maintenance_info")
    (made,) = one(lambda made: made.update(dict.fromkeys(optional)))
    first(made).update(dict.fromkeys(of_plans))

    offer = Broker(
        catalog=Catalog.from_dict({"services": [made]}), backends={"queue": Queues()}
    ).offer()

    for minor in (11, 14, 17):
        assert list(nulls(json.loads(offer.pages.page((2, minor)).plain))) == []


# --- 3: versions ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "status"),
    [
        pytest.param(None, 400, id="absent"),
        pytest.param("2", 400, id="no minor part"),
        pytest.param("2.x", 400, id="no number"),
        pytest.param("latest", 400, id="a word"),
        pytest.param("2.17.1", 400, id="three parts"),
        pytest.param("", 412, id="empty"),
        pytest.param("1.0", 412, id="another major version"),
        pytest.param("2.10", 412, id="before the oldest"),
        pytest.param("3.0", 412, id="the next major version"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        pytest.param("GET", "/v2/catalog", b"", id="catalog"),
        pytest.param("PUT", f"/v2{HOUSE}", b"{}", id="an empty object"),
        pytest.param("PUT", f"/v2{HOUSE}", b"{", id="a broken body"),
        pytest.param("DELETE", f"/v2{KEY}", b"", id="no ids in the query"),
        pytest.param("GET", "/v2/service_instances/%ff", b"", id="a broken id"),
        pytest.param("GET", "/v2/nothing", b"", id="no such path"),
        pytest.param("POST", f"/v2{HOUSE}", b"", id="no such method"),
    ],
)
async def test_03_a_version_is_judged_before_anything_else_of_the_request(
    broker: Served, value: str | None, status: int, method: str, path: str, body: bytes
) -> None:
    """HDR-02 to HDR-08. The conformance checkers send `{}` and unknown ids."""
    headers = {} if value is None else {"X-Broker-API-Version": value}
    broker.http.headers.pop("X-Broker-API-Version")

    answer = await broker.http.request(
        method, path, content=body, headers=headers, auth=(USER, PASSWORD)
    )

    assert "X-Broker-API-Version" in is_error(answer, status)["description"]


async def test_03_only_authentication_comes_before_the_version(broker: Served) -> None:
    """AUTH-07."""
    broker.http.headers.pop("X-Broker-API-Version")

    is_error(await broker.http.get("/v2/nothing"), 401)
    is_error(await broker.http.get("/v2/nothing", auth=(USER, PASSWORD)), 400)


def newer_question(verb: str, status: int) -> bool:
    """Whether a client before 2.14 cannot have asked: GET, asynchronous bindings."""
    binding = verb in {"bind", "unbind"} and status == 202
    return binding or verb in {"fetch instance", "fetch binding", "poll bind"}


@pytest.mark.parametrize("minor", [11, 12, 13, 14, 15, 16, 17, 18, 99])
async def test_03_fields_newer_than_the_client_are_left_out(
    broker: Served, queue: Queues, minor: int
) -> None:
    """GEN-03, GEN-04. Some judge an answer by the closed shape of their version: a
    checker of 2.13 fails for `maintenance_info`, and for an update's dashboard_url."""
    version = (2, min(minor, 17))
    client = broker.with_headers(X_Broker_API_Version=f"2.{minor}")

    lived = await a_whole_life(client, queue)

    for verb, answer in lived:
        if version < (2, 14) and newer_question(verb, answer.status_code):
            continue
        assert strangers(verb, version, answer.status_code, answer.json()) == [], verb
    assert {answer.status_code for _, answer in lived} <= {200, 201, 202, 410}


# --- 4: the words of an error ---------------------------------------------------------


def is_named(answer: httpx.Response, code: str) -> None:
    """422 with one of the four codes, in the specification's own words."""
    assert is_error(answer, 422, code)["description"] == SENTENCES[code]


@pytest.mark.parametrize("verb", CHANGES)
async def test_04_async_required_is_said_in_the_words_of_the_specification(
    broker: Served, verb: str
) -> None:
    """ERR-08, ASYNC-10. Clients compare code and sentence to the letter."""
    await async_alone(broker, verb)

    is_named(await without_flag(broker, verb), "AsyncRequired")


async def test_04_a_concurrency_error_is_said_in_the_words_of_the_specification(
    broker: Served, queue: Queues
) -> None:
    """ERR-09, CONC-03."""
    making = await held(queue, "provision")
    await put(broker, ASYNC, flag=True)
    refused = [
        await patch(broker, flag=True, parameters={"size": 2}),
        await bind(broker, ASYNC, flag=True),
    ]
    making.release()
    await broker.quiet()
    removing = await held(queue, "deprovision")
    await delete(broker, ASYNC, flag=True)
    refused += [
        await put(broker, ASYNC, flag=True),
        await patch(broker, flag=True, parameters={"size": 2}),
    ]
    removing.release()
    await broker.quiet()

    for answer in refused:
        is_named(answer, "ConcurrencyError")


async def test_04_a_missing_app_is_said_in_the_words_of_the_specification(
    broker: Served,
) -> None:
    """ERR-10, BIND-16."""
    chosen, service = ident("app-only/plan"), ident("app-only")
    await put(broker, chosen, service)

    is_named(await bind(broker, chosen, service), "RequiresApp")


async def test_04_another_version_is_said_in_the_words_of_the_specification(
    broker: Served,
) -> None:
    """ERR-11, MAINT-04, MAINT-05."""
    stale: Json = {"maintenance_info": {"version": "9.9.9"}}
    is_named(await put(broker, **stale), "MaintenanceInfoConflict")
    await put(broker)

    is_named(await patch(broker, **stale), "MaintenanceInfoConflict")
    is_named(await patch(broker, plan_id=LARGE, **stale), "MaintenanceInfoConflict")


WHOLE: Json = {"service_id": QUEUE, "plan_id": SYNC, **BODY}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="no JSON"),
        pytest.param(b"[]", id="no object"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[" * 100_000, id="nested"),
        pytest.param(b"\xff", id="no UTF-8"),
        *(
            pytest.param(json.dumps(WHOLE | change).encode(), id=name)
            for name, change in (
                ("service_id is a number", {"service_id": 1}),
                ("service_id unknown", {"service_id": "nothing"}),
                ("service_id empty", {"service_id": ""}),
                ("plan_id unknown", {"plan_id": "nothing"}),
                ("plan_id empty", {"plan_id": ""}),
                ("plan of another offering", {"plan_id": ident("plain/plan")}),
                ("organization_guid empty", {"organization_guid": ""}),
                ("space_guid null", {"space_guid": None}),
                ("parameters a list", {"parameters": []}),
                ("parameters that do not fit", {"parameters": {"size": 0}}),
                ("parameters that nobody knows", {"parameters": {"sise": 1}}),
                ("context a text", {"context": "cloudfoundry"}),
                ("maintenance_info a text", {"maintenance_info": "1.0.0"}),
            )
        ),
    ],
)
async def test_04_what_cannot_be_read_is_400_and_never_an_unnamed_422(
    broker: Served, queue: Queues, body: bytes
) -> None:
    """CT-05, PROV-16 to PROV-24, ERR-15. An unnamed 422 makes Cloud Foundry clean up
    and Service Catalog repeat without end; 400 alone is final in both."""
    answer = await raw(broker, "PUT", f"/v2{HOUSE}", body)

    is_error(answer, 400)
    assert queue.calls == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        pytest.param("PATCH", HOUSE, b"{", id="patch: no JSON"),
        pytest.param("PATCH", HOUSE, b"[]", id="patch: no object"),
        pytest.param("PATCH", HOUSE, b"{}", id="patch: no service_id"),
        pytest.param("PATCH", HOUSE, {"parameters": []}, id="patch: a list"),
        pytest.param("PATCH", HOUSE, {"parameters": {"size": 0}}, id="patch: unfit"),
        pytest.param("PATCH", HOUSE, {"plan_id": "nothing"}, id="patch: no such plan"),
        pytest.param("PATCH", HOUSE, {"previous_values": 1}, id="patch: a number"),
        pytest.param("PUT", KEY, b"null", id="bind: null"),
        pytest.param("PUT", KEY, b"{}", id="bind: no ids"),
        pytest.param("PUT", KEY, {"plan_id": 1}, id="bind: a number"),
        pytest.param("PUT", KEY, {"plan_id": LARGE}, id="bind: another plan"),
        pytest.param("PUT", KEY, {"bind_resource": "app"}, id="bind: a text"),
        pytest.param("PUT", KEY, {"parameters": {"role": 1}}, id="bind: unfit"),
        pytest.param("PUT", KEY, {"app_guid": 1}, id="bind: an app that is none"),
        pytest.param("DELETE", HOUSE, b"", id="delete: no ids"),
        pytest.param("DELETE", f"{HOUSE}?plan_id={SYNC}", b"", id="delete: one id"),
        pytest.param("DELETE", KEY, b"", id="unbind: no ids"),
        pytest.param("DELETE", f"{KEY}?service_id=&plan_id=", b"", id="unbind: empty"),
    ],
)
async def test_04_what_cannot_be_read_of_any_other_change_is_400_as_well(
    broker: Served, queue: Queues, method: str, path: str, body: Any
) -> None:
    """CT-05, UPD-28, BIND-13 to BIND-15, BIND-21, DEPROV-06, DEPROV-07, UNBIND-06,
    UNBIND-07."""
    await put(broker)
    await bind(broker)
    stored, calls = await broker.everything(), len(queue.calls)
    whole = {"service_id": QUEUE} | ({"plan_id": SYNC} if method == "PUT" else {})
    content = body if isinstance(body, bytes) else json.dumps(whole | body).encode()
    path = path.replace("b-1", "b-2") if method == "PUT" else path

    answer = await raw(broker, method, f"/v2{path}", content)

    is_error(answer, 400)
    assert await broker.everything() == stored
    assert len(queue.calls) == calls


async def test_04_what_an_author_refuses_of_a_put_is_400_and_of_a_patch_a_422(
    broker: Served, queue: Queues
) -> None:
    """PROV-20, BIND-20, UPD-20. A code that Cloud Foundry does not know makes it clean
    up after a PUT, and is a refusal like any other of a PATCH."""
    words = "There is no room for another queue."
    queue.next("provision", fail(Refused(words)))
    made = await put(broker)
    await put(broker)
    queue.next("bind", fail(Refused(words)))
    bound = await bind(broker)
    queue.next("update", fail(Refused(words)))
    changed = await patch(broker, parameters={"size": 2})

    assert is_error(made, 400)["description"] == words
    assert is_error(bound, 400)["description"] == words
    assert is_error(changed, 422, "UpdateRefused")["description"] == words


@pytest.mark.parametrize(
    ("method", "path"), [("GET", HOUSE), ("GET", KEY), ("PUT", HOUSE), ("PUT", KEY)]
)
async def test_04_a_fault_of_the_broker_is_told_in_the_shape_of_the_specification(
    broker: Served, monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    """ERR-01, ERR-05. No page of HTML, no trace, no text of the fault."""

    async def broken(*_: Any) -> Any:
        raise RuntimeError("the password is hunter2")

    await put(broker)
    for name in ("read", "write"):
        monkeypatch.setattr(broker.running.house.store, name, broken)

    answer = await soon(raw(broker, method, f"/v2{path}", json.dumps(WHOLE).encode()))

    assert is_error(answer, 500).keys() == {"description"}
    assert "hunter2" not in answer.text


async def test_04_every_refusal_has_a_sentence_and_only_names_that_are_known(
    broker: Served, queue: Queues
) -> None:
    """Without a description Cloud Foundry shows its user status and raw body."""
    for answer in await everything_that_is_refused(broker, queue):
        body = body_of(answer)
        assert answer.status_code == 410 or body["description"].endswith(".")
        assert "detail" not in body
        assert (answer.status_code == 422) == ("error" in body)


# --- 5: the same PUT twice ------------------------------------------------------------


async def test_05_a_put_repeated_when_it_is_done_gets_200_and_the_same_body(
    broker: Served, queue: Queues
) -> None:
    """PROV-06, PROV-07, PROV-38, BIND-06, BIND-07. Service Catalog repeats a bind whose
    Secret failed."""
    for flag in (None, True):
        made, again = await put(broker, flag=flag), await put(broker, flag=flag)
        bound, once_more = await bind(broker, flag=flag), await bind(broker, flag=flag)

        assert again.status_code == once_more.status_code == 200
        assert body_of(again) == body_of(made)
        assert body_of(once_more) == body_of(bound)
        assert body_of(bound)["credentials"]["password"]
    assert len(queue.made("provision")) == len(queue.made("bind")) == 1


async def test_05_a_put_repeated_while_it_runs_gets_202_and_the_same_operation(
    broker: Served, queue: Queues
) -> None:
    """PROV-04, PROV-05, BIND-04, BIND-05. Korifi sends the whole PUT again on every
    round."""
    making = await held(queue, "provision")
    answers = [await put(broker, ASYNC, flag=True) for _ in range(3)]
    making.release()
    await broker.quiet()
    binding = await held(queue, "bind")
    rounds = [await bind(broker, ASYNC, flag=True) for _ in range(3)]
    binding.release()
    await broker.quiet()

    for asked in (answers, rounds):
        assert {answer.status_code for answer in asked} == {202}
        assert len({body_of(answer)["operation"] for answer in asked}) == 1
    assert len(queue.made("provision")) == len(queue.made("bind")) == 1


@pytest.mark.parametrize("running", [False, True], ids=["done", "running"])
@pytest.mark.parametrize(
    "change",
    [
        {"plan_id": ASYNC_LARGE},
        {"parameters": {"size": 2}},
        {"organization_guid": "another"},
        {"space_guid": "another"},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_05_a_put_with_other_content_is_a_conflict(
    broker: Served, queue: Queues, running: bool, change: Json
) -> None:
    """PROV-09, PROV-11, PROV-12, PROV-14, PROV-15."""
    hold = await held(queue, "provision")
    await put(broker, ASYNC, flag=True)
    if not running:
        hold.release()
        await broker.quiet()

    is_error(await put(broker, ASYNC, flag=True, **change), 409)
    hold.release()
    await broker.quiet()
    assert len(queue.made("provision")) == 1


@pytest.mark.parametrize("running", [False, True], ids=["done", "running"])
async def test_05_a_bind_with_other_content_is_a_conflict(
    broker: Served, queue: Queues, running: bool
) -> None:
    """BIND-08 to BIND-11."""
    await put(broker, ASYNC, flag=True)
    await broker.quiet()
    hold = await held(queue, "bind")
    asking = partial(bind, broker, ASYNC, flag=True)
    await asking(app_guid="app")
    if not running:
        hold.release()
        await broker.quiet()

    is_error(await asking(app_guid="other"), 409)
    is_error(await asking(app_guid="app", parameters={"role": "writer"}), 409)
    hold.release()
    await broker.quiet()
    assert (await asking(app_guid="app")).status_code == 200
    assert len(queue.made("bind")) == 1


# --- 6: the same DELETE twice ---------------------------------------------------------


@pytest.mark.parametrize("flag", [None, True])
@pytest.mark.parametrize("name", ["queue/sync", "queue/auto", "queue/async"])
async def test_06_a_delete_of_what_was_never_here_is_410(
    broker: Served, flag: bool | None, name: str
) -> None:
    """DEPROV-08, UNBIND-08, ORPH-03. 404: Service Catalog repeats it for seven days."""
    for answer in (
        await delete(broker, ident(name), flag=flag),
        await unbind(broker, ident(name), flag=flag),
    ):
        assert (answer.status_code, body_of(answer)) == (410, {})


async def test_06_a_delete_repeated_while_it_runs_gets_202_and_the_same_operation(
    broker: Served, queue: Queues
) -> None:
    """DEPROV-04, DEPROV-05, UNBIND-04, UNBIND-05, ORPH-04. On 422 Korifi marks the
    deletion as failed."""
    await put(broker, ASYNC, flag=True)
    await broker.quiet()
    await bind(broker, ASYNC, flag=True)
    await broker.quiet()
    for verb, remove in (("unbind", unbind), ("deprovision", delete)):
        hold = await held(queue, verb)
        answers = [await remove(broker, ASYNC, flag=True) for _ in range(3)]
        hold.release()
        await broker.quiet()
        gone = await remove(broker, ASYNC, flag=True)

        assert {answer.status_code for answer in answers} == {202}
        assert len({body_of(answer)["operation"] for answer in answers}) == 1
        assert (gone.status_code, body_of(gone)) == (410, {})
    assert len(queue.made("unbind")) == len(queue.made("deprovision")) == 1


# --- 7: a DELETE wins over a running creation -----------------------------------------
#
# That several processes serve one instance after the other, and that a write of an
# operation that was claimed again changes nothing, is shown on a database of its own
# in tests/store/test_server.py and tests/store/test_operations.py.


async def test_07_a_delete_during_an_asynchronous_creation_is_accepted_and_wins(
    broker: Served, queue: Queues
) -> None:
    """DEPROV-11, DEPROV-12."""
    hold = await held(queue, "provision")
    making = body_of(await put(broker, ASYNC, flag=True))["operation"]
    await soon(hold.entered.wait())

    removal = await delete(broker, ASYNC, flag=True)
    await broker.quiet()

    assert removal.status_code == 202
    assert body_of(await broker.poll("i-1", making))["state"] == "failed"
    removed = await broker.poll("i-1", body_of(removal)["operation"])
    assert body_of(removed)["state"] == "succeeded"
    assert queue.left == set()


@pytest.mark.parametrize("flag", [True, None], ids=["polled", "inside its request"])
async def test_07_an_unbind_during_the_binding_is_accepted_and_wins(
    broker: Served, queue: Queues, flag: bool | None
) -> None:
    """UNBIND-10, UNBIND-11. Service Catalog sends it when its PUT has timed out."""
    chosen = SYNC if flag is None else ASYNC
    await put(broker, chosen, flag=flag)
    await broker.quiet()
    hold = await held(queue, "bind")
    first = asyncio.create_task(bind(broker, chosen, flag=flag))
    await soon(hold.entered.wait())

    removal = asyncio.create_task(unbind(broker, chosen, flag=flag))
    await soon(hold.cancelled.wait())
    hold.release()
    removed = await soon(removal)
    await broker.quiet()
    left = dict(queue.bindings)
    again = await bind(broker, chosen, flag=flag)
    await broker.quiet()

    done = (200, 201) if flag is None else (202, 202)
    assert (removed.status_code, again.status_code) == done
    assert (await soon(first)).status_code == (503 if flag is None else 202)
    assert left == {}
    assert len(queue.bindings) == 1


@pytest.mark.parametrize("deaf", [False, True], ids=["returns", "goes on"])
async def test_07_a_creation_inside_its_own_request_is_ended_as_well(
    broker: Served, queue: Queues, deaf: bool
) -> None:
    """DEPROV-11. Service Catalog after a timeout: PUT, DELETE, PUT with the same id,
    and the first one finishes last."""
    hold = await held(queue, "provision", deaf=deaf)
    first = asyncio.create_task(put(broker))
    await soon(hold.entered.wait())

    removal = asyncio.create_task(delete(broker))
    await soon(hold.cancelled.wait())
    hold.release()
    removed = await soon(removal)
    second = await put(broker)

    assert (removed.status_code, second.status_code) == (200, 201)
    is_error(await soon(first), 503)
    await broker.quiet()
    old, new = queue.made("provision")
    assert queue.left == {new.name} != {old.name}


async def test_07_a_late_result_never_meets_what_was_made_after_it(
    broker: Served, queue: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first call cannot be stopped, and is waited for no longer."""
    monkeypatch.setattr("osbkit.operations.halting.PATIENCE", 0)
    hold = await held(queue, "provision", deaf=True)
    first = asyncio.create_task(put(broker))
    await soon(hold.entered.wait())

    removed = await soon(delete(broker))
    second = await put(broker)
    hold.release()  # now the first call makes its queue after all
    is_error(await soon(first), 503)
    await broker.hurry()

    assert (removed.status_code, second.status_code) == (200, 201)
    new = queue.made("provision")[1]
    assert queue.left == {new.name}
    assert (await broker.get()).status_code == 200


# --- 8: an answer before the platform gives up ----------------------------------------


def test_08_what_a_request_may_wait_for_stays_below_the_minute_of_a_platform() -> None:
    """GEN-01. 60 s are Service Catalog's and Cloud Foundry's patience."""
    settings = Settings()

    assert settings.sync_budget_required + ROLLBACK_WAIT <= 55
    assert settings.sync_budget <= 10  # SAP Service Manager: 10 s to the headers


@pytest.mark.parametrize("verb", CHANGES)
async def test_08_a_client_that_cannot_poll_is_refused_before_anything_happens(
    broker: Served, queue: Queues, verb: str
) -> None:
    """ASYNC-06, ASYNC-11."""
    await async_alone(broker, verb)
    before, made = await broker.everything(), queue.left

    answer = await without_flag(broker, verb)

    is_error(answer, 422, "AsyncRequired")
    assert await broker.everything() == before
    assert queue.left == made
    assert queue.inside == []


async def test_08_what_is_not_done_in_time_goes_on_for_a_client_that_polls(
    broker: Served, queue: Queues
) -> None:
    broker.allow(sync_budget=0.0)
    hold = await held(queue, "provision")

    accepted = await put(broker, AUTO, flag=True)
    hold.release()
    await broker.quiet()

    assert accepted.status_code == 202
    assert body_of(await broker.poll())["state"] == "succeeded"
    assert len(queue.made("provision")) == 1


async def test_08_what_is_not_done_in_time_leaves_nothing_for_one_that_cannot(
    broker: Served, queue: Queues
) -> None:
    """ERR-13. The platform reads an error and keeps nothing."""
    broker.allow(sync_budget_required=0.0)
    await held(queue, "provision")

    answer = await put(broker, AUTO)

    is_error(answer, 503)
    await broker.quiet()
    assert queue.left == set()
    assert (await delete(broker, AUTO)).status_code == 410


async def test_08_every_update_answer_repeats_the_dashboard(
    broker: Served, queue: Queues
) -> None:
    """UPD-22. Without it a Service Catalog that reads it stops working."""
    url = body_of(await put(broker))["dashboard_url"]
    hold = Hold()
    answers = [
        await patch(broker),  # nothing to do
        await patch(broker, parameters={"size": 2}),
        await patch(broker, plan_id=LARGE),
        await patch(broker, plan_id=ASYNC, flag=True),
    ]
    await broker.quiet()
    queue.next("update", succeed(hold=hold))
    answers += [
        await patch(broker, parameters={"size": 3}, flag=True),
        await patch(broker, parameters={"size": 3}, flag=True),  # joins
    ]
    hold.release()
    await broker.quiet()

    assert {200, 202} == {answer.status_code for answer in answers}
    assert [body_of(answer)["dashboard_url"] for answer in answers] == [url] * 6


# --- 9: last_operation ----------------------------------------------------------------


async def forgotten_after(broker: Served, days: float) -> None:
    """Move what ended that many days into the past, and forget what is due."""
    store = broker.running.house.store
    ago = int(timedelta(days=days).total_seconds() * 1_000_000)
    ended = int(datetime.now(UTC).timestamp() * 1_000_000) - ago
    gone = instances_table.c.ended_at.is_not(None)
    await broker.set(instances_table, gone, ended_at=ended)
    over = operations_table.c.ended_at.is_not(None)
    await broker.set(operations_table, over, ended_at=ended)
    await store.write(partial(forget, days=8))


async def test_09_after_a_deletion_it_says_succeeded_then_410_then_404(
    broker: Served,
) -> None:
    """LOP-10, LOP-13. eden and a conformance checker want 200 after a DELETE."""
    await put(broker)
    await delete(broker)

    for _ in range(3):
        polled = await broker.poll()
        assert (polled.status_code, body_of(polled)) == (200, {"state": "succeeded"})
    await forgotten_after(broker, 9)
    gone = await broker.poll()
    assert (gone.status_code, body_of(gone)) == (410, {})
    await forgotten_after(broker, 91)
    is_error(await broker.poll(), 404)


@pytest.mark.parametrize(
    "query",
    [
        pytest.param({}, id="no query at all"),
        pytest.param({"operation": ""}, id="empty"),
        pytest.param({"operation": "provision"}, id="invented"),
        pytest.param({"operation": "\u00e4 / ?"}, id="strange"),
        pytest.param({"operation": "o" * 10_000}, id="long"),
        pytest.param({"service_id": QUEUE, "plan_id": SYNC}, id="the old plan"),
        pytest.param({"service_id": QUEUE, "plan_id": LARGE}, id="the new plan"),
        pytest.param({"service_id": "x", "plan_id": "y"}, id="unknown ids"),
        pytest.param({"plan_id": ""}, id="an empty plan id"),
    ],
)
async def test_09_an_operation_that_is_not_known_means_the_latest(
    broker: Served, queue: Queues, query: dict[str, str]
) -> None:
    """LOP-14, LOP-16. After an update Service Catalog sends the new plan id, Cloud
    Foundry the old one."""
    await put(broker)
    hold = await held(queue, "update")
    broker.allow(sync_budget=0.0)
    changing = asyncio.create_task(patch(broker, plan_id=LARGE))
    await soon(hold.entered.wait())

    running = await broker.ask("GET", f"{HOUSE}/last_operation", params=query)
    hold.release()
    await soon(changing)
    done = await broker.ask("GET", f"{HOUSE}/last_operation", params=query)

    assert (running.status_code, body_of(running)["state"]) == (200, "in progress")
    assert (done.status_code, body_of(done)["state"]) == (200, "succeeded")


@pytest.mark.parametrize(
    "query",
    [
        pytest.param({}, id="no query at all"),
        pytest.param({"operation": ""}, id="empty"),
        pytest.param({"operation": "bind"}, id="invented"),
        pytest.param({"service_id": "x", "plan_id": "y"}, id="unknown ids"),
    ],
)
async def test_09_polls_of_a_binding_are_answered_alike(
    broker: Served, queue: Queues, query: dict[str, str]
) -> None:
    """BLOP-01, BLOP-06, BLOP-10, BLOP-11."""

    async def polled() -> tuple[int, Any]:
        answer = await broker.ask("GET", f"{KEY}/last_operation", params=query)
        return answer.status_code, body_of(answer).get("state")

    await put(broker, ASYNC, flag=True)
    await broker.quiet()
    told = []
    for verb, change in (("bind", bind), ("unbind", unbind)):
        hold = await held(queue, verb)
        await change(broker, ASYNC, flag=True)
        told.append(await polled())
        hold.release()
        await broker.quiet()
        told += [await polled(), await polled()]

    assert told == [(200, "in progress"), *[(200, "succeeded")] * 2] * 2


async def test_09_a_stale_token_is_answered_too(broker: Served) -> None:
    old = body_of(await put(broker, ASYNC, flag=True))["operation"]
    await broker.quiet()
    await delete(broker, ASYNC, flag=True)
    await broker.quiet()

    assert (await broker.poll("i-1", old)).status_code == 200


@pytest.mark.parametrize(
    "trouble",
    [Unavailable("The database is away."), RuntimeError("a fault")],
    ids=["database away", "a fault of ours"],
)
@pytest.mark.parametrize("path", [HOUSE, KEY], ids=["instance", "binding"])
async def test_09_trouble_that_passes_is_503_with_retry_after(
    broker: Served, monkeypatch: pytest.MonkeyPatch, trouble: Exception, path: str
) -> None:
    """400 ends the operation for Service Catalog and Cloud Foundry, 500 for
    SAP Service Manager; 404 looks like a deletion to some."""

    async def away(_: Any) -> Any:
        raise trouble

    await put(broker)
    monkeypatch.setattr(broker.running.house.store, "read", away)

    answer = await soon(raw(broker, "GET", f"/v2{path}/last_operation"))

    is_error(answer, 503)
    assert answer.headers["retry-after"].isdigit()


# --- 10: tokens of operations ---------------------------------------------------------


async def test_10_tokens_of_operations_are_short_and_need_no_escape(
    broker: Served, queue: Queues
) -> None:
    """URL-02, PROV-31, BIND-22, DEPROV-14. eden puts them into the URL as they are."""
    lived = await a_whole_life(broker, queue)

    tokens = [
        answer.json()["operation"] for _, answer in lived if answer.status_code == 202
    ]
    assert len(tokens) == len(set(tokens)) == 6
    assert all(UNRESERVED.fullmatch(token) for token in tokens)


# --- 11: polls ------------------------------------------------------------------------


async def test_11_retry_after_is_whole_seconds_and_only_while_it_runs(
    broker: Served, queue: Queues
) -> None:
    """LOP-11, LOP-12. Cloud Foundry reads a date as 0."""
    hold = Hold()
    said = (Progress(text="Half of it", percent=50, poll_after=75),)
    queue.next("provision", succeed(hold=hold, progress=said))
    await put(broker, ASYNC, flag=True)
    await soon(hold.entered.wait())

    running = await broker.poll()
    hold.release()
    await broker.quiet()
    done = await broker.poll()

    assert running.headers["retry-after"] == "75"
    assert body_of(running)["description"] == "Half of it (50 %)"
    assert "retry-after" not in done.headers


async def test_11_a_storm_of_polls_and_puts_makes_nothing_twice(
    broker: Served, queue: Queues
) -> None:
    """CONC-05. Korifi starts at 5 ms, and sends the PUT with every poll."""
    hold = await held(queue, "provision")
    storm = [put(broker, ASYNC, flag=True) for _ in range(40)]
    answers = await asyncio.gather(*storm, *(broker.poll() for _ in range(40)))
    hold.release()
    await broker.quiet()

    accepted = [body_of(answer)["operation"] for answer in answers[:40]]
    assert len(set(accepted)) == 1
    assert {body_of(answer).get("state") for answer in answers[40:]} <= {
        "in progress",
        None,  # came before the first PUT: 404
    }
    assert len(queue.made("provision")) == 1


async def test_11_a_poll_costs_a_look_and_no_more(
    broker: Served, queue: Queues
) -> None:
    """It asks no backend, writes nothing, and begins nothing."""
    hold = await held(queue, "provision")
    await put(broker, ASYNC, flag=True)
    await soon(hold.entered.wait())
    stored, calls = await broker.everything(), len(queue.calls)

    answers = [await broker.poll() for _ in range(10)]
    after, asked = await broker.everything(), len(queue.calls)
    hold.release()
    await broker.quiet()

    assert {answer.status_code for answer in answers} == {200}
    assert after == stored
    assert asked == calls


async def test_11_a_poll_is_right_whenever_it_comes_after_a_restart_too(
    tmp_path: Path, services: dict[str, Queues]
) -> None:
    """LOP-13. Service Catalog asks up to 20 minutes apart."""
    queue = services["queue"]
    hold = await held(queue, "provision")
    async with serving(tmp_path, services, catalog()) as broker:
        operation = body_of(await put(broker, ASYNC, flag=True))["operation"]
        await soon(hold.entered.wait())

    async with serving(tmp_path, services, catalog()) as broker:
        await broker.quiet()
        polled = await broker.poll("i-1", operation)
        again = await put(broker, ASYNC, flag=True)

    assert body_of(polled)["state"] == "succeeded"
    assert again.status_code == 200
    assert len(queue.instances) == 1


# --- 12: asynchronous bindings --------------------------------------------------------


async def test_12_a_binding_is_asynchronous_only_for_a_client_that_asked(
    broker: Served, queue: Queues
) -> None:
    """ASYNC-09, BIND-02. A 202 fails a binding of Service Catalog for good, and gives
    eden no credentials."""
    await put(broker, POLLED, flag=True)
    await broker.quiet()
    broker.allow(sync_budget=0.0)

    asked = await broker.bind("b-2", "i-1", plan=POLLED, service_id=QUEUE, flag=True)
    inline = await bind(broker, POLLED)

    assert asked.status_code == 202
    assert inline.status_code == 201
    assert body_of(inline)["credentials"]


async def test_12_where_nothing_can_be_fetched_a_binding_is_made_inline(
    broker: Served, services: dict[str, Queues]
) -> None:
    """BFETCH-11. An async bind that is not retrievable fails in Cloud Foundry."""
    service, plain = ident("plain"), ident("plain/plan")
    await put(broker, plain, service)
    broker.allow(sync_budget=0.0)
    hold = await held(services["plain"], "bind")

    binding = asyncio.create_task(bind(broker, plain, service, flag=True))
    await soon(hold.entered.wait())
    hold.release()
    answer = await soon(binding)

    assert answer.status_code == 201
    is_error(await broker.get_binding(), 404)


def test_12_async_bindings_that_cannot_be_fetched_stop_the_start() -> None:
    broken = offering("queue", [plan("queue", "sync", "sync", bind_mode="async")])

    assert "bindings_retrievable" in refused(broken)


@pytest.mark.parametrize("name", ["sync", "async"])
async def test_12_credentials_come_from_get_and_from_a_repeated_put(
    broker: Served, name: str
) -> None:
    """BFETCH-05, BFETCH-06, BIND-24. Service Catalog and Cloud Foundry fetch them,
    Korifi asks again."""
    chosen = ident(f"queue/{name}")
    await put(broker, chosen, flag=True)
    await broker.quiet()
    await bind(broker, chosen, flag=True)
    await broker.quiet()

    fetched, again = await broker.get_binding(), await bind(broker, chosen, flag=True)

    assert fetched.status_code == again.status_code == 200
    assert body_of(fetched)["credentials"] == body_of(again)["credentials"]
    assert body_of(again)["credentials"]["password"]


# --- 13: what clients really send -----------------------------------------------------

IDENTITY = base64.b64encode(b'{"user_id": "u"}').decode()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="neither parameters nor context"),
        pytest.param({"parameters": None}, id="parameters null"),
        pytest.param({"parameters": {}}, id="parameters empty"),
        pytest.param({"maintenance_info": {}}, id="maintenance_info empty"),
        pytest.param({"maintenance_info": None}, id="maintenance_info null"),
        pytest.param({"context": None}, id="context null"),
        pytest.param({"context": {}}, id="context empty"),
        pytest.param({"organization_guid": "-", "space_guid": "-"}, id="dashes"),
        pytest.param({"x-vendor": {"any": None}}, id="unknown field"),
        pytest.param({"context": {"signature": "s"}}, id="unknown context"),
    ],
)
async def test_13_a_put_is_taken_as_clients_send_it(broker: Served, body: Json) -> None:
    """EXT-01, EXT-02, PROV-33, PROV-34, PROV-39."""
    assert (await put(broker, **body)).status_code == 201
    assert (await put(broker, **body)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="neither plan nor parameters"),
        pytest.param({"parameters": {}}, id="parameters empty"),
        pytest.param({"parameters": None, "plan_id": None}, id="nulls"),
        pytest.param(
            {
                "plan_id": SYNC,
                "previous_values": {
                    "plan_id": SYNC,
                    "organization_id": "org",
                    "maintenance_info": None,
                    "anything": 1,
                },
            },
            id="previous values",
        ),
        pytest.param({"previous_values": {"service_id": QUEUE}}, id="no previous plan"),
        pytest.param({"x-vendor": {"any": None}}, id="unknown field"),
        pytest.param({"maintenance_info": {"version": VERSION}}, id="same version"),
        pytest.param({"maintenance_info": {}}, id="maintenance_info empty"),
    ],
)
async def test_13_a_patch_that_changes_nothing_is_done(
    broker: Served, queue: Queues, body: Json
) -> None:
    """UPD-08, UPD-09, UPD-17, UPD-18. Service Catalog sends one when all parameters are
    removed."""
    await put(broker, parameters={"size": 5})

    answer = await patch(broker, **body)

    assert answer.status_code == 200
    assert body_of(await broker.get())["parameters"] == {"size": 5}
    assert queue.made("update") == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="neither app nor resource"),
        pytest.param({"parameters": None}, id="parameters null"),
        pytest.param(
            {"app_guid": "", "bind_resource": {"app_guid": ""}}, id="empty app"
        ),
        pytest.param({"bind_resource": {}}, id="empty resource"),
        pytest.param(
            {"bind_resource": {"app_guid": None, "space_guid": "s"}}, id="null app"
        ),
        pytest.param(
            {"bind_resource": {"credential_client_id": "c"}}, id="service key"
        ),
        pytest.param({"app_guid": "app"}, id="app at the top only"),
        pytest.param({"x-vendor": {"any": None}}, id="unknown field"),
        pytest.param({"context": {"platform": "x", "new": [1]}}, id="unknown context"),
    ],
)
async def test_13_a_bind_is_taken_as_clients_send_it(
    broker: Served, body: Json
) -> None:
    """BIND-17, BIND-30."""
    await put(broker)

    assert (await bind(broker, **body)).status_code == 201
    assert (await bind(broker, **body)).status_code == 200


async def test_13_what_a_context_holds_reaches_the_author_whole(
    broker: Served, queue: Queues
) -> None:
    """SAP Service Manager adds fields to it, a signature for instance."""
    context = {"platform": "sapcp", "signature": "s", "tenant": {"id": [1, None]}}
    other = context | {"signature": "t"}

    answers = [
        await put(broker, context=context),
        await patch(broker, context=other),
        await bind(broker, context=context),
    ]

    assert [answer.status_code for answer in answers] == [201, 200, 201]
    said = [queue.made(verb)[0].request for verb in ("provision", "update", "bind")]
    assert [request.context for request in said] == [context, other, context]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_13_a_content_type_without_a_body_disturbs_nobody(
    broker: Served, method: str
) -> None:
    await put(broker)
    query = f"?service_id={QUEUE}&plan_id={SYNC}"

    answer = await raw(
        broker, method, f"/v2{HOUSE}{query}", content_type="application/json"
    )

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "identity",
    [
        None,
        f"cloudfoundry {IDENTITY}",
        f"kubernetes {IDENTITY}",
        f"something-else {IDENTITY}",
        "cloudfoundry",
        "cloudfoundry no-base64!",
        "",
    ],
)
async def test_13_an_originating_identity_of_any_kind_is_taken(
    broker: Served, queue: Queues, identity: str | None
) -> None:
    """HDR-10 to HDR-12."""
    headers = (
        {} if identity is None else {"X_Broker_API_Originating_Identity": identity}
    )
    client = broker.with_headers(**headers)

    answers = [await put(client), await client.get(), await delete(client)]

    assert [answer.status_code for answer in answers] == [201, 200, 200]
    said = queue.made("provision")[0].request.identity
    readable = identity is not None and identity.endswith(IDENTITY)
    assert (said is not None) == readable
    if said is not None:
        assert dict(said.value) == {"user_id": "u"}


# --- 14: slashes and redirects --------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "//v2/catalog",
        "/v2/catalog/",
        "///v2/catalog/",
        f"//v2{HOUSE}",
        f"/v2{HOUSE}/",
        f"//v2{HOUSE}/last_operation",
        f"/v2{KEY}/",
        f"//v2{KEY}/last_operation/",
    ],
)
async def test_14_double_and_trailing_slashes_are_answered_directly(
    broker: Served, path: str
) -> None:
    """Cloud Foundry puts its path behind the URL as it was typed, slash and all; of a
    redirected PUT Service Catalog makes a GET."""
    await put(broker)
    await bind(broker)

    answer = await raw(broker, "GET", f"http://broker{path}")

    assert answer.status_code == 200
    assert "location" not in answer.headers


async def test_14_a_put_with_double_slashes_makes_the_same_instance(
    broker: Served,
) -> None:
    body = json.dumps(WHOLE).encode()

    made = await raw(broker, "PUT", f"http://broker//v2{HOUSE}", body)

    assert made.status_code == 201
    assert (await put(broker)).status_code == 200


@pytest.mark.parametrize(
    ("before", "after"), [("/", ""), ("", "/"), ("/", "/")], ids=["//v2", "…/", "both"]
)
async def test_14_slashes_change_no_verb(
    broker: Served, queue: Queues, before: str, after: str
) -> None:
    """Cloud Foundry follows a redirect with its body, Go's client without it."""
    ids = f"?service_id={QUEUE}&plan_id={SYNC}"
    body = json.dumps(WHOLE).encode()
    change = json.dumps({"service_id": QUEUE, "parameters": {"size": 2}}).encode()
    bound = json.dumps({"service_id": QUEUE, "plan_id": SYNC}).encode()
    life = [
        ("PUT", HOUSE, "", body, 201),
        ("PATCH", HOUSE, "", change, 200),
        ("PUT", KEY, "", bound, 201),
        ("DELETE", KEY, ids, b"", 200),
        ("DELETE", HOUSE, ids, b"", 200),
    ]

    for method, path, query, content, status in life:
        url = f"http://broker{before}/v2{path}{after}{query}"
        answer = await raw(broker, method, url, content)
        assert answer.status_code == status, (method, answer.text)

    assert [len(queue.made(verb)) for verb in VERBS] == [1] * len(VERBS)


async def test_14_brokers_share_a_host_by_path_prefixes(tmp_path: Path) -> None:
    """GEN-02."""
    for prefix in ("/one", "/brokers/two"):
        folder = tmp_path / prefix.replace("/", "-")
        folder.mkdir()
        async with serving(
            folder, backends(slow=0), catalog(), path_prefix=prefix
        ) as served:
            found = await raw(served, "GET", f"{prefix}/v2/catalog")
            slashed = await raw(served, "GET", f"{prefix}//v2/catalog")
            outside = await raw(served, "GET", "/v2/catalog")

        assert (found.status_code, slashed.status_code) == (200, 200)
        is_error(outside, 404)


# --- 15: the catalog ------------------------------------------------------------------


def refused(*services: Json) -> str:
    """What the start says of a catalog."""
    with pytest.raises(CatalogInvalid) as caught:
        Broker(
            catalog=Catalog.from_dict({"services": list(services)}),
            backends={one["name"]: Queues() for one in services},
        ).offer()
    return str(caught.value)


def one(change: Callable[[Json], Any]) -> list[Json]:
    """One offering with one plan, and something wrong with it."""
    made = offering("queue", [plan("queue", "sync", "sync")])
    change(made)
    return [made]


def first(made: Json) -> Json:
    """The first plan."""
    found: Json = made["plans"][0]
    return found


@pytest.mark.parametrize(
    ("change", "place"),
    [
        pytest.param(lambda o: o.update(id="i" * 64), "id", id="long id"),
        pytest.param(lambda o: o.update(id=""), "id", id="empty id"),
        pytest.param(lambda o: o.update(name="n" * 64), "name", id="long name"),
        pytest.param(lambda o: first(o).update(id="i" * 64), "id", id="long plan id"),
        pytest.param(lambda o: first(o).update(name=" "), "name", id="blank plan name"),
        pytest.param(
            lambda o: o.update(description=" "), "description", id="blank description"
        ),
        pytest.param(
            lambda o: first(o).update(description=""),
            "description",
            id="plan without description",
        ),
        pytest.param(
            lambda o: first(o).update(description="d" * 10_001),
            "description",
            id="long description",
        ),
        pytest.param(lambda o: o.update(plans=[]), "plans", id="no plan"),
        pytest.param(lambda o: o.pop("bindable"), "bindable", id="bindable left open"),
        pytest.param(lambda o: o.update(tags=["t" * 2049]), "tags", id="long tags"),
        pytest.param(
            lambda o: o.update(tags=["t" * 1024] * 2 + ["t"]), "tags", id="many tags"
        ),
        pytest.param(lambda o: o.update(requires=["root"]), "requires", id="requires"),
        pytest.param(lambda o: o.update(name=""), "name", id="empty name"),
        pytest.param(
            lambda o: first(o).update(name="n" * 64), "name", id="long plan name"
        ),
        pytest.param(
            lambda o: o.update(description="d" * 10_001),
            "description",
            id="offering with a long description",
        ),
        pytest.param(
            lambda o: first(o).update(maintenance_info={"version": "1.0"}),
            "maintenance_info.version",
            id="no semantic version",
        ),
        pytest.param(
            lambda o: first(o).update(maintenance_info={"version": "1.0.0", "by": "x"}),
            "maintenance_info.by",
            id="a third key in maintenance_info",
        ),
        pytest.param(
            lambda o: first(o).update(
                maintenance_info={"version": "1.0.0", "description": "d" * 2000}
            ),
            "maintenance_info",
            id="long maintenance_info",
        ),
        pytest.param(lambda o: first(o).update(free="true"), "free", id="free a text"),
        pytest.param(
            lambda o: first(o).update(maximum_polling_duration="60"),
            "maximum_polling_duration",
            id="duration a text",
        ),
        pytest.param(
            lambda o: o.update(dashboard_client={"id": "a", "secret": "b"}),
            "dashboard_client.redirect_uri",
            id="dashboard client without redirect_uri",
        ),
        pytest.param(
            lambda o: o.update(
                dashboard_client={"id": "a", "redirect_uri": "https://a.example"}
            ),
            "dashboard_client.secret",
            id="dashboard client without secret",
        ),
        pytest.param(
            lambda o: o.update(
                dashboard_client={
                    "id": "",
                    "secret": "b",
                    "redirect_uri": "https://a.example",
                }
            ),
            "dashboard_client.id",
            id="dashboard client with an empty id",
        ),
        pytest.param(
            lambda o: first(o).update(maximum_polling_duration=1.5),
            "maximum_polling_duration",
            id="duration with a fraction",
        ),
        pytest.param(
            lambda o: o.update(metadata={"documentationUrl": 1}),
            "metadata.documentationUrl",
            id="a link that is no text",
        ),
        pytest.param(
            lambda o: o["plans"].append(dict(first(o), id="b")),
            "name",
            id="a plan name twice",
        ),
        pytest.param(
            lambda o: o["plans"].append(dict(first(o), name="b")),
            "id",
            id="a plan id twice",
        ),
    ],
)
def test_15_a_catalog_that_one_platform_refuses_stops_the_start(
    change: Callable[[Json], Any], place: str
) -> None:
    """CAT-04 to CAT-34, MAINT-01, and the limits of every platform at once."""
    said = refused(*one(change))

    assert re.search(rf"services\[0\]\S*{re.escape(place)}\b", said), said


def test_15_ids_and_names_are_unique_over_the_catalog() -> None:
    """CAT-05, CAT-07, CAT-20, CAT-23."""
    other = offering("other", [plan("other", "one", "sync")])
    twin = dict(offering("queue", [plan("twin", "one", "sync")]), id=ident("twin"))
    shared = dict(other, plans=[dict(first(other), id=SYNC)])
    mine = offering("queue", [plan("queue", "sync", "sync")])

    assert "same name" in refused(mine, twin)
    assert "same id" in refused(mine, shared)
    assert "same id" in refused(mine, dict(other, id=mine["id"]))


def test_15_an_empty_catalog_and_an_id_that_may_meet_another_are_warned_of() -> None:
    """An empty catalog is the specification's right, and Cloud Foundry's failure."""
    empty = Broker(catalog=Catalog(services=[]), backends={}).offer()
    short = one(lambda made: first(made).update(id="1"))
    meeting = Broker(
        catalog=Catalog.from_dict({"services": short}), backends={"queue": Queues()}
    ).offer()

    assert "Cloud Foundry" in str(empty.warnings[0])
    assert any("no GUID" in str(warning) for warning in meeting.warnings)


async def test_15_defaults_that_platforms_read_differently_are_written_out(
    broker: Served,
) -> None:
    """Service Catalog reads a missing `free` as false, Korifi a missing `bindable`."""
    services = body_of(await broker.ask("GET", "/catalog"))["services"]

    assert len(services) == len(OFFERINGS)
    for service in services:
        assert service.keys() >= {"bindable", "plan_updateable"}
        for plan_ in service["plans"]:
            written = plan_.keys() & {"free", "bindable", "plan_updateable"}
            assert len(written) == 3
            assert all(isinstance(plan_[name], bool) for name in written)
            assert "x-osbkit" not in plan_


# --- 16: parameter schemas ------------------------------------------------------------


class Retention(BaseModel):
    """Nested, so that the schema needs a reference."""

    hours: float = Field(gt=0, lt=1000)


class Awkward(BaseModel, extra="forbid"):
    """Everything that pydantic writes and draft-04 does not know."""

    kind: Literal["fifo"] = "fifo"
    ratio: float = Field(0.5, gt=0, lt=1)
    retention: Retention | None = None
    older: Retention | None = None


class AwkwardQueues(ScriptedBackend[Awkward, NoParameters]):
    """A backend with these parameters."""


def awkward() -> Json:
    """The schema for creation that its plan shows."""
    made = offering("queue", [plan("queue", "sync", "sync")])
    offer = Broker(
        catalog=Catalog.from_dict({"services": [made]}),
        backends={"queue": AwkwardQueues()},
    ).offer()
    listed = json.loads(offer.pages.page((2, 17)).plain)["services"][0]["plans"][0]
    found: Json = listed["schemas"]["service_instance"]["create"]["parameters"]
    return found


def objects(value: Any) -> Iterator[Json]:
    """Every object below a value."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from objects(inner)


def test_16_schemas_of_models_are_draft_04() -> None:
    """SCHEMA-01 to SCHEMA-07. Cloud Foundry refuses numeric bounds, `required: []`,
    drafts that it does not know, references to elsewhere."""
    schema = awkward()

    Draft4Validator.check_schema(schema)  # a boolean bound has its number, too
    assert schema["properties"]["kind"]["enum"] == ["fifo"]
    ratio = schema["properties"]["ratio"]
    assert (ratio["minimum"], ratio["maximum"]) == (0, 1)
    assert ratio["exclusiveMinimum"] is ratio["exclusiveMaximum"] is True
    assert schema["$schema"] == "http://json-schema.org/draft-04/schema#"
    assert len(json.dumps(schema)) <= 64 * 1024
    parts = list(objects(schema))
    assert any("$ref" in part for part in parts)
    for part in parts:
        assert part.get("$ref", "#").startswith("#")
        assert "const" not in part
        assert part.get("required") != []
        for bound in ("exclusiveMinimum", "exclusiveMaximum"):
            assert isinstance(part.get(bound, True), bool)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        pytest.param({"type": "object"}, r"\$schema", id="no draft"),
        pytest.param(
            {"$ref": "http://elsewhere/x"}, r"\$ref", id="a foreign reference"
        ),
        pytest.param({"required": []}, "required", id="an empty required"),
        pytest.param(
            {"properties": {"n": {"exclusiveMinimum": 1}}}, "minimum", id="a bound"
        ),
        pytest.param({"description": "d" * 65_536}, "65536|64", id="too large"),
    ],
)
def test_16_a_written_schema_that_a_platform_refuses_stops_the_start(
    schema: Json, words: str
) -> None:
    if "type" not in schema:
        draft = "http://json-schema.org/draft-04/schema#"
        schema = {"$schema": draft, "type": "object", **schema}
    made = offering("queue", [plan("queue", "sync", "sync")])
    first(made)["schemas"] = {"service_instance": {"create": {"parameters": schema}}}

    with pytest.raises(CatalogInvalid, match=words):
        Broker(
            catalog=Catalog.from_dict({"services": [made]}),
            backends={"queue": ScriptedBackend()},
        ).offer()


@pytest.mark.parametrize(
    "parameters",
    [{"size": "5"}, {"size": True}, {"size": 0}, {"color": "pink"}, {"more": 1}],
    ids=str,
)
async def test_16_the_broker_judges_parameters_itself(
    broker: Served, queue: Queues, parameters: Json
) -> None:
    """SCHEMA-09, PROV-20, UPD-20, BIND-20. No platform does it."""
    is_error(await put(broker, parameters=parameters), 400)
    await put(broker)
    is_error(await patch(broker, parameters=parameters), 400)
    is_error(await bind(broker, parameters={"role": "owner"}), 400)

    assert [call.verb for call in queue.calls if call.verb != "check"] == ["provision"]


# --- 17: credentials ------------------------------------------------------------------


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> CapturingLogger:
    """What the operator is told of a bind's result."""
    log = CapturingLogger()
    monkeypatch.setattr(operations_bound, "log", log)
    return log


async def bound(broker: Served, queue: Queues, given: Bound) -> httpx.Response:
    """The answer to a bind whose backend gives this."""
    await put(broker)
    queue.next("bind", succeed(given))
    return await bind(broker)


async def test_17_credentials_are_an_object_even_when_there_are_none(
    broker: Served, queue: Queues
) -> None:
    """BIND-23. Where there are none, a transform of Service Catalog panics."""
    answer = await bound(broker, queue, Bound())

    assert body_of(answer) == {"credentials": {}}


async def test_17_integers_that_a_double_cannot_hold_go_out_as_text(
    broker: Served, queue: Queues
) -> None:
    """Service Catalog makes 12345678901234567000 of 12345678901234567890."""
    given = {"big": 12345678901234567890, "in": [2**53 + 1], "fits": 2**53, "on": True}

    answer = await bound(broker, queue, Bound(credentials=given))

    assert body_of(answer)["credentials"] == {
        "big": "12345678901234567890",
        "in": [str(2**53 + 1)],
        "fits": 2**53,
        "on": True,
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("jdbc url", "jdbc:x", id="a key that no Secret can have"),
        pytest.param("password", None, id="a null that becomes the text null"),
    ],
)
async def test_17_what_a_secret_cannot_hold_is_warned_of(
    broker: Served, queue: Queues, told: CapturingLogger, name: str, value: str | None
) -> None:
    """Service Catalog and Korifi send the PUT again for days for such a key."""
    answer = await bound(broker, queue, Bound(credentials={name: value, "ok": "s"}))

    assert answer.status_code == 201
    (line,) = told.calls
    assert (line.method_name, line.args) == ("warning", ("credentials.unfit",))
    assert (line.kwargs["keys"], line.kwargs["instance_id"]) == ([name], "i-1")


async def test_17_what_a_secret_can_hold_is_not_warned_of(
    broker: Served, queue: Queues, told: CapturingLogger
) -> None:
    await bound(broker, queue, Bound(credentials={"a-b_c.D9": {"any key": None}}))

    assert told.calls == []


# --- 18: extras of a binding ----------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("drain", "syslog_drain_url"),
        ("route", "route_service_url"),
        ("volume", "volume_mounts"),
    ],
)
async def test_18_extras_of_a_binding_go_out_where_the_offering_requires_them(
    broker: Served, name: str, field: str
) -> None:
    """CRED-01, CRED-03, CRED-05."""
    service, chosen = ident(name), ident(f"{name}/plan")
    await put(broker, chosen, service)

    answer = await bind(broker, chosen, service, bind_resource={"route": "app.example"})

    assert answer.status_code == 201
    assert body_of(answer)[field]


@pytest.mark.parametrize(
    "extra",
    [
        {"syslog_drain_url": "syslog://logs.example"},
        {"route_service_url": "https://routes.example"},
        {"volume_mounts": [MOUNT]},
    ],
    ids=lambda extra: next(iter(extra)),
)
async def test_18_extras_that_the_offering_does_not_require_never_go_out(
    broker: Served, queue: Queues, told: CapturingLogger, extra: Json
) -> None:
    """CRED-02, CRED-04, CRED-06. Cloud Foundry refuses such a binding and deletes
    it."""
    answer = await bound(broker, queue, Bound(credentials={"a": "b"}, **extra))

    is_error(answer, 500)
    (line,) = told.calls
    assert (line.method_name, line.args) == ("error", ("bind.not_announced",))
    assert (line.kwargs["field"], line.kwargs["instance_id"]) == (*extra, "i-1")
    fetched = await broker.get_binding()
    assert body_of(fetched).keys().isdisjoint(extra)


@pytest.mark.parametrize(
    ("name", "unfit"),
    [
        pytest.param(
            "route",
            Bound(route_service_url="http://routes.example/queue"),
            id="a route service without TLS",
        ),
        pytest.param(
            "route", Bound(route_service_url="https:///queue"), id="… without a host"
        ),
        *(
            pytest.param("volume", Bound(volume_mounts=[incomplete]), id=f"no {field}")
            for field in ("driver", "container_dir", "volume_id", "mode")
            for incomplete in [replace(MOUNT, **{field: ""})]  # type: ignore[arg-type]
        ),
    ],
)
async def test_18_extras_that_are_not_complete_never_go_out(
    broker: Served,
    services: dict[str, Queues],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    unfit: Bound,
) -> None:
    """CRED-03, VOL-01. Cloud Foundry takes them for a bad response, and deletes the
    binding."""
    service, chosen = ident(name), ident(f"{name}/plan")
    services[name].always("bind", succeed(unfit))
    monkeypatch.setattr(backoff, "delay", lambda *_: 0.0)
    await put(broker, chosen, service)

    answer = await bind(broker, chosen, service)

    is_error(answer, 500)
    assert ".example" not in answer.text
    is_error(await broker.get_binding(), 404)


# --- 19: authentication ---------------------------------------------------------------


async def test_19_basic_and_bearer_work_at_the_same_time(broker: Served) -> None:
    """AUTH-02, AUTH-04."""
    basic = await broker.ask("GET", "/catalog")
    bearer = await broker.http.get(
        "/v2/catalog", headers={"Authorization": f"Bearer {TOKEN}"}
    )

    assert basic.status_code == bearer.status_code == 200
    assert basic.content == bearer.content


async def test_19_several_credentials_of_one_platform_work_while_they_rotate(
    tmp_path: Path, services: dict[str, Queues]
) -> None:
    """A rotated Secret is used by the very next call of Service Catalog."""
    file = tmp_path / "credentials.yaml"
    entries = [credential("old password"), credential("new password")]
    file.write_text(json.dumps({"credentials": entries}))
    async with serving(tmp_path, services, catalog(), credentials_file=file) as broker:
        made = await put(broker.of("cluster", "old password"))
        again = await put(broker.of("cluster", "new password"))
        wrong = await put(broker.of("cluster", "a password"))

    assert (made.status_code, again.status_code) == (201, 200)
    is_error(wrong, 401)


def credential(password: str) -> Json:
    """An entry of the credentials file, its password as random ones are kept."""
    digest = "sha256:" + hashlib.sha256(password.encode()).hexdigest()
    return {
        "label": password.replace(" ", "-"),
        "platform": "cluster",
        "basic": {"user": "cluster", "password_hash": digest},
    }


async def test_19_every_secret_is_compared_in_constant_time_whichever_fits(
    tmp_path: Path, services: dict[str, Queues], monkeypatch: pytest.MonkeyPatch
) -> None:
    """AUTH-03. What is compared are digests, so that no length tells anything either.
    For passwords with slow hashes tests/api/test_auth.py counts the checks, of users
    that there are and of strangers."""
    compared: list[tuple[Any, Any]] = []
    compare = hmac.compare_digest

    def counted(one: Any, other: Any) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr("osbkit.api.auth.hmac.compare_digest", counted)
    passwords = [f"password {number}" for number in range(3)]
    file = tmp_path / "credentials.yaml"
    file.write_text(json.dumps({"credentials": [*map(credential, passwords)]}))

    async with serving(tmp_path, services, catalog(), credentials_file=file) as broker:
        told = []
        for password in (*passwords, "wrong", ""):
            compared.clear()
            answer = await broker.of("cluster", password).ask("GET", "/catalog")
            told.append((answer.status_code, len(compared)))
            assert {len(each) for pair in compared for each in pair} == {32}

    assert told == [(200, 3)] * 3 + [(401, 3)] * 2


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"platform:wrong").decode(),
        "Basic " + base64.b64encode(b"platform").decode(),
        "Bearer wrong",
        "Digest x",
    ],
)
async def test_19_a_wrong_credential_is_401_with_a_challenge(
    broker: Served, authorization: str | None
) -> None:
    """AUTH-03, AUTH-08."""
    headers = {} if authorization is None else {"Authorization": authorization}

    answer = await broker.http.get("/v2/catalog", headers=headers)

    is_error(answer, 401)
    challenge = answer.headers["www-authenticate"]
    assert "Basic" in challenge
    assert "Bearer" in challenge


async def test_19_an_identity_proves_nothing(broker: Served) -> None:
    """The first PUT of Service Catalog names its own account, not the user's."""
    admin = base64.b64encode(b'{"username": "admin", "user_id": "admin"}').decode()
    named = {"X-Broker-API-Originating-Identity": f"kubernetes {admin}"}
    await put(broker)

    stranger = await broker.http.get(f"/v2{HOUSE}", headers=named)
    other_user = await broker.with_headers(
        X_Broker_API_Originating_Identity=f"cloudfoundry {admin}"
    ).get()

    is_error(stranger, 401)
    assert other_user.status_code == 200


# --- 20: the HTTP server --------------------------------------------------------------


def test_20_idle_connections_live_longer_than_clients_keep_them() -> None:
    """Go keeps them for 90 s: closed before, a PUT may be lost. Korifi never closes
    its own, so they may not stay for ever either."""
    config = server_config(
        Broker(catalog=catalog(), backends=backends()).app, Settings()
    )

    assert 90 < config.timeout_keep_alive <= 600


async def test_20_a_connection_serves_one_request_after_the_other(
    tmp_path: Path,
) -> None:
    """HTTP/1.1 on a socket: kept alive, bodies of fixed length and chunked."""
    given = Settings(
        database_url=SecretStr(f"sqlite:///{tmp_path / 'osbkit.db'}"),
        basic_user=USER,
        basic_password=SecretStr(PASSWORD),
        log_level="ERROR",
    )
    served = Broker(catalog=catalog(), backends=backends(slow=0), settings=given)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(server_config(served.app, given))
    running = asyncio.create_task(server.serve([listening]))
    await until(lambda: server.started or running.done())
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    body = json.dumps(WHOLE).encode()
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    fixed = f"Content-Length: {len(body)}"
    statuses = [
        await exchange(reader, writer, "GET /v2/catalog"),
        await exchange(
            reader, writer, f"PUT /v2{HOUSE}", "Transfer-Encoding: chunked", chunked
        ),
        await exchange(reader, writer, f"PUT /v2{HOUSE}", fixed, body),
    ]
    writer.close()
    server.should_exit = True
    await soon(running)

    assert statuses == [200, 201, 200]


async def exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    line: str,
    header: str = "Content-Type: application/json",
    body: bytes = b"",
) -> int:
    """One request and its answer on an open connection."""
    secret = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    head = [
        f"{line} HTTP/1.1",
        "Host: broker",
        f"Authorization: Basic {secret}",
        "X-Broker-API-Version: 2.17",
        header,
    ]
    writer.write("\r\n".join([*head, "", ""]).encode() + body)
    answer = (await soon(reader.readuntil(b"\r\n\r\n"))).decode().lower()
    length = re.search(r"content-length: (\d+)", answer)
    assert length is not None
    await soon(reader.readexactly(int(length[1])))
    assert "connection: close" not in answer
    return int(answer.split()[1])


@pytest.mark.parametrize("accepted", ["gzip", "identity"])
async def test_20_gzip_is_for_those_who_take_it(broker: Served, accepted: str) -> None:
    async with broker.http.stream(
        "GET",
        "/v2/catalog",
        auth=(USER, PASSWORD),
        headers={"Accept-Encoding": accepted},
    ) as answer:
        sent = b"".join([part async for part in answer.aiter_raw()])

    zipped = answer.headers.get("content-encoding") == "gzip"
    assert zipped == (accepted == "gzip")
    plain = gzip.decompress(sent) if zipped else sent
    assert len(json.loads(plain)["services"]) == len(OFFERINGS)

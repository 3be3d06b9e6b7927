"""The whole lifecycle as a platform drives it, synchronous and asynchronous.

Every answer is judged by the sentence of the specification that the requirement
stands for; the backend's ledger says whether it was true.
"""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from osbkit import Description
from osbkit.backends.scripted import ScriptedBackend
from tests.flows.serving import ASYNC, AUTO, QUEUE, SYNC, Served, body_of, serving

MODES = pytest.mark.parametrize(
    ("plan", "flag"),
    [
        pytest.param(SYNC, None, id="synchronous plan"),
        pytest.param(SYNC, True, id="synchronous plan, flag ignored"),
        pytest.param(AUTO, None, id="plan of both, without the flag"),
        pytest.param(AUTO, True, id="plan of both, with the flag"),
    ],
)
CREDENTIALS = {"user": "scripted", "password": "only-for-tests"}


@pytest.fixture
def backend() -> ScriptedBackend:
    """A backend with a dashboard, which succeeds."""
    return ScriptedBackend(
        shown=Description(
            dashboard_url="https://dashboard.example",
            labels={"app": "queue"},
            attributes={"colour": "green"},
        )
    )


@pytest.fixture
async def broker(tmp_path: Path, backend: ScriptedBackend) -> AsyncIterator[Served]:
    """A broker with the offering `queue` on it."""
    async with serving(tmp_path, {"queue": backend}) as served:
        yield served


async def finished(broker: Served, accepted: httpx.Response, path: str) -> None:
    """Poll a 202 to its end. ASYNC-08, LOP-01, LOP-02, LOP-15, LOP-17."""
    assert accepted.status_code == 202
    operation = body_of(accepted)["operation"]
    assert re.fullmatch(r"[A-Za-z0-9._~-]{1,10000}", operation)  # URL-02, PROV-31
    await broker.quiet()
    for query in ({"operation": operation}, {}):  # LOP-13: and not forgotten
        polled = await broker.ask("GET", f"{path}/last_operation", params=query)
        assert polled.status_code == 200
        assert body_of(polled) == {"state": "succeeded"}


@MODES
async def test_a_synchronous_lifecycle_answers_each_verb_when_it_is_done(
    broker: Served, backend: ScriptedBackend, plan: str, flag: bool | None
) -> None:
    """ASYNC-04, ASYNC-05, PROV-02, BIND-01, UPD-01, UNBIND-02, DEPROV-02."""
    made = await broker.put(plan=plan, flag=flag, parameters={"size": 1})
    assert made.status_code == 201
    assert (await broker.get()).status_code == 200  # FETCH-02
    assert len(backend.instances) == 1  # PROV-01

    changed = await broker.patch(flag=flag, parameters={"size": 2})
    assert changed.status_code == 200
    assert body_of(await broker.get())["parameters"] == {"size": 2}  # FETCH-12

    bound = await broker.bind(plan=plan, flag=flag)
    assert bound.status_code == 201
    assert body_of(bound)["credentials"] == CREDENTIALS  # BIND-23, BIND-24

    unbound = await broker.unbind(flag=flag)
    assert (unbound.status_code, body_of(unbound)) == (200, {})
    assert (await broker.get_binding()).status_code == 404  # BFETCH-03
    assert backend.bindings == {}  # UNBIND-01

    removed = await broker.delete(flag=flag)
    assert (removed.status_code, body_of(removed)) == (200, {})
    assert (await broker.get()).status_code == 404  # FETCH-03
    assert backend.left == set()  # DEPROV-01


async def test_an_asynchronous_lifecycle_answers_at_once_and_is_polled(
    broker: Served, backend: ScriptedBackend
) -> None:
    """ASYNC-08, PROV-03, UPD-03, BIND-02, UNBIND-03, DEPROV-03."""
    instance = "/service_instances/i-1"
    binding = f"{instance}/service_bindings/b-1"

    await finished(broker, await broker.put(plan=ASYNC, flag=True), instance)
    assert (await broker.get()).status_code == 200

    changed = await broker.patch(flag=True, parameters={"size": 2})
    await finished(broker, changed, instance)
    assert body_of(await broker.get())["parameters"] == {"size": 2}

    bound = await broker.bind(plan=ASYNC, flag=True)
    assert body_of(bound).keys() == {"operation"}  # BIND-03
    await finished(broker, bound, binding)
    fetched = await broker.get_binding()  # BFETCH-02, BFETCH-05, BFETCH-11
    assert body_of(fetched)["credentials"] == CREDENTIALS

    await finished(broker, await broker.unbind(flag=True), binding)
    assert (await broker.get_binding()).status_code == 404

    await finished(broker, await broker.delete(flag=True), instance)
    assert (await broker.get()).status_code == 404
    assert backend.left == set()


async def test_only_true_accepts_an_answer_that_is_incomplete(broker: Served) -> None:
    """ASYNC-07, ASYNC-09, ASYNC-13."""
    for text in ("false", "maybe", "True", "1", ""):
        answer = await broker.ask(
            "PUT",
            "/service_instances/i-1",
            params={"accepts_incomplete": text},
            json={
                "service_id": QUEUE,
                "plan_id": ASYNC,
                "organization_guid": "org",
                "space_guid": "space",
            },
        )
        assert answer.status_code == 422
        assert body_of(answer)["error"] == "AsyncRequired"


async def test_dashboard_and_metadata_stand_in_every_first_answer(
    broker: Served,
) -> None:
    """PROV-27 to PROV-29, UPD-22, META-01 to META-03, FETCH-07."""
    sync, accepted = (
        await broker.put("i-1"),
        await broker.put("i-2", plan=ASYNC, flag=True),
    )
    await broker.quiet()
    updated = await broker.patch("i-2", flag=True, parameters={"size": 2})
    await broker.quiet()

    assert (sync.status_code, accepted.status_code, updated.status_code) == (
        201,
        202,
        202,
    )
    metadata = {"labels": {"app": "queue"}, "attributes": {"colour": "green"}}
    for answer in (sync, accepted, updated, await broker.get("i-2")):
        assert body_of(answer)["metadata"] == metadata
    urls = [body_of(answer)["dashboard_url"] for answer in (sync, accepted, updated)]
    assert (
        urls[0]
        != urls[1]
        == urls[2]
        == body_of(await broker.get("i-2"))["dashboard_url"]
    )


async def test_a_deleted_instance_is_gone_and_nobody_elses_is(broker: Served) -> None:
    """DEPROV-08, DEPROV-18, ORPH-04, UNBIND-08, UNBIND-16."""
    for instance in ("i-1", "i-2"):
        await broker.put(instance)
        for binding in ("b-1", "b-2"):
            await broker.bind(binding, instance)

    assert (await broker.unbind("b-1", "i-1")).status_code == 200
    assert (await broker.unbind("b-1", "i-1")).status_code == 410
    assert (await broker.get_binding("b-2", "i-1")).status_code == 200
    assert (await broker.get_binding("b-1", "i-2")).status_code == 200

    assert (await broker.delete("i-1")).status_code == 200
    again = await broker.delete("i-1")
    assert (again.status_code, body_of(again)) == (410, {})
    assert (await broker.get("i-2")).status_code == 200
    assert (await broker.get_binding("b-2", "i-2")).status_code == 200

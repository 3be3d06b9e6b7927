"""GET /v2/catalog: ready-made bytes, for each client its own.

Requirements proved here: CAT-01 to CAT-03, CAT-18, HDR-01, GEN-03.
"""

import gzip
import json
from typing import Any

import httpx
import pytest
import yaml

from osbkit import Broker, Catalog
from osbkit.api.gate import accepts_gzip, matches
from osbkit.api.hashes import hash_password
from osbkit.errors import CatalogInvalid
from tests.api.brokers import (
    ASYNC,
    AUTO,
    OFFERING,
    PASSWORD,
    SERVICES,
    SYNC,
    VERSION,
    Queues,
    a_broker,
    client_of,
    serving,
)

CATALOG = "/v2/catalog"


async def get(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    """The catalog, with these headers (underscores become dashes)."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.get(CATALOG, headers={"accept-encoding": "identity"} | named)


async def test_catalog_is_what_was_written_without_settings_of_ours(served):
    answer = await get(served.client)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert "x-osbkit" not in answer.text
    (offering,) = answer.json()["services"]
    assert offering["id"] == OFFERING
    assert [plan["id"] for plan in offering["plans"]] == [SYNC, ASYNC, AUTO]
    assert [plan["free"] for plan in offering["plans"]] == [True, True, False]
    assert all(plan["plan_updateable"] is True for plan in offering["plans"])
    create = offering["plans"][0]["schemas"]["service_instance"]["create"]
    assert "max_messages" in create["parameters"]["properties"]


async def test_bytes_are_the_same_on_every_request_and_after_a_restart(tmp_path):
    seen = set()
    for _ in range(2):
        async with serving(tmp_path) as served:
            for _ in range(2):
                answer = await get(served.client)
                seen.add((answer.content, answer.headers["etag"]))

    assert len(seen) == 1


async def test_client_that_takes_gzip_gets_it_with_its_own_etag(served):
    plain = await get(served.client)
    async with served.client.stream(
        "GET", CATALOG, headers={"accept-encoding": "br, gzip"}
    ) as zipped:
        raw = b"".join([part async for part in zipped.aiter_raw()])

    assert zipped.headers["content-encoding"] == "gzip"
    assert int(zipped.headers["content-length"]) == len(raw)
    assert gzip.decompress(raw) == plain.content
    assert zipped.headers["etag"] != plain.headers["etag"]
    for answer in (plain, zipped):
        assert not answer.headers["etag"].startswith("W/")
        assert "accept-encoding" in answer.headers["vary"]
        assert "authorization" in answer.headers["vary"]
        assert "private" in answer.headers["cache-control"]


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_catalog_that_a_client_has_is_not_sent_again(served, encoding):
    first = await get(served.client, accept_encoding=encoding)
    etag = first.headers["etag"]

    again = await get(served.client, accept_encoding=encoding, if_none_match=etag)
    other = await get(served.client, accept_encoding=encoding, if_none_match='"x"')

    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == etag
    assert "content-length" not in again.headers
    assert other.status_code == 200


async def test_head_tells_the_length_and_sends_nothing(served):
    answer = await served.client.head(CATALOG, headers={"accept-encoding": "identity"})

    assert answer.content == b""
    assert int(answer.headers["content-length"]) == len((await get(served.client)).text)


@pytest.mark.parametrize(
    ("version", "known"),
    [("2.11", False), ("2.14", False), ("2.15", True), ("2.17", True), ("2.99", True)],
)
async def test_older_client_is_spared_newer_fields(served, version, known):
    answer = await get(served.client, x_broker_api_version=version)

    plan = answer.json()["services"][0]["plans"][2]
    assert ("maintenance_info" in plan) is known


async def test_versions_with_other_bytes_have_other_etags(served):
    old = await get(served.client, x_broker_api_version="2.11")
    new = await get(served.client, x_broker_api_version="2.17")

    assert old.headers["etag"] != new.headers["etag"]
    unchanged = await get(
        served.client, x_broker_api_version="2.11", if_none_match=new.headers["etag"]
    )
    assert unchanged.status_code == 200


async def test_credential_sees_the_offerings_it_may_see(tmp_path):
    token = "a-random-token-of-a-platform-0123456789"
    entry = {
        "label": "narrow",
        "platform": "narrow",
        "offerings": ["another"],
        "bearer": {"token_hash": hash_password(token, "sha256")},
    }
    file = tmp_path / "credentials.yaml"
    file.write_text(yaml.safe_dump({"credentials": [entry]}))
    file.chmod(0o600)
    async with serving(tmp_path, credentials_file=file) as served:
        bearer = VERSION | {"authorization": f"Bearer {token}"}
        async with client_of(served.broker.app, auth=None, headers=bearer) as narrow:
            catalog = await narrow.get(CATALOG)
            made = await narrow.put(served.instance(), json=served.provision())
        whole = await get(served.client)

    assert catalog.json() == {"services": []}
    assert len(whole.json()["services"]) == 1
    assert made.status_code == 400
    assert "service_id" in made.json()["description"]


async def test_reloaded_catalog_is_served_and_a_wrong_one_is_not(tmp_path):
    current: dict[str, Any] = json.loads(json.dumps(SERVICES))
    given = a_broker(tmp_path)
    broker = Broker(
        catalog=lambda: Catalog.from_dict(current),
        backends={"queue": Queues()},
        settings=given._settings,
    )
    async with broker.lifespan(), client_of(broker.app) as client:
        before = await get(client)
        current["services"][0]["description"] = "Queues, reloaded."
        await broker.reload_catalog()
        after = await get(client)
        current["services"][0]["plans"][1]["id"] = SYNC
        with pytest.raises(CatalogInvalid):
            await broker.reload_catalog()
        still = await get(client)

    assert after.headers["etag"] != before.headers["etag"]
    assert after.json()["services"][0]["description"] == "Queues, reloaded."
    assert still.content == after.content


async def test_catalog_is_for_those_who_prove_who_they_are(served):
    etag = (await get(served.client)).headers["etag"]
    async with client_of(served.broker.app, auth=("platform", PASSWORD + "x")) as other:
        answer = await get(other, if_none_match=etag)

    assert answer.status_code == 401
    assert "etag" not in answer.headers


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        (b"gzip", True),
        (b"deflate, gzip;q=0.5", True),
        (b"gzip;q=1.0, identity", True),
        (b"", False),
        (b"identity", False),
        (b"gzip;q=0", False),
        (b"gzip; q=0.0", False),
        (b"x-gzipped", False),
    ],
)
def test_gzip_is_sent_only_where_it_is_asked_for(header, taken):
    assert accepts_gzip(header) is taken


@pytest.mark.parametrize(
    ("header", "same"),
    [
        (b'"a"', True),
        (b'"x", "b"', True),
        (b'W/"a"', True),
        (b"*", True),
        (b'"c"', False),
        (b"a", False),
        (b"", False),
    ],
)
def test_any_of_the_etags_a_client_names_counts(header, same):
    assert matches(header, (b'"a"', b'"b"')) is same

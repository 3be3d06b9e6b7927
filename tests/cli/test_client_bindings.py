"""`osbkit client bind | unbind | fetch | poll | catalog`."""

import json

import pytest

from .conftest import CATALOG

DB = "/v2/service_instances/db-1"
APP = f"{DB}/service_bindings/app-1"
POLL = f"{APP}/last_operation"
CREDENTIALS = {"token": "s3cret", "ports": [1, 2], "url": "https://q.example"}


def test_bind_prints_an_object_with_the_credentials(client, broker):
    broker.answers("PUT", APP, 201, {"credentials": CREDENTIALS})

    result = client("bind", "db-1", "app-1", "--plan", "tiny", "--json")

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "credentials": CREDENTIALS,
        "state": "succeeded",
        "status": 201,
        "instance_id": "db-1",
        "binding_id": "app-1",
    }
    assert broker.sent("PUT", APP) == {"service_id": "queue-id", "plan_id": "tiny-id"}


def test_bind_shows_a_person_every_credential(client, broker):
    broker.answers("PUT", APP, 201, {"credentials": CREDENTIALS})

    result = client("bind", "db-1", "app-1", "--plan", "tiny")

    lines = {tuple(line.split(maxsplit=1)) for line in result.stdout.splitlines()}
    assert ("credentials.token", "s3cret") in lines
    assert ("credentials.ports", "[1, 2]") in lines


def test_role_and_app_are_sent_where_brokers_look_for_them(client, broker):
    broker.answers("PUT", APP, 201, {"credentials": {}})

    client(
        "bind", "db-1", "app-1", "--plan", "tiny", "-p", "role=consumer",
        "--app", "guid-1", "--context", '{"platform": "test"}',
    )  # fmt: skip

    assert broker.sent("PUT", APP) == {
        "service_id": "queue-id",
        "plan_id": "tiny-id",
        "parameters": {"role": "consumer"},
        "context": {"platform": "test"},
        "app_guid": "guid-1",
        "bind_resource": {"app_guid": "guid-1"},
    }


def test_an_asynchronous_binding_is_fetched_when_it_is_there(client, broker, clock):
    broker.answers("PUT", APP, 202, {"operation": "op-1"})
    broker.answers("GET", POLL, 200, {"state": "in progress"})
    broker.answers("GET", POLL, 200, {"state": "succeeded"})
    broker.answers("GET", APP, 200, {"credentials": CREDENTIALS})

    result = client("bind", "db-1", "app-1", "--plan", "tiny", "--json")

    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["credentials"] == CREDENTIALS
    assert (told["state"], told["operation"]) == ("succeeded", "op-1")


def test_a_new_binding_that_is_not_shown_is_a_failure(client, broker):
    broker.answers("PUT", APP, 202)
    broker.answers("GET", POLL, 200, {"state": "succeeded"})

    result = client("bind", "db-1", "app-1", "--plan", "tiny")

    assert result.exit_code == 1
    assert "which is there" in result.stderr


def test_bind_without_waiting_has_no_credentials_yet(client, broker):
    broker.answers("PUT", APP, 202, {"operation": "op-1"})

    result = client("bind", "db-1", "app-1", "--plan", "tiny", "--no-wait", "--json")

    told = json.loads(result.stdout)
    assert told["state"] == "in progress"
    assert "credentials" not in told


def test_a_rotation_names_only_its_predecessor(client, broker):
    """ROT-02: the only field that the body needs."""
    broker.answers("PUT", APP, 201, {"credentials": {}})

    result = client("bind", "db-1", "app-1", "--predecessor", "app-0")

    assert result.exit_code == 0, result.output
    assert broker.sent("PUT", APP) == {"predecessor_binding_id": "app-0"}


@pytest.mark.parametrize("more", [["-p", "a=1"], ["--app", "guid-1"]])
def test_a_rotation_takes_no_parameters_of_its_own(client, broker, more):
    result = client("bind", "db-1", "app-1", "--predecessor", "app-0", *more)

    assert result.exit_code == 2
    assert broker.seen == []


def test_unbind_is_followed_to_its_end(client, broker):
    broker.answers("DELETE", APP, 202, {"operation": "op-1"})
    broker.answers("GET", POLL, 200, {"state": "succeeded"})

    result = client("unbind", "db-1", "app-1", "--plan", "tiny", "--json")

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "state": "succeeded",
        "status": 202,
        "instance_id": "db-1",
        "binding_id": "app-1",
        "operation": "op-1",
    }


def test_unbind_that_is_refused_fails(client, broker):
    broker.answers("DELETE", APP, 422, {"error": "ConcurrencyError"})

    result = client("unbind", "db-1", "app-1", "--plan", "tiny")

    assert result.exit_code == 1
    assert "did not unbind app-1" in result.stderr
    assert "osbkit client poll" in result.stderr


# --- fetch, poll, catalog -----------------------------------------------------------


def test_fetch_shows_an_instance_or_a_binding(client, broker):
    broker.answers("GET", DB, 200, {"plan_id": "tiny-id", "parameters": {"a": 1}})
    broker.answers("GET", APP, 200, {"credentials": CREDENTIALS})

    instance = client("fetch", "db-1", "--json")
    binding = client("fetch", "db-1", "app-1", "--json")

    assert json.loads(instance.stdout) == {
        "plan_id": "tiny-id",
        "parameters": {"a": 1},
        "status": 200,
        "instance_id": "db-1",
    }
    assert json.loads(binding.stdout)["credentials"] == CREDENTIALS


def test_fetch_titles_its_table_with_the_id_as_it_is(client, broker):
    broker.answers("GET", "/v2/service_instances/DB-1", 200, {"plan_id": "tiny-id"})

    result = client("fetch", "DB-1")

    assert result.stdout.startswith("Instance DB-1")


def test_poll_asks_at_once_and_sends_only_the_hints_it_was_given(client, broker, clock):
    broker.answers("GET", POLL, 200, {"state": "succeeded", "description": "Done"})

    result = client("poll", "db-1", "app-1", "--operation", "op-1", "--json")

    assert result.exit_code == 0, result.output
    assert clock.slept == []
    assert dict(broker.asked("GET", POLL)[0].url.params) == {"operation": "op-1"}
    assert json.loads(result.stdout) == {
        "state": "succeeded",
        "description": "Done",
        "instance_id": "db-1",
        "binding_id": "app-1",
    }


@pytest.mark.parametrize(
    ("status", "body", "state", "exit_code"),
    [
        pytest.param(200, {"state": "in progress"}, "in progress", 0, id="running"),
        pytest.param(200, {"state": "failed"}, "failed", 1, id="failed"),
        pytest.param(410, {}, "gone", 0, id="gone"),
        pytest.param(503, {}, None, 1, id="no answer"),
    ],
)
def test_poll_without_waiting_asks_once(client, broker, status, body, state, exit_code):
    broker.answers("GET", f"{DB}/last_operation", status, body)

    result = client("poll", "db-1", "--no-wait", "--json")

    assert result.exit_code == exit_code
    assert json.loads(result.stdout).get("state") == state
    assert len(broker.seen) == 1


def test_poll_of_something_unknown_fails(client, broker):
    result = client("poll", "db-9")

    assert result.exit_code == 1
    assert "404 Not Found" in result.stderr


def test_catalog_shows_every_plan(client, broker):
    result = client("catalog")

    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["queue", "tiny", "yes", "yes", "yes", "Small"] in rows
    assert ["queue", "slow", "no", "no", "yes", "Takes", "its", "time"] in rows


def test_catalog_json_is_the_answer_itself(client, broker):
    assert json.loads(client("catalog", "--json").stdout) == CATALOG


@pytest.mark.parametrize(
    "body",
    [{}, {"services": {}}, {"services": [{"id": "a"}]}, {"services": [{"plans": []}]}],
)
def test_what_is_no_catalog_is_said_so(client, broker, body):
    broker.catalog(body)

    result = client("catalog")

    assert result.exit_code == 1
    assert "not a catalog" in result.stderr


def test_control_characters_of_a_broker_never_reach_the_terminal(client, broker):
    broker.answers("GET", DB, 200, {"dashboard_url": "\x1b[2Jhttps://x", "\x07": "[b]"})

    result = client("fetch", "db-1")

    assert "\x1b" not in result.stdout
    assert "\x07" not in result.stdout
    assert "[b]" in result.stdout

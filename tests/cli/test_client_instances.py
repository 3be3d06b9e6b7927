"""`osbkit client provision | update | deprovision`."""

import copy
import json

import httpx
import pytest

from .conftest import CATALOG, SECOND_OFFERING, Json

DB = "/v2/service_instances/db-1"
POLL = f"{DB}/last_operation"


def catalog_with(**flags: object) -> Json:
    catalog = copy.deepcopy(CATALOG)
    catalog["services"][0].update(flags)
    return catalog


def test_a_synchronous_provision_sends_what_the_wire_wants(client, broker):
    broker.answers("PUT", DB, 201, {"dashboard_url": "https://queues.example/db-1"})

    result = client(
        "provision", "db-1", "--plan", "tiny", "-p", "max_messages=5", "-p", "tag=new",
        "--params", '{"max_messages": 1, "deep": {"a": [1]}}',
        "--context", '{"platform": "test"}', "--org", "o", "--space", "s",
    )  # fmt: skip

    assert result.exit_code == 0, result.output
    assert broker.sent("PUT", DB) == {
        "service_id": "queue-id",
        "plan_id": "tiny-id",
        "organization_guid": "o",
        "space_guid": "s",
        "parameters": {"max_messages": 5, "deep": {"a": [1]}, "tag": "new"},
        "context": {"platform": "test"},
    }
    [put] = broker.asked("PUT", DB)
    assert dict(put.url.params) == {"accepts_incomplete": "true"}
    assert put.headers["X-Broker-API-Version"] == "2.17"
    assert put.headers["X-Broker-API-Request-Identity"]
    assert "https://queues.example/db-1" in result.stdout
    assert "queue/tiny" in result.stdout


def test_without_parameters_the_field_is_left_out(client, broker):
    broker.answers("PUT", DB, 201)

    client("provision", "db-1", "--plan", "tiny")

    assert "parameters" not in broker.sent("PUT", DB)
    assert "context" not in broker.sent("PUT", DB)


def test_json_is_one_object_and_nothing_else(client, broker, clock):
    broker.answers("PUT", DB, 202, {"operation": "op-1", "dashboard_url": "https://d"})
    broker.answers("GET", POLL, 200, {"state": "in progress", "description": "Half"})
    broker.answers("GET", POLL, 200, {"state": "succeeded", "description": "Done"})

    result = client("provision", "db-1", "--plan", "slow", "--json")

    assert result.stderr == ""
    assert json.loads(result.stdout) == {
        "operation": "op-1",
        "dashboard_url": "https://d",
        "state": "succeeded",
        "description": "Done",
        "status": 202,
        "instance_id": "db-1",
        "service_id": "queue-id",
        "plan_id": "slow-id",
    }


def test_an_asynchronous_provision_is_followed_to_its_end(client, broker, clock):
    """PLAT-14: the operation comes back as it was given, with the ids."""
    broker.answers("PUT", DB, 202, {"operation": "op/1 &="})
    broker.answers("GET", POLL, 200, {"state": "in progress", "description": "Making"})
    broker.answers("GET", POLL, 200, {"state": "in progress", "description": "Making"})
    broker.answers("GET", POLL, 200, {"state": "in progress", "description": "Filling"})
    broker.answers("GET", POLL, 200, {"state": "succeeded"})

    result = client("provision", "db-1", "--plan", "slow")

    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines() == [
        "in progress: Making",
        "in progress: Filling",
        "succeeded",
    ]
    assert clock.slept == [2.0, 2.0, 2.0, 2.0]
    assert dict(broker.asked("GET", POLL)[0].url.params) == {
        "service_id": "queue-id",
        "plan_id": "slow-id",
        "operation": "op/1 &=",
    }


def test_on_a_terminal_one_line_is_written_over(client, broker, monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm")
    broker.answers("PUT", DB, 202)
    broker.answers("GET", POLL, 200, {"state": "succeeded", "description": "Do[n]e"})

    result = client("provision", "db-1", "--plan", "slow")

    assert result.exit_code == 0, result.output
    assert "succeeded: Do[n]e" in result.stderr
    assert "\x1b" in result.stderr
    assert "\x1b" not in result.stdout


def test_retry_after_sets_the_pause_within_bounds(client, broker, clock):
    """PLAT-16, with a person's patience: 1 to 10 seconds."""
    going = {"state": "in progress"}
    broker.answers("PUT", DB, 202, headers={"Retry-After": "3"})
    broker.answers("GET", POLL, 200, going, {"Retry-After": "7"})
    broker.answers("GET", POLL, 200, going, {"Retry-After": "0"})
    broker.answers("GET", POLL, 200, going, {"Retry-After": "86400"})
    broker.answers("GET", POLL, 200, going, {"Retry-After": "Tue, 01 Jan 2030 0:0:0"})
    broker.answers("GET", POLL, 200, {"state": "succeeded"})

    client("provision", "db-1", "--plan", "slow")

    assert clock.slept == [3.0, 7.0, 1.0, 10.0, 2.0]


def test_passing_trouble_while_polling_is_lived_through(client, broker, clock):
    """PLAT-16: "SHOULD continue polling" on any other answer; a restart is one."""
    broker.answers("PUT", DB, 202)
    broker.answers("GET", POLL, 503, {"description": "Busy"}, {"Retry-After": "4"})
    broker.breaks("GET", POLL, httpx.ConnectError("refused"))
    broker.answers("GET", POLL, 410)
    broker.answers("GET", POLL, 200, {"state": "In Progress"})
    broker.answers("GET", POLL, 200, "<html>")
    broker.answers("GET", POLL, 200, {"state": "succeeded"})

    result = client("provision", "db-1", "--plan", "slow")

    assert result.exit_code == 0, result.output
    assert clock.slept == [2.0, 4.0, 2.0, 2.0, 2.0, 2.0]
    assert "503 Service Unavailable" in result.stderr


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_an_answer_that_will_not_change_ends_the_polling(client, broker, status):
    broker.answers("PUT", DB, 202)
    broker.answers("GET", POLL, status, {"description": "No."})

    result = client("provision", "db-1", "--plan", "slow")

    assert result.exit_code == 1
    assert len(broker.asked("GET", POLL)) == 1


def test_a_failed_operation_is_a_failed_command(client, broker):
    broker.answers("PUT", DB, 202, {"operation": "op-1"})
    broker.answers("GET", POLL, 200, {"state": "failed", "description": "Out of room."})

    result = client("provision", "db-1", "--plan", "slow", "--json")

    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "state": "failed",
        "description": "Out of room.",
        "instance_id": "db-1",
        "service_id": "queue-id",
        "plan_id": "slow-id",
        "operation": "op-1",
    }
    assert "Out of room." in result.stderr


def test_no_wait_leaves_the_operation_to_itself(client, broker):
    broker.answers("PUT", DB, 202, {"operation": "op-1"})

    result = client("provision", "db-1", "--plan", "slow", "--no-wait", "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout)["state"] == "in progress"
    assert broker.asked("GET", POLL) == []


def test_waiting_ends_and_says_how_to_go_on(client, broker, clock):
    broker.answers("PUT", DB, 202, {"operation": "op-1"})
    broker.answers("GET", POLL, 200, {"state": "in progress"})

    result = client("provision", "db-1", "--plan", "slow", "--max-wait", "5", "--json")

    assert result.exit_code == 1
    assert sum(clock.slept) <= 5
    told = json.loads(result.stdout)
    assert (told["state"], told["operation"]) == ("in progress", "op-1")
    assert "osbkit client poll" in told["hint"]


def test_ctrl_c_while_waiting_says_that_the_work_goes_on(client, broker, clock):
    def interrupted() -> None:
        raise KeyboardInterrupt

    broker.answers("PUT", DB, 202, {"operation": "op-1"})
    clock.on_sleep = interrupted

    result = client("provision", "db-1", "--plan", "slow")

    assert result.exit_code == 1
    assert "goes on at the broker" in result.stderr


def test_no_async_leaves_the_flag_out(client, broker):
    broker.answers("PUT", DB, 422, {"error": "AsyncRequired", "description": "Only."})

    result = client("provision", "db-1", "--plan", "slow", "--no-async")

    assert broker.asked("PUT", DB)[0].url.query == b""
    assert result.exit_code == 1
    assert "leave --no-async out" in result.stderr


def test_maintenance_info_of_the_catalog_goes_with_the_request(client, broker):
    catalog = catalog_with()
    catalog["services"][0]["plans"][0]["maintenance_info"] = {
        "version": "2.1.0",
        "description": "Newer",
    }
    broker.catalog(catalog)
    broker.answers("PUT", DB, 201)

    client("provision", "db-1", "--plan", "tiny")

    assert broker.sent("PUT", DB)["maintenance_info"] == {"version": "2.1.0"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param(
            ["--plan", "huge"], ["'huge'", "queue/tiny", "queue/slow"], id="plan"
        ),
        pytest.param(
            ["--service", "disk", "--plan", "tiny"], ["'disk'", "queue"], id="offering"
        ),
        pytest.param([], ["--plan", "queue/tiny", "queue/slow"], id="none said"),
    ],
)
def test_what_the_catalog_does_not_have_is_told_with_what_it_has(
    client, broker, options, words
):
    result = client("provision", "db-1", *options)

    assert result.exit_code == 2
    assert all(word in result.stderr for word in words), result.stderr
    assert broker.asked("PUT", DB) == []


def test_a_plan_name_in_two_offerings_needs_the_offering(client, broker):
    broker.catalog({"services": [*CATALOG["services"], SECOND_OFFERING]})
    broker.answers("PUT", DB, 201)

    unclear = client("provision", "db-1", "--plan", "tiny")
    clear = client("provision", "db-1", "--plan", "tiny", "--service", "topic")

    assert unclear.exit_code == 2
    assert "--service" in unclear.stderr
    assert clear.exit_code == 0
    assert broker.sent("PUT", DB)["plan_id"] == "tiny-topic-id"


def test_offering_and_plan_may_be_given_by_id(client, broker):
    broker.answers("PUT", DB, 201)

    client("provision", "db-1", "--service", "queue-id", "--plan", "slow-id")

    assert broker.sent("PUT", DB)["plan_id"] == "slow-id"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param(["-p", "novalue"], "key=value", id="no equals sign"),
        pytest.param(["-p", "=x"], "key=value", id="no key"),
        pytest.param(["--params", "{"], "not valid JSON", id="not JSON"),
        pytest.param(["--params", '{"a": NaN}'], "not valid JSON", id="NaN"),
        pytest.param(["--params", "[1]"], "must be a JSON object", id="a list"),
        pytest.param(["--params", "@/no/such"], "cannot be read", id="no file"),
        pytest.param(["--context", "7"], "--context must be", id="context"),
    ],
)
def test_parameters_that_cannot_be_read_are_refused_before_anything_is_sent(
    client, broker, options, words
):
    result = client("provision", "db-1", "--plan", "tiny", *options)

    assert result.exit_code == 2
    assert words in result.stderr
    assert broker.seen == []


def test_parameters_come_from_a_file_or_from_standard_input(client, broker, tmp_path):
    file = tmp_path / "parameters.json"
    file.write_text('{"from": "file"}')
    broker.answers("PUT", DB, 201)
    broker.answers("PUT", "/v2/service_instances/db-2", 201)

    client("provision", "db-1", "--plan", "tiny", "--params", f"@{file}")
    client("provision", "db-2", "--plan", "tiny", "--params", "@-", input='{"a": 1}')

    assert broker.sent("PUT", DB)["parameters"] == {"from": "file"}
    body = broker.sent("PUT", "/v2/service_instances/db-2")
    assert body["parameters"] == {"a": 1}


def test_an_id_with_a_slash_stays_one_segment(client, broker):
    path = "/v2/service_instances/a%2Fb%25%20c"
    broker.answers("PUT", path, 201)

    result = client("provision", "a/b% c", "--plan", "tiny")

    assert result.exit_code == 0, result.output
    assert len(broker.asked("PUT", path)) == 1


@pytest.mark.parametrize("bad", ["", ".", ".."])
def test_an_id_that_would_change_the_path_is_refused(client, broker, bad):
    result = client("deprovision", bad, "--plan", "tiny")

    assert result.exit_code == 2
    assert broker.seen == []


# --- update -----------------------------------------------------------------------


def test_update_sends_only_what_changes(client, broker):
    broker.answers("PATCH", DB, 200)

    result = client("update", "db-1", "-p", "max_messages=9", "--maintenance", "1.2.0")

    assert result.exit_code == 0, result.output
    assert broker.sent("PATCH", DB) == {
        "service_id": "queue-id",
        "parameters": {"max_messages": 9},
        "maintenance_info": {"version": "1.2.0"},
    }


def test_a_plan_change_polls_with_the_plan_from_before(client, broker):
    """PLAT-14: `plan_id` of last_operation is the plan before the update."""
    two = [{**CATALOG["services"][0], "instances_retrievable": True}, SECOND_OFFERING]
    broker.catalog({"services": two})
    broker.answers("GET", DB, 200, {"service_id": "queue-id", "plan_id": "tiny-id"})
    broker.answers("PATCH", DB, 202, {"operation": "op-2"})
    broker.answers("GET", POLL, 200, {"state": "succeeded"})

    result = client("update", "db-1", "--plan", "slow")

    assert result.exit_code == 0, result.output
    assert broker.sent("PATCH", DB) == {"service_id": "queue-id", "plan_id": "slow-id"}
    assert dict(broker.asked("GET", POLL)[0].url.params) == {
        "service_id": "queue-id",
        "plan_id": "tiny-id",
        "operation": "op-2",
    }


def test_an_unknown_old_plan_is_left_out_of_the_polls(client, broker):
    broker.answers("PATCH", DB, 202)
    broker.answers("GET", POLL, 200, {"state": "succeeded"})

    client("update", "db-1", "--plan", "slow")

    assert dict(broker.asked("GET", POLL)[0].url.params) == {"service_id": "queue-id"}


def test_update_without_a_change_is_refused(client, broker):
    result = client("update", "db-1")

    assert result.exit_code == 2
    assert "nothing to change" in result.stderr
    assert broker.seen == []


def test_a_failed_update_tells_what_is_left(client, broker):
    broker.answers(
        "PATCH",
        DB,
        422,
        {"error": "UpdateRefused", "description": "No.", "update_repeatable": False},
    )

    result = client("update", "db-1", "-p", "a=1", "--json")

    assert result.exit_code == 1
    assert json.loads(result.stdout)["update_repeatable"] is False


# --- deprovision ------------------------------------------------------------------


@pytest.mark.parametrize(("status", "state"), [(200, "succeeded"), (410, "gone")])
def test_deprovision_ends_with_200_or_410(client, broker, status, state):
    broker.answers("DELETE", DB, status, "")

    result = client("deprovision", "db-1", "--plan", "tiny", "--json")

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "state": state,
        "status": status,
        "instance_id": "db-1",
    }
    assert dict(broker.asked("DELETE", DB)[0].url.params) == {
        "service_id": "queue-id",
        "plan_id": "tiny-id",
        "accepts_incomplete": "true",
    }


def test_410_while_deleting_is_the_end(client, broker):
    """PLAT-15: "MUST consider this response a success"."""
    broker.answers("DELETE", DB, 202, {"operation": "op-3"})
    broker.answers("GET", POLL, 410)

    result = client("deprovision", "db-1", "--plan", "tiny", "--json")

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["state"] == "gone"


def test_a_retrievable_instance_tells_its_own_plan(client, broker):
    broker.catalog(catalog_with(instances_retrievable=True))
    broker.answers("GET", DB, 200, {"service_id": "queue-id", "plan_id": "slow-id"})
    broker.answers("DELETE", DB, 200)

    result = client("deprovision", "db-1")

    assert result.exit_code == 0, result.output
    assert broker.asked("DELETE", DB)[0].url.params["plan_id"] == "slow-id"


@pytest.mark.parametrize("retrievable", [True, False])
def test_what_nobody_tells_must_be_said(client, broker, retrievable):
    """With instances_retrievable the GET is 404 here: the creation failed."""
    broker.catalog(catalog_with(instances_retrievable=retrievable))

    result = client("deprovision", "db-1")

    assert result.exit_code == 2
    assert "--plan" in result.stderr
    assert len(broker.asked("GET", DB)) == (1 if retrievable else 0)
    assert broker.asked("DELETE", DB) == []

"""The application that works with a queue, and where it finds its credentials."""

import argparse
import asyncio
import io
import json

import httpx
import pytest

from examples.queue_broker import worker_app
from examples.queue_broker.messages import MessagesApp
from examples.queue_broker.queue_file import QueueSettings, Role
from examples.queue_broker.worker_app import CannotStart, Credentials, find_credentials

from .conftest import BINDING, QUEUE, TOKEN

URI = f"http://queues/v1/queues/{QUEUE}"
BOUND = {
    "uri": URI,
    "send_url": f"{URI}/messages",
    "receive_url": f"{URI}/receive",
    "token": TOKEN,
    "queue": QUEUE,
    "role": "readwrite",
}
EXPECTED = Credentials(BOUND["send_url"], BOUND["receive_url"], TOKEN)
ENVIRONMENT = {
    "QUEUE_SEND_URL": BOUND["send_url"],
    "QUEUE_RECEIVE_URL": BOUND["receive_url"],
    "QUEUE_TOKEN": TOKEN,
}


def found(given=None, environ=None, stdin=""):
    return find_credentials(given, environ or {}, io.StringIO(stdin))


def mount(directory, **files):
    """A Secret as Kubernetes mounts it: links into a directory of its own."""
    data = directory / "..2026_01_01"
    data.mkdir(parents=True)
    (directory / "..data").symlink_to(data.name)
    for name, content in files.items():
        (data / name).write_text(content)
        (directory / name).symlink_to(f"..data/{name}")
    return str(directory)


def test_credentials_come_from_a_mounted_secret(tmp_path):
    assert found(mount(tmp_path / "queue", **BOUND)) == EXPECTED


def test_dashes_and_line_ends_in_a_mounted_secret_do_no_harm(tmp_path):
    files = {"send-url": BOUND["send_url"], "receive-url": BOUND["receive_url"]}

    assert found(mount(tmp_path / "q", **files, token=f"{TOKEN}\n")) == EXPECTED


def test_credentials_come_from_the_one_queue_among_the_bindings(tmp_path):
    mount(tmp_path / "database", type="postgresql", token="other")
    mount(tmp_path / "jobs", type="osbkit-queue", **BOUND)

    assert found(environ={"SERVICE_BINDING_ROOT": str(tmp_path)}) == EXPECTED
    assert found(str(tmp_path)) == EXPECTED


def test_binding_without_a_type_is_known_by_its_keys(tmp_path):
    mount(tmp_path / "database", token="other")
    mount(tmp_path / "jobs", **BOUND)

    assert found(str(tmp_path)) == EXPECTED


def test_two_queues_are_one_too_many_to_choose(tmp_path):
    for name in ("jobs", "mails"):
        mount(tmp_path / name, **BOUND)

    with pytest.raises(CannotStart, match="2 bindings"):
        found(str(tmp_path))


def test_credentials_come_from_environment_variables():
    assert found(environ=ENVIRONMENT) == EXPECTED


def test_names_of_secret_keys_with_a_prefix_are_environment_variables_too():
    environ = {f"QUEUE_{key}": value for key, value in BOUND.items()}

    assert found(environ=environ) == EXPECTED


def test_credentials_come_from_cloud_foundry():
    services = {"osbkit-queue": [{"name": "jobs", "credentials": BOUND}]}

    assert found(environ={"VCAP_SERVICES": json.dumps(services)}) == EXPECTED


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(BOUND, id="the credentials themselves"),
        pytest.param(
            {"credentials": BOUND, "state": "succeeded"}, id="an answer to a bind"
        ),
    ],
)
def test_credentials_come_from_json_in_a_file_or_on_stdin(tmp_path, document):
    text = json.dumps(document)
    (tmp_path / "bound.json").write_text(text)

    assert found(str(tmp_path / "bound.json")) == EXPECTED
    assert found("-", stdin=text) == EXPECTED


def test_what_is_named_counts_before_the_environment(tmp_path):
    environ = {**ENVIRONMENT, "QUEUE_TOKEN": "from-the-environment"}

    assert found(mount(tmp_path / "queue", **BOUND), environ) == EXPECTED


@pytest.mark.parametrize(
    ("given", "environ", "stdin", "why"),
    [
        pytest.param(None, {}, "", "no credentials", id="nothing anywhere"),
        pytest.param(
            None, {"QUEUE_TOKEN": "t"}, "", "send_url, receive_url", id="only a token"
        ),
        pytest.param("-", {}, "{", "no JSON", id="broken JSON"),
        pytest.param("-", {}, '{"a": [1]}', "no credentials", id="another JSON"),
        pytest.param("/nowhere/at/all", {}, "", "neither", id="no such file"),
        pytest.param(
            None, {"SERVICE_BINDING_ROOT": "/nowhere"}, "", "not a directory", id="root"
        ),
        pytest.param(
            None,
            {**ENVIRONMENT, "QUEUE_SEND_URL": "amqp://queues"},
            "",
            "no http",
            id="another protocol",
        ),
        pytest.param(
            None, {**ENVIRONMENT, "QUEUE_TOKEN": "tökén"}, "", "header", id="odd token"
        ),
    ],
)
def test_credentials_that_cannot_be_used_are_refused_with_a_sentence(
    given, environ, stdin, why
):
    with pytest.raises(CannotStart, match=why) as refused:
        found(given, environ, stdin)

    assert "tökén" not in str(refused.value)


def test_token_is_not_in_the_repr():
    assert TOKEN not in repr(EXPECTED)


# --- work


def options(**given):
    defaults = {"messages": 20, "concurrency": 4, "timeout": 60, "credentials": None}
    return argparse.Namespace(**{**defaults, **given})


async def work(store, environ=ENVIRONMENT, transport=None, **given):
    served = httpx.ASGITransport(MessagesApp(store), root_path="/v1/queues")
    return await worker_app.run(
        options(**given), environ, io.StringIO(), transport=transport or served
    )


@pytest.fixture
async def roomy(store, queue):
    await store.converge(queue, QueueSettings(max_messages=1000, max_bytes=10**7))


async def test_each_message_is_received_once(store, roomy, capsys):
    assert await work(store, messages=1000) == 0

    assert (
        "sent 1000 of 1000, received 1000, received again 0" in capsys.readouterr()[0]
    )
    assert (await store.state(QUEUE)).stored == 0


async def test_more_messages_than_the_queue_holds_go_through(store, queue, monkeypatch):
    monkeypatch.setattr(worker_app, "RETRY_SECONDS", 0)
    assert (await store.state(QUEUE)).settings.max_messages == 3

    assert await work(store, messages=10) == 0


async def test_messages_of_others_are_left_to_them(store, roomy, capsys):
    await store.send(QUEUE, TOKEN, b'"not ours"')

    assert await work(store) == 0

    assert "left to others 1" in capsys.readouterr().out
    assert (await store.state(QUEUE)).stored == 1


async def test_revoked_token_ends_with_status_3_and_a_sentence(store, queue, capsys):
    await store.revoke(QUEUE, BINDING)

    assert await work(store) == 3

    said = capsys.readouterr()
    assert "refuses the token (401)" in said.err
    assert TOKEN not in said.err + said.out


async def test_role_that_is_not_enough_ends_with_a_sentence(store, queue, capsys):
    await store.grant(QUEUE, BINDING, TOKEN, Role.PRODUCER)

    assert await work(store) == 1

    assert "readwrite" in capsys.readouterr().err


async def test_message_that_comes_twice_is_no_success(store, roomy, clock, capsys):
    app = MessagesApp(store)
    late: list[object] = []

    async def slow_once(scope, receive, send):
        """A way on which the first acknowledgement takes longer than its lease."""
        if scope["method"] == "DELETE" and not late:
            late.append(scope)
            clock.now += 60
        await app(scope, receive, send)

    transport = httpx.ASGITransport(slow_once, root_path="/v1/queues")

    assert await work(store, transport=transport, messages=2, concurrency=1) == 1

    assert "received 2, received again 1" in capsys.readouterr().out


async def test_time_that_runs_out_is_told(store, queue, capsys):
    async def silent(scope, receive, send):
        await asyncio.Event().wait()

    assert await work(store, transport=httpx.ASGITransport(silent), timeout=0.01) == 1

    assert "Not done after 0.01 seconds" in capsys.readouterr().err


async def test_queue_that_is_away_is_told(store, capsys):
    class Away(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request):
            raise httpx.ConnectError("refused")

    assert await work(store, transport=Away()) == 1

    assert "cannot be reached (ConnectError)" in capsys.readouterr().err


async def test_without_credentials_nothing_is_tried(store, capsys):
    assert await work(store, environ={}) == 2

    assert "no credentials" in capsys.readouterr().err


def test_arguments_have_defaults(capsys):
    arguments = worker_app._arguments([])
    assert (arguments.messages, arguments.credentials) == (1000, None)

    with pytest.raises(SystemExit) as refused:
        worker_app._arguments(["--messages", "0"])
    assert refused.value.code == 2

"""`osbkit serve`, and how it finds what to serve."""

import importlib
import json
import logging
import signal
import socket
import subprocess
import sys
from logging.config import dictConfig

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from osbkit.cli.loading import load_application
from osbkit.cli.serve import log_config, server_config
from osbkit.settings import Settings

MODULE = """
from fastapi import FastAPI
from osbkit import Broker, Catalog

app = FastAPI()
broker = Broker(catalog=Catalog(services=[]), backends={})
number = 5

class Holder:
    inner = app

@app.get("/")
async def hello():
    return {"hello": "world"}
"""


@pytest.fixture
def module(tmp_path, monkeypatch, request):
    """A module of an author in the working directory; its name is new each time."""
    name = f"author_{abs(hash(request.node.name))}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(text=MODULE):
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


def test_an_application_is_found_in_the_working_directory(module):
    name = module()

    assert isinstance(load_application(f"{name}:app"), FastAPI)
    assert isinstance(load_application(f"{name}:Holder.inner"), FastAPI)


def test_of_a_broker_its_application_is_served(module):
    name = module()

    served = load_application(f"{name}:broker")

    assert served is importlib.import_module(name).broker.app


@pytest.mark.parametrize(
    ("target", "words"),
    [
        pytest.param("{}", ["MODULE:ATTR"], id="no colon"),
        pytest.param("{}:", ["MODULE:ATTR"], id="no attribute"),
        pytest.param("nowhere.app:app", ["'nowhere'", "directory"], id="no module"),
        pytest.param("{}.py:app", ["Write {}:app"], id="a path"),
        pytest.param("./a/{}.py:app", ["Write a.{}:app"], id="a longer path"),
        pytest.param("{}:ap", ["no 'ap'", "{0}:app, {0}:broker"], id="no such name"),
        pytest.param("{}:number", ["is a int", "{}:app"], id="something else"),
    ],
)
def test_a_wrong_target_is_a_sentence_that_names_the_fix(osbkit, module, target, words):
    name = module()

    result = osbkit("serve", target.format(name))

    assert result.exit_code == 2
    for word in words:
        assert word.format(name) in result.stderr, result.stderr
    assert "Traceback" not in result.output


def test_a_module_that_lacks_a_dependency_names_it(osbkit, module):
    name = module("import no_such_library_at_all")

    result = osbkit("serve", f"{name}:app")

    assert result.exit_code == 2
    assert "needs 'no_such_library_at_all'" in result.stderr


def test_a_module_without_any_application_says_so(osbkit, module):
    name = module("number = 5")

    result = osbkit("serve", f"{name}:app")

    assert result.exit_code == 2
    assert "no Broker and no FastAPI application" in result.stderr


def test_a_slip_of_the_pen_is_recognised(osbkit, module):
    name = module("application = 5")

    result = osbkit("serve", f"{name}:aplication")

    assert result.exit_code == 2
    assert f"Did you mean {name}:application?" in result.stderr


def test_a_start_refused_at_import_is_one_sentence_and_status_3(osbkit, module):
    name = module(
        "from osbkit.errors import StartRefused\nraise StartRefused('Mend this first.')"
    )

    result = osbkit("serve", f"{name}:app")

    assert result.exit_code == 3
    assert result.stderr == "Mend this first.\n"


def test_a_wrong_setting_refuses_the_start(osbkit, module, monkeypatch):
    monkeypatch.setenv("OSBKIT_PORTS", "8080")

    result = osbkit("serve", f"{module()}:app")

    assert result.exit_code == 3
    assert "OSBKIT_PORT?" in result.stderr


def test_uvicorn_is_set_up_as_platforms_need_it():
    config = server_config(FastAPI(), Settings(host="127.0.0.2", port=9999))

    assert (config.host, config.port) == ("127.0.0.2", 9999)
    assert config.http == "httptools"
    assert config.timeout_keep_alive == 120
    assert config.timeout_graceful_shutdown == 20
    assert config.lifespan == "on"
    assert not config.access_log
    assert not config.server_header


@pytest.fixture
def restored_logging():
    """dictConfig changes loggers for the whole process; put them back."""
    root, uvicorn = logging.getLogger(), logging.getLogger("uvicorn")
    before = [(each, each.handlers[:], each.level) for each in (root, uvicorn)]
    yield
    for logger, handlers, level in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
    uvicorn.propagate = True


def test_lines_of_libraries_look_like_our_events(restored_logging, capsys):
    dictConfig(log_config("INFO", "json"))

    logging.getLogger("uvicorn.error").info("Started on %s", "8080")
    logging.getLogger("httpx").info("GET https://…")

    [line] = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert (event["event"], event["level"]) == ("Started on 8080", "info")
    assert "timestamp" in event


@pytest.mark.parametrize("style", ["json", "console"])
def test_the_text_of_an_exception_never_reaches_the_log(
    restored_logging, capsys, style
):
    dictConfig(log_config("INFO", style))

    try:
        raise RuntimeError("password=s3cret")
    except RuntimeError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application")

    told = capsys.readouterr().err
    assert "Exception in ASGI application" in told
    assert "RuntimeError" in told
    assert "s3cret" not in told


def test_a_broker_serves_until_sigterm(module, tmp_path, free_port):
    name = module()
    command = [
        sys.executable, "-c", "from osbkit.cli import main; main()",
        "serve", f"{name}:app", "--port", str(free_port),
    ]  # fmt: skip
    with subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        try:
            told = next((line for line in server.stderr if "running on" in line), "{}")
            answer = httpx.get(f"http://127.0.0.1:{free_port}/")
            server.send_signal(signal.SIGTERM)
            server.stderr.read()
        finally:
            server.kill()

    assert str(free_port) in json.loads(told)["event"]
    assert answer.json() == {"hello": "world"}
    assert "server" not in answer.headers


def test_a_lifespan_that_refuses_ends_with_status_3(
    osbkit, module, restored_logging, monkeypatch
):
    monkeypatch.setenv("OSBKIT_LOG_FORMAT", "console")
    name = module(
        "from fastapi import FastAPI\n"
        "class Refusing(FastAPI):\n"
        "    async def __call__(self, scope, receive, send):\n"
        "        await receive()\n"
        "        await send({'type': 'lifespan.startup.failed',\n"
        "                    'message': 'The database is locked by process 7.'})\n"
        "app = Refusing()\n"
    )

    result = osbkit("serve", f"{name}:app")

    assert result.exit_code == 3
    assert "The database is locked by process 7." in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture
def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_host_and_port_are_settings_under_another_name(osbkit, module, monkeypatch):
    """So that the broker derives its public URL from them."""
    seen: list[uvicorn.Config] = []
    monkeypatch.setattr("osbkit.cli.serve._run", seen.append)
    for name in ("OSBKIT_HOST", "OSBKIT_PORT"):
        monkeypatch.setenv(name, "")  # put back afterwards

    result = osbkit("serve", f"{module()}:app", "--host", "127.0.0.3", "--port", "91")

    assert result.exit_code == 0, result.output
    [config] = seen
    assert (config.host, config.port) == ("127.0.0.3", 91)
    assert Settings.from_environment().public_url == "http://127.0.0.3:91"

"""How the client reaches a broker, and what it says when that goes wrong."""

import base64
import json
import socket
import subprocess
import sys

import httpx
import pytest

CATALOG = "/v2/catalog"


def test_a_user_goes_as_basic_and_a_token_as_bearer(client, broker):
    client("catalog", "--user", "us", "--password", "pa:ß")
    client("catalog", "--token", "t0ken")

    basic, bearer = [request.headers["Authorization"] for request in broker.seen]
    assert basic == "Basic " + base64.b64encode("us:pa:ß".encode()).decode()
    assert bearer == "Bearer t0ken"


def test_the_environment_of_the_client_is_its_own(client, broker, monkeypatch):
    monkeypatch.setenv("OSB_URL", "https://broker.example/prefix/")
    monkeypatch.setenv("OSB_USER", "us")
    monkeypatch.setenv("OSB_PASSWORD", "pa")
    broker.answers("GET", "/prefix/v2/catalog", 200, {"services": []})

    result = client("catalog")

    assert result.exit_code == 0, result.output
    [request] = broker.seen
    assert str(request.url) == "https://broker.example/prefix/v2/catalog"
    assert request.headers["Authorization"].startswith("Basic ")


def test_the_api_version_is_a_choice(client, broker):
    client("catalog", "--api-version", "2.14")

    assert broker.seen[0].headers["X-Broker-API-Version"] == "2.14"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param(["--url", "broker:8080"], "http:// or https://", id="no scheme"),
        pytest.param(["--url", "http://"], "http:// or https://", id="no host"),
        pytest.param(["--url", "http://b:x"], "not a valid URL", id="not a URL"),
        pytest.param(["--url", "http://a..b"], "not a valid URL", id="empty label"),
        pytest.param(["--url", "http://b:65536"], "port", id="no such port"),
        pytest.param(["--url", "http://b/?a=1"], "before any ?", id="query"),
        pytest.param(["--url", "http://u:topsecret@b"], "OSB_USER", id="user info"),
        pytest.param(
            ["--user", "u", "--password", "topsecret", "--token", "topsecret"],
            "both",
            id="two kinds",
        ),
        pytest.param(["--user", "u"], "--password", id="no password"),
        pytest.param(["--password", "topsecret"], "--user", id="no user"),
        pytest.param(["--token", "topsecret\nx: y"], "token", id="token, two lines"),
        pytest.param(["--api-version", "2.17\r\nx: y"], "--api-version", id="version"),
    ],
)
def test_a_connection_that_cannot_be_is_refused_without_repeating_secrets(
    client, broker, options, words
):
    result = client("catalog", *options)

    assert result.exit_code == 2
    assert words in result.stderr
    assert "topsecret" not in result.output
    assert broker.seen == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param([], "No credential was sent", id="none"),
        pytest.param(["--token", "t0p"], "--token (OSB_TOKEN)", id="token"),
        pytest.param(
            ["--user", "u", "--password", "t0p"], "--user and --password", id="basic"
        ),
    ],
)
def test_401_names_the_option_to_look_at(client, broker, options, words):
    broker._answers.clear()
    broker.answers("GET", CATALOG, 401, {"description": "No."})

    result = client("catalog", *options)

    assert result.exit_code == 1
    assert "401 Unauthorized" in result.stderr
    assert words in result.stderr
    assert "t0p" not in result.output


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        pytest.param(412, {"description": "2.12 only"}, "--api-version", id="412"),
        pytest.param(
            400,
            {"description": "X-Broker-API-Version is missing"},
            "--api-version",
            id="400 for the version",
        ),
        pytest.param(404, {}, "without /v2", id="404"),
        pytest.param(500, {}, "request id", id="500"),
        pytest.param(503, {}, "passing trouble", id="503"),
        pytest.param(418, {}, "418", id="a status without a hint"),
        pytest.param(299, {}, "299", id="a status without a name"),
        pytest.param(200, "<html>secret</html>", "no JSON object", id="a web page"),
        pytest.param(200, "[]", "no JSON object", id="a list"),
    ],
)
def test_every_refusal_is_one_readable_block(client, broker, status, body, words):
    broker._answers.clear()
    broker.answers("GET", CATALOG, status, body)

    result = client("catalog")

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("The broker did not give its catalog.\n  status")
    assert words in result.stderr
    assert "secret" not in result.stderr
    assert "Traceback" not in result.stderr


def test_a_refusal_as_json_holds_what_the_broker_said(client, broker):
    broker._answers.clear()
    broker.answers(
        "GET",
        CATALOG,
        503,
        {"error": "Busy", "description": "Later."},
        {"Retry-After": "9"},
    )

    result = client("catalog", "--json")

    told = json.loads(result.stdout)
    request_id = broker.seen[0].headers["X-Broker-API-Request-Identity"]
    assert told == {
        "status": 503,
        "error": "Busy",
        "description": "Later.",
        "retry_after": 9,
        "request_id": request_id,
        "hint": "This is passing trouble. Try again shortly.",
    }


def test_a_redirect_is_told_and_not_followed(client, broker):
    broker._answers.clear()
    broker.answers("GET", CATALOG, 307, {}, {"Location": "https://other.example/"})

    result = client("catalog", "--token", "t0p")

    assert result.exit_code == 1
    assert "https://other.example/" in result.stderr
    assert len(broker.seen) == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        pytest.param(httpx.ReadTimeout("slow"), "within 60 s", id="time ran out"),
        pytest.param(
            httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"),
            "SSL_CERT_FILE",
            id="certificate",
        ),
        pytest.param(
            httpx.RemoteProtocolError("Bearer t0p"), "broke before", id="broken off"
        ),
    ],
)
def test_a_connection_that_fails_has_a_sentence(client, broker, error, words):
    broker._answers.clear()
    broker.breaks("GET", CATALOG, error)

    result = client("catalog")

    assert result.exit_code == 1
    assert words in result.stderr
    assert "t0p" not in result.stderr


def test_nobody_listening_asks_whether_the_broker_is_running(osbkit):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        result = osbkit("client", "catalog", "--url", f"http://127.0.0.1:{port}")

    assert result.exit_code == 1
    assert "Is the broker running" in result.stderr
    assert "osbkit serve" in result.stderr


def test_the_client_loads_neither_the_server_nor_the_store():
    code = (
        "import sys, osbkit.cli\n"
        "from typer.testing import CliRunner\n"
        "CliRunner().invoke(osbkit.cli.app, ['client', 'catalog', '--url', 'x'])\n"
        "print([m for m in ('sqlalchemy', 'fastapi', 'uvicorn', 'alembic', 'passlib')"
        " if m in sys.modules])"
    )

    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert loaded.stdout.strip() == "[]"

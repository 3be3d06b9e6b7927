"""`osbkit check`: what it takes, what it prints, how it ends."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from typer.testing import Result

from osbkit.cli.check import Surroundings
from tests.kit.matrix import AT_ONCE, answers, fields, headers, status
from tests.kit.reference import PASSWORD, USER, ReferenceBroker

URL = "https://broker.example/prefix"
Check = Callable[..., Result]


class BelowPrefix(httpx.ASGITransport):
    """The reference broker where a URL with a path prefix leads to; counts requests.

    Attributes:
        asked: every request.
        on_request: called before each.
    """

    def __init__(self, broker: ReferenceBroker) -> None:
        super().__init__(app=broker)  # type: ignore[arg-type] # plain dicts, no scopes
        self.asked: list[httpx.Request] = []
        self.on_request: Callable[[httpx.Request], None] = lambda request: None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        self.on_request(request)
        path = request.url.raw_path.removeprefix(b"/prefix")
        request.url = request.url.copy_with(raw_path=path)
        return await super().handle_async_request(request)


@pytest.fixture
def broker() -> ReferenceBroker:
    return ReferenceBroker()


@pytest.fixture
def transport(broker: ReferenceBroker) -> BelowPrefix:
    return BelowPrefix(broker)


@pytest.fixture
def check(osbkit: Check, transport: BelowPrefix, broker: ReferenceBroker) -> Check:
    """Run the command against the reference broker, credentials in the environment."""

    def run(
        *arguments: str,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        over: httpx.AsyncBaseTransport | None = None,
        **environment: str | None,
    ) -> Result:
        around = Surroundings(
            transport=over or transport, tempo=AT_ONCE, clock=broker.clock, pause=pause
        )
        credentials = {"OSB_USER": USER, "OSB_PASSWORD": PASSWORD}
        return osbkit(
            "check", URL, *arguments, obj=around, env={**credentials, **environment}
        )

    return run


def empty_error(broker: ReferenceBroker) -> None:
    """Wrong in one way: ERR-03, a MUST."""
    answers("", 404, fields(error=""))(broker)


def silent(broker: ReferenceBroker) -> None:
    """Wrong in another: HDR-14, a SHOULD."""
    answers("", 200, headers(x_broker_api_request_identity=None))(broker)


# --- how it ends ------------------------------------------------------------------


def test_a_broker_that_is_right_ends_with_0_and_says_so(check):
    result = check("--section", "errors,headers")

    assert result.exit_code == 0, result.output
    assert "Errors (ERR)" in result.stdout
    assert "Headers (HDR)" in result.stdout
    assert "Conforms" in result.stdout
    assert "FAILED" not in result.stdout


def test_a_broken_must_ends_with_1_and_says_what_came_and_what_to_change(check, broker):
    empty_error(broker)

    result = check("--section", "err")

    assert result.exit_code == 1
    assert "FAILED ERR-03  MUST" in result.stdout
    assert "Leave `error` out" in result.stdout
    assert "404 Not Found" in result.stdout
    assert "Does not conform" in result.stdout


def test_a_broken_should_is_told_and_ends_with_0(check, broker):
    silent(broker)

    result = check("--section", "hdr")

    assert result.exit_code == 0
    assert "FAILED HDR-14  SHOULD" in result.stdout
    assert "Besides: " in result.stdout


def test_a_must_that_could_not_be_tried_ends_with_1(check, broker):
    answers("PUT instance", None, status(500))(broker)

    result = check("--section", "maint")

    assert result.exit_code == 1
    assert "BLOCKED MAINT-" in result.stdout


def test_everything_that_was_made_is_removed(check, broker):
    assert check("--section", "maint").exit_code == 0

    assert broker.instances
    assert not any(each.exists for each in broker.instances.values())


# --- when it cannot run -----------------------------------------------------------


def refusing(code: int, **more: Any) -> httpx.MockTransport:
    return httpx.MockTransport(lambda request: httpx.Response(code, **more))


def dead(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


@pytest.mark.parametrize(
    ("transport", "words"),
    [
        pytest.param(httpx.MockTransport(dead), "Is it running", id="nobody there"),
        pytest.param(refusing(401), "Check the user and password", id="not let in"),
        pytest.param(refusing(404), "what stands before /v2", id="not there"),
        pytest.param(refusing(412), "--api-version", id="version not served"),
        pytest.param(
            refusing(301, headers={"Location": "https://other.example/v2/catalog"}),
            "https://other.example",
            id="elsewhere",
        ),
        pytest.param(refusing(500), "the broker's log", id="broken"),
        pytest.param(refusing(200, text="<html>"), "no service broker", id="a page"),
    ],
)
def test_a_broker_that_cannot_be_checked_ends_with_2_and_a_sentence_names_the_fix(
    check, transport, words
):
    result = check(over=transport)

    assert result.exit_code == 2
    assert words in result.stderr
    assert "Hint: " in result.stderr
    assert result.stdout == ""


def test_without_a_credential_the_hint_names_the_variables(check):
    result = check(OSB_USER=None, OSB_PASSWORD=None)

    assert result.exit_code == 2
    assert "OSB_USER and OSB_PASSWORD, or OSB_TOKEN" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--section", "nothing"], "PROV (Provisioning)", id="section"),
        pytest.param(["--report", "pdf"], "text, json, junit, html", id="format"),
        pytest.param(["--report", "html="], "=FILE", id="no file"),
        pytest.param(["--report", "html=no/where.html"], "exists", id="no directory"),
        pytest.param(
            ["--report", "json", "--report", "html"], "standard output", id="two there"
        ),
        pytest.param(["--service", "nowhere"], "It has everything/sync", id="offering"),
        pytest.param(["--plan", "nowhere"], "everything/auto", id="plan"),
        pytest.param(["--params", "[]"], "JSON object", id="parameters"),
        pytest.param(["--bind-params", "{"], "--bind-params", id="of a binding"),
        pytest.param(["--ca-file", "nowhere.pem"], "PEM", id="certificates"),
        pytest.param(["--token", "t"], "Leave one out", id="two credentials"),
        pytest.param(["--api-version", "3.0"], "2.17", id="version"),
        pytest.param(["--level", "maybe"], "should", id="level"),
        pytest.param(
            ["--section", "hdr", "--level", "maybe"], "must", id="level and section"
        ),
    ],
)
def test_a_command_line_that_cannot_be_used_ends_with_2_and_asks_nothing(
    check, transport, tmp_path, monkeypatch, arguments, words
):
    monkeypatch.chdir(tmp_path)

    result = check(*arguments)

    assert result.exit_code == 2
    assert words in result.stderr
    assert len(transport.asked) <= 1  # for the names that the catalog has


@pytest.mark.parametrize(
    ("url", "words"),
    [
        pytest.param("ftp://broker.example", "URL must begin with http", id="scheme"),
        pytest.param(
            "http://u:p@broker.example", "URL must not hold a user", id="user"
        ),
        pytest.param("http://broker.example/?a=b", "URL must end before", id="query"),
    ],
)
def test_a_url_that_cannot_be_used_is_called_by_its_name(osbkit, url, words):
    result = osbkit("check", url)

    assert result.exit_code == 2
    assert words in result.stderr


def test_a_section_without_a_check_of_the_level_is_refused(check, monkeypatch):
    monkeypatch.setattr("osbkit.conformance.registry.all_checks", list)

    result = check("--section", "err")

    assert result.exit_code == 2
    assert "No check is left" in result.stderr


# --- what it prints and writes ----------------------------------------------------


def test_no_output_and_no_report_holds_the_password(check, broker, tmp_path):
    empty_error(broker)
    names = [tmp_path / name for name in ("r.html", "r.json", "r.xml", "r.txt")]

    result = check(
        "--section",
        "err",
        *(
            argument
            for form, name in zip(("html", "json", "junit", "text"), names, strict=True)
            for argument in ("--report", f"{form}={name}")
        ),
    )

    assert result.exit_code == 1
    for text in (result.stdout, result.stderr, *(each.read_text() for each in names)):
        assert text
        assert PASSWORD not in text


def test_each_report_goes_to_its_file_and_the_text_is_printed(check, tmp_path):
    page, data, suite = (tmp_path / name for name in ("r.html", "r.json", "r.xml"))

    result = check(
        "--section", "err", "--report", f"html={page}", "--report", f"json={data}",
        "--report", f"junit={suite}",
    )  # fmt: skip

    assert page.read_text().startswith("<!doctype html>")
    assert json.loads(data.read_text())["requirements"]["ERR-03"]["outcome"] == "passed"
    assert ElementTree.parse(suite).getroot().tag == "testsuites"  # noqa: S314
    assert "Errors (ERR)" in result.stdout
    assert f"Report written to {page}." in result.stderr


def test_a_report_without_a_file_is_all_that_standard_output_holds(check):
    result = check("--section", "err", "--report", "json")

    assert json.loads(result.stdout)["conforms"] is True
    assert "Conforms" in result.stderr


def test_a_file_that_cannot_be_written_is_told_at_the_end(check, tmp_path, monkeypatch):
    def full(path: Path, *_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)

    result = check("--section", "err", "--report", f"html={tmp_path / 'r.html'}")

    assert result.exit_code == 2
    assert "No space left on device" in result.stderr


def test_progress_is_told_on_standard_error_failures_as_they_come(check, broker):
    empty_error(broker)

    result = check("--section", "err")

    assert "learning what the plans do" in result.stderr
    assert "failed ERR-03 MUST: `error` is ''" in result.stderr


# --- what is tried ----------------------------------------------------------------


def found(result: Result) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def test_the_level_leaves_out_what_weighs_less(check):
    counts = found(check("--section", "hdr", "--level", "must", "--report", "json"))[
        "counts"
    ]

    assert sum(counts["MUST"].values()) > 0
    assert sum(counts["SHOULD"].values()) == sum(counts["MAY"].values()) == 0


def test_a_section_is_named_by_letters_or_title_several_times(check):
    report = found(
        check("--section", "err", "--section", "headers", "--report", "json")
    )

    families = [
        {each.partition("-")[0] for each in one["requirements"]}
        for one in report["checks"]
    ]
    assert all(each & {"ERR", "HDR"} for each in families)
    assert {"ERR", "HDR"} <= set[str]().union(*families)


def test_only_the_plan_that_is_named_is_tried(check, broker):
    report = found(
        check(
            "--service", "everything", "--plan", "auto", "--section", "err",
            "--report", "json",
        )
    )  # fmt: skip

    assert list(report["plans"]) == ["everything/auto"]
    made = {each.attributes["plan_id"] for each in broker.instances.values()}
    assert len(made) == 1


def test_parameters_that_are_given_are_sent(check, broker):
    check("--section", "err", "--plan", "auto", "--params", '{"size": 7}')

    sent = [each.attributes["parameters"] for each in broker.instances.values()]
    assert {"size": 7} in sent


def test_the_version_is_sent_and_what_is_newer_is_skipped(check, transport):
    report = found(
        check("--api-version", "2.13", "--section", "hdr", "--report", "json")
    )

    version = "x-broker-api-version"
    assert transport.asked[0].headers[version] == "2.13"
    assert report["broker"]["api_version"] == "2.13"
    newer = [each for each in report["checks"] if each["outcome"] == "skipped"]
    assert any("API version 2.1" in each["said"] for each in newer)


def test_a_token_is_sent_and_never_shown(check, broker, transport):
    result = check(
        "--section", "err", OSB_USER=None, OSB_PASSWORD=None, OSB_TOKEN="tok-123"
    )

    assert transport.asked[0].headers["authorization"] == "Bearer tok-123"
    assert result.exit_code == 2  # the reference broker knows no tokens
    assert "tok-123" not in result.output


def test_credentials_of_the_environment_stand_in_no_argument(check, transport):
    check("--section", "err")

    assert transport.asked[0].headers["authorization"].startswith("Basic ")
    assert PASSWORD not in " ".join(sys.argv)


# --- stopping and watching --------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", [1, 40, 80])
def test_a_run_that_is_stopped_removes_what_it_made_and_ends_with_2(
    check, broker, transport, number, moment
):
    made: list[httpx.Request] = []

    def stop(request: httpx.Request) -> None:
        if request.method == "PUT":
            made.append(request)
            if len(made) == moment:  # while it learns, and while it checks
                os.kill(os.getpid(), number)

    transport.on_request = stop

    result = check("--section", "maint")

    assert len(made) >= moment
    assert "Stopped before its end" in result.stdout
    assert result.exit_code == 2
    assert not any(each.exists for each in broker.instances.values())


class Meanwhile:
    """What happens while the command waits; then Ctrl-C."""

    def __init__(self, *happens: Callable[[], None]) -> None:
        self._happens = list(happens)

    async def __call__(self, seconds: float) -> None:
        if self._happens:
            self._happens.pop(0)()
            return
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)


def nothing() -> None:
    """Nothing happens."""


def test_watching_checks_again_when_the_catalog_changes(check, broker):
    def change() -> None:
        empty_error(broker)
        broker.catalog["services"][0]["description"] = "Another one"

    result = check("--section", "err", "--watch", pause=Meanwhile(nothing, change))

    assert result.stdout.count("Errors (ERR)") == 2
    assert "The catalog changed." in result.stderr
    assert result.exit_code == 1  # of the last run


def test_watching_checks_again_when_the_broker_was_away(check, broker, transport):
    def go() -> None:
        transport.on_request = lambda request: dead(request) and None

    def come() -> None:
        transport.on_request = lambda request: None

    result = check("--section", "err", "--watch", pause=Meanwhile(go, come))

    assert result.stdout.count("Errors (ERR)") == 2
    assert "The broker came back." in result.stderr
    assert result.exit_code == 0


def test_watching_waits_for_a_broker_that_is_not_there_yet(check, transport):
    transport.on_request = lambda request: dead(request) and None

    def come() -> None:
        transport.on_request = lambda request: None

    result = check("--section", "err", "--watch", pause=Meanwhile(nothing, come))

    assert "gave no answer" in result.stderr
    assert result.stdout.count("Errors (ERR)") == 1
    assert result.exit_code == 0


def test_watching_does_not_check_again_for_nothing(check):
    result = check("--section", "err", "--watch", pause=Meanwhile(nothing, nothing))

    assert result.stdout.count("Errors (ERR)") == 1

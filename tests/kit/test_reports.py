"""What the reports tell of a run, and what they must never tell."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

from osbkit.conformance import catalog
from osbkit.conformance.exchange import HIDDEN, Exchange, Mask
from osbkit.conformance.marks import marked
from osbkit.conformance.registry import Check
from osbkit.conformance.reports import FORMATS, Format, render
from osbkit.conformance.reports.account import Account, account
from osbkit.conformance.requirements import REQUIREMENTS
from osbkit.conformance.results import Outcome, Report, Result
from osbkit.conformance.sending import Connection, Credentials, basic
from osbkit.conformance.session import Choices, Session

PASSWORD = 'pass"word-of-the-kit'
CREDENTIALS = Credentials(user="kit", password=PASSWORD)
LEAKS = (
    PASSWORD,
    json.dumps(PASSWORD)[1:-1],
    basic("kit", PASSWORD).partition(" ")[2],
    "hunter2",
    "s3cret-parameter",
    "s3cret-drain",
)
MASK = Mask(CREDENTIALS.secrets, names=["api_key"])
PATH = "/v2/service_instances/i-1/service_bindings/b-1"


def a_check(name: str, *ids: str, **fields: Any) -> Check:
    given = {"sentence": f"The sentence of {name}.", "advice": "", "since": (2, 11)}
    requirements = tuple(REQUIREMENTS[each] for each in ids)
    return Check(name=name, requirements=requirements, **{**given, **fields})


def an_exchange(status: int = 500, **answer: Any) -> Exchange:
    return Exchange(
        method="PUT",
        path=PATH,
        query="accepts_incomplete=true",
        sent_headers=(
            ("Authorization", basic("kit", PASSWORD)),
            ("X-Broker-API-Version", "2.17"),
        ),
        sent=json.dumps(
            {"plan_id": "p-1", "parameters": {"api_key": "s3cret-parameter", "n": 7}}
        ).encode(),
        status=status,
        headers=httpx.Headers({"Content-Type": "application/json"}),
        body=json.dumps(
            {
                "credentials": {"uri": "https://hunter2", "list": ["hunter2"]},
                "syslog_drain_url": "s3cret-drain",
                "description": f"{PASSWORD} is what you sent",
                **answer,
            }
        ).encode(),
        seconds=0.25,
    )


FAILED = Result(
    check=a_check("other_plan_conflicts", "PROV-09", "PROV-10"),
    outcome=Outcome.FAILED,
    said="expected 409, got 500",
    advice="Compare `plan_id` with the stored one.",
    seen=(an_exchange(),),
    before=(an_exchange(201), an_exchange()),
    seconds=1.5,
)
PASSED = Result(check=a_check("made", "PROV-02"), outcome=Outcome.PASSED, seconds=0.5)
SKIPPED = Result(
    check=a_check("rotated", "ROT-01"),
    outcome=Outcome.SKIPPED,
    said="The catalog has no plan with binding_rotatable: true.",
)
UNTRIED = replace(SKIPPED, check=a_check("successor", "ROT-02"))
LESSER = Result(
    check=a_check("identity_comes_back", "HDR-14"),
    outcome=Outcome.FAILED,
    said="it did not come back (3 of 9 answers)",
    seen=(an_exchange(200),),
    count=9,
)
BLOCKED = Result(
    check=a_check("bound", "BIND-01"), outcome=Outcome.BLOCKED, said="no instance"
)
BROKEN = Result(
    check=a_check("repeated", "PROV-07"),
    outcome=Outcome.ERROR,
    said="The check itself failed: KeyError: 'x'",
)


def told(*results: Result, **fields: Any) -> Account:
    """A run with these results, in the order of the reports."""
    given = {
        "url": "https://broker.example/prefix",
        "version": "2.17",
        "began": "2026-01-02T03:04:05+00:00",
        "seconds": 12.25,
        "exchanges": 40,
        "plans": (("queue/tiny", "provision sync, bind sync"),),
    }
    ordered = tuple(sorted(results, key=lambda each: each.check.place))
    return account(Report(results=ordered, **{**given, **fields}), MASK)


EVERYTHING = told(FAILED, PASSED, SKIPPED, LESSER, BLOCKED, BROKEN)
GOOD = told(PASSED, SKIPPED)
EVERY_FORMAT = pytest.mark.parametrize("form", FORMATS)


# --- what is never told -----------------------------------------------------------


@EVERY_FORMAT
def test_no_report_holds_a_secret(form: Format):
    text = render(EVERYTHING, form)

    assert [leak for leak in LEAKS if leak in text] == []
    assert HIDDEN in text  # and it is said that something is hidden


@EVERY_FORMAT
def test_no_sentence_of_a_report_holds_the_kits_own_password(form: Format):
    result = Result(
        check=PASSED.check,
        outcome=Outcome.FAILED,
        said=f"got {PASSWORD}",
        advice=PASSWORD,
    )

    text = render(
        told(result, left=(f"left: {PASSWORD}",), plans=(("q/t", PASSWORD),)), form
    )

    assert [leak for leak in LEAKS if leak in text] == []


def test_a_body_that_is_no_json_but_speaks_of_credentials_is_not_shown():
    seen = an_exchange()
    seen.body = b'{"credentials": {"password": "hunter2"'

    shown = MASK.shown(seen)

    assert "hunter2" not in shown.answer_body
    assert "38 bytes" in shown.answer_body


def test_what_a_catalog_marks_as_secret_is_hidden_at_any_depth():
    properties = {
        "plain": {"type": "string"},
        "hidden": {"type": "string", "writeOnly": True},
        "nested": {
            "type": "array",
            "items": {"properties": {"inner": {"format": "password"}}},
        },
    }
    schema = {"type": "object", "properties": properties}
    place = {"service_binding": {"create": {"parameters": schema}}}
    plan = {"id": "p", "name": "p", "schemas": place}
    raw = {"services": [{"id": "s", "name": "s", "plans": [plan]}]}

    assert marked(catalog.read(raw)) == {"hidden", "inner"}


@pytest.mark.parametrize(
    ("choices", "shown"),
    [
        pytest.param(Choices(), True, id="made up by the kit"),
        pytest.param(Choices(parameters={"n": 7}), False, id="of an instance"),
        pytest.param(Choices(bind_parameters={"n": 7}), False, id="of a binding"),
    ],
)
async def test_parameters_that_a_person_gave_are_not_shown(
    choices: Choices, shown: bool
):
    catalog_only = httpx.MockTransport(
        lambda request: httpx.Response(200, json={"services": []})
    )
    connection = Connection("https://b.example", CREDENTIALS, transport=catalog_only)
    session = Session(connection, choices=choices)
    await session.read_catalog()

    body = session.mask.shown(an_exchange()).request_body

    assert '"plan_id": "p-1"' in body
    assert ('"n": 7' in body) == shown
    await connection.close()


@EVERY_FORMAT
@pytest.mark.parametrize("wrong", [f"{PASSWORD}-wrong", PASSWORD[:-1]])
def test_wrong_credential_that_a_broker_repeats_tells_nothing_of_the_right_one(
    form: Format, wrong: str
):
    header = basic("kit", wrong)
    seen = an_exchange()
    seen.sent_headers = (("Authorization", header),)
    seen.body = json.dumps({"description": f"not {header} ({wrong})"}).encode()
    result = Result(check=PASSED.check, outcome=Outcome.FAILED, said="x", seen=(seen,))

    text = render(told(result), form)

    assert wrong not in text
    assert header.partition(" ")[2] not in text


@EVERY_FORMAT
def test_control_characters_of_a_broker_reach_no_report(form: Format):
    seen = an_exchange(description="\x1b[31mred\u202e")
    seen.body = b"\x1b[2Jgone \x00"
    result = Result(
        check=PASSED.check, outcome=Outcome.FAILED, said="\x1b[1m", seen=(seen,)
    )

    text = render(told(result), form)

    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", text)


# --- the verdict ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("results", "fields", "words"),
    [
        pytest.param([PASSED, SKIPPED, LESSER], {}, "that could be tried.", id="good"),
        pytest.param([PASSED, UNTRIED], {}, "all 1 MUST checks passed", id="some"),
        pytest.param([PASSED, UNTRIED], {}, "tried; 1 was skipped.", id="skipped"),
        pytest.param([FAILED, PASSED], {}, "of 2 MUST checks 1 failed.", id="failed"),
        pytest.param(
            [BLOCKED, BROKEN],
            {},
            "1 could not be tried, 1 broke in the kit itself",
            id="unproved",
        ),
        pytest.param([LESSER], {}, "Nothing that is a MUST", id="no MUST"),
        pytest.param(
            [PASSED], {"stopped": True}, "Stopped before its end", id="stopped"
        ),
    ],
)
def test_the_verdict_is_one_sentence(
    results: Sequence[Result], fields: dict[str, Any], words: str
):
    run = told(*results, **fields)

    assert words in run.verdict
    for form in FORMATS:
        if form != "junit":  # it has counts instead
            assert words in " ".join(render(run, form).split())


# --- text -------------------------------------------------------------------------


def test_the_text_has_a_table_per_section_and_a_row_per_check():
    text = render(EVERYTHING, "text")

    for section in EVERYTHING.sections:
        assert f"{section.title} ({section.family})" in text
    for line in EVERYTHING.lines:
        assert re.search(rf"{line.outcome} +{line.level} +{', '.join(line.ids)}", text)


def test_the_text_tells_of_a_failure_what_was_asked_sent_and_answered_and_the_remedy():
    text = render(told(FAILED, PASSED), "text")
    part = text[text.index("FAILED PROV-09, PROV-10  MUST") :]

    for words in (
        "The sentence of other_plan_conflicts.",
        "what came: expected 409, got 500",
        "to change: Compare `plan_id` with the stored one.",
        f"PROV-09: {REQUIREMENTS['PROV-09'].sentence}",
        f"PUT {PATH}?accepts_incomplete=true",
        f"Authorization: Basic {HIDDEN}",
        '"plan_id": "p-1"',
        "→ 500 Internal Server Error  (0.250 s)",
        "content-type: application/json",
    ):
        assert words in part


@EVERY_FORMAT
def test_where_no_check_says_what_to_change_the_report_does(form: Format):
    text = " ".join(render(told(BLOCKED, BROKEN), form).split())

    assert "this may be well once that is mended" in text
    assert "this is a fault of the kit" in text


def test_the_text_ends_with_what_matters_most():
    lines = render(told(FAILED, PASSED, LESSER), "text").rstrip().splitlines()

    assert lines[-2].startswith("Does not conform")
    assert lines[-1] == "Besides: 1 SHOULD failed."


def test_the_text_cuts_a_long_body_and_says_so():
    seen = an_exchange(**{f"field{number}": number for number in range(100)})
    result = Result(check=PASSED.check, outcome=Outcome.FAILED, said="x", seen=(seen,))

    text = render(told(result), "text")

    assert '"field3"' in text
    assert '"field90"' not in text
    assert re.search(r"… \d+ more lines", text)


def test_a_text_that_is_not_for_a_terminal_has_no_colours_and_no_blank_ends():
    lines = render(EVERYTHING, "text").splitlines()

    assert not any("\x1b" in line or line != line.rstrip() for line in lines)


# --- JSON -------------------------------------------------------------------------


def test_the_json_lists_the_checks_and_the_outcome_of_every_requirement():
    also = Result(check=a_check("again", "PROV-09"), outcome=Outcome.PASSED)
    found = json.loads(render(told(FAILED, also, SKIPPED), "json"))["requirements"]

    assert list(found) == list(REQUIREMENTS)
    assert found["PROV-09"]["outcome"] == "failed"  # the worst
    assert found["PROV-09"]["checks"] == [
        {"name": "again", "outcome": "passed"},
        {"name": "other_plan_conflicts", "outcome": "failed"},
    ]
    assert found["PROV-10"]["outcome"] == "failed"
    assert found["ROT-01"]["outcome"] == "skipped"


def test_the_json_says_of_a_requirement_without_a_check_why_there_is_none():
    found = json.loads(render(GOOD, "json"))["requirements"]
    unseen = next(each for each in REQUIREMENTS.values() if each.unseen)

    assert found[unseen.id]["outcome"] is None
    assert found[unseen.id]["checks"] == []
    assert found[unseen.id]["why"] == "cannot be seen from outside"
    assert found["ERR-03"]["why"] == "not chosen for this run"
    assert found["PROV-02"]["why"] is None


def test_the_json_has_the_whole_run():
    found = json.loads(render(EVERYTHING, "json"))

    assert found["conforms"] is False
    assert found["broker"]["url"] == "https://broker.example/prefix"
    assert found["counts"]["MUST"]["failed"] == 1
    assert sum(sum(each.values()) for each in found["counts"].values()) == 6
    [failed] = [each for each in found["checks"] if each["name"] == FAILED.check.name]
    assert failed["requirements"] == ["PROV-09", "PROV-10"]
    assert len(failed["exchanges"]) == 1
    assert len(failed["last_exchanges"]) == 2
    assert failed["exchanges"][0]["answer"] == "500 Internal Server Error"
    assert found["plans"] == {"queue/tiny": "provision sync, bind sync"}


# --- JUnit ------------------------------------------------------------------------


def cases(text: str) -> dict[str, ElementTree.Element]:
    """Every test case by the name of its check."""
    root = ElementTree.fromstring(text)  # noqa: S314 - written by the kit itself
    return {each.get("name", "").split()[-1]: each for each in root.iter("testcase")}


def test_junit_is_red_for_a_must_and_for_nothing_else():
    found = cases(render(EVERYTHING, "junit"))

    def kinds(name: str) -> list[str]:
        return [each.tag for each in found[name]]

    assert kinds("other_plan_conflicts") == ["failure"]
    assert kinds("bound") == kinds("repeated") == ["error"]
    assert kinds("made") == []
    assert kinds("rotated") == ["skipped"]
    assert kinds("identity_comes_back") == ["skipped", "system-out"]


def test_junit_counts_what_it_holds():
    root = ElementTree.fromstring(render(EVERYTHING, "junit"))  # noqa: S314

    for element in (root, *root.iter("testsuite")):
        for tag, name in (
            ("testcase", "tests"), ("failure", "failures"),
            ("error", "errors"), ("skipped", "skipped"),
        ):  # fmt: skip
            assert element.get(name) == str(len(list(element.iter(tag))))
    assert len(list(root.iter("testsuite"))) == len(EVERYTHING.sections)


def test_junit_tells_of_a_failure_what_was_sent_and_answered():
    [failure] = cases(render(EVERYTHING, "junit"))["other_plan_conflicts"]

    assert failure.get("message") == "MUST failed: expected 409, got 500"
    assert failure.text is not None
    assert f"PUT {PATH}" in failure.text
    assert "500 Internal Server Error" in failure.text
    assert "To change: Compare" in failure.text


# --- HTML -------------------------------------------------------------------------

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """The elements of a page; whether they are nested as they should."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page(run: Account) -> Page:
    return Page(render(run, "html"))


@pytest.mark.parametrize(
    "run", [EVERYTHING, GOOD, told()], ids=["bad", "good", "empty"]
)
def test_the_page_needs_nothing_outside_itself(run: Account):
    found = page(run)

    tags = {tag for tag, _ in found.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "base", "form"}
    for _, attributes in found.elements:
        assert not {"src", "srcset", "action"} & attributes.keys()
        assert (attributes.get("href") or "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)
    assert not re.search(r"url\(|@import|@font-face", render(run, "html"))


def test_every_link_of_the_page_leads_somewhere():
    found = page(EVERYTHING)

    places = [
        attributes["id"] for _, attributes in found.elements if "id" in attributes
    ]
    links = {str(each["href"])[1:] for each in found.all("a")}
    assert links
    assert links <= set(places)
    assert len(places) == len(set(places))


def test_the_page_is_for_phones_and_for_the_dark():
    text = render(GOOD, "html")

    assert 'name="viewport" content="width=device-width' in text
    assert "prefers-color-scheme: dark" in text
    assert "@media (max-width" in text


@EVERY_FORMAT
def test_of_a_check_that_asked_much_the_last_requests_are_told(form: Format):
    many = tuple(an_exchange(200, number=f"<{number}>") for number in range(40))
    result = Result(
        check=PASSED.check, outcome=Outcome.FAILED, said="x", before=many, seen=many[:1]
    )

    text = render(told(result), form).replace("&lt;", "<").replace("&gt;", ">")

    assert "<0>" in text  # it shows what the check says
    assert "<5>" not in text
    assert ("<39>" in text) == (form in {"html", "json"})


def test_exchanges_fold_away_on_the_page_and_are_all_there():
    found = page(told(FAILED, PASSED))

    shut = [each for each in found.all("details") if each.get("class") == "exchange"]
    assert len(shut) == 3  # the one that shows it, and all two of the check
    assert not any("open" in each for each in shut)
    assert "The last 2 requests of this check" in found.words
    assert f"Authorization: Basic {HIDDEN}" in found.words


def test_the_page_tells_what_to_mend_what_was_skipped_and_what_was_learned():
    words = " ".join(page(EVERYTHING).words.split())

    for part in (
        "expected 409, got 500",
        "Compare plan_id with the stored one.",
        REQUIREMENTS["PROV-10"].sentence.replace("`", ""),
        "The catalog has no plan with binding_rotatable: true. ROT-01",
        "queue/tiny",
        "provision sync, bind sync",
        "cannot be seen from outside",
    ):
        assert part in words


def test_what_a_broker_sends_is_text_on_the_page_never_markup():
    evil = "<script>alert(1)</script><img src=x>\"'"
    seen = an_exchange(description=evil)
    seen.headers = httpx.Headers({"X-Evil": evil})
    result = Result(
        check=PASSED.check, outcome=Outcome.FAILED, said=evil, advice=evil, seen=(seen,)
    )

    found = page(told(result, plans=((evil, evil),), left=(evil,), unread=evil))

    assert not {"script", "img"} & {tag for tag, _ in found.elements}
    assert found.words.count("<script>") >= 6


@pytest.mark.parametrize("left", [(), ("The instance i-1 could not be removed.",)])
def test_what_was_left_behind_is_told(left: tuple[str, ...]):
    told_of: Callable[[Format], bool] = lambda form: (  # noqa: E731
        "The instance i-1" in render(told(PASSED, left=left), form)
    )

    assert [told_of(form) for form in ("text", "json", "html")] == [bool(left)] * 3

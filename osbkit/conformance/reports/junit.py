"""The report for build servers: JUnit's XML, a suite per section.

    MUST failed                  failure
    MUST blocked, kit at fault   error
    SHOULD or MAY not met        skipped, with what was found in system-out
    not offered by the broker    skipped

So a build is red exactly where the exit status of `osbkit check` is 1.

Units: seconds.
"""

import re
from xml.etree import ElementTree as xml

from osbkit.conformance.exchange import Shown
from osbkit.conformance.reports.account import Account, Line, Section, printable
from osbkit.conformance.requirements import Level
from osbkit.conformance.results import Outcome

# What XML 1.0 cannot hold, whatever it is printable as.
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(told: Account) -> str:
    """The report as text, with a line feed at its end."""
    about = {"name": "Open Service Broker API", "time": f"{told.seconds:.3f}"}
    root = xml.Element("testsuites", about | _totals(told.lines))
    for section in told.sections:
        root.append(_suite(section, told))
    xml.indent(root)
    text = xml.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _suite(section: Section, told: Account) -> xml.Element:
    about = {
        "name": section.title,
        "timestamp": told.began.partition("+")[0],
        "time": f"{sum(line.seconds for line in section.lines):.3f}",
    }
    suite = xml.Element("testsuite", about | _totals(section.lines))
    properties = xml.SubElement(suite, "properties")
    for name, value in (("broker", told.url), ("api_version", told.version)):
        xml.SubElement(properties, "property", name=name, value=_clean(value))
    suite.extend(_case(line, section) for line in section.lines)
    return suite


def _case(line: Line, section: Section) -> xml.Element:
    case = xml.Element(
        "testcase",
        classname=f"osb.{section.family}",
        name=f"{' '.join(line.ids)} {line.level} {line.name}",
        time=f"{line.seconds:.3f}",
    )
    kind = _kind(line)
    if kind is None:
        return case
    found = xml.SubElement(case, kind, message=_clean(_message(line)))
    if kind == "skipped":
        if line.outcome.bad:
            xml.SubElement(case, "system-out").text = _clean(_details(line))
    else:
        found.set("type", line.outcome.value)
        found.text = _clean(_details(line))
    return case


def _kind(line: Line) -> str | None:
    if line.outcome is Outcome.PASSED:
        return None
    if line.outcome is Outcome.SKIPPED or line.level is not Level.MUST:
        return "skipped"
    return "failure" if line.outcome is Outcome.FAILED else "error"


def _message(line: Line) -> str:
    if line.outcome is Outcome.SKIPPED:
        return line.said
    return f"{line.level} {line.outcome}: {line.said}"


def _details(line: Line) -> str:
    parts = [line.sentence, line.said]
    if line.advice:
        parts.append(f"To change: {line.advice}")
    return "\n\n".join([*parts, *map(plain, line.shown)])


def plain(shown: Shown) -> str:
    """An exchange as plain text."""
    return "\n".join(
        [
            shown.request,
            *(f"{name}: {value}" for name, value in shown.request_headers),
            *(["", shown.request_body] if shown.request_body else []),
            "",
            f"{shown.answer} ({shown.seconds:.3f} s)",
            *(f"{name}: {value}" for name, value in shown.answer_headers),
            *(["", shown.answer_body] if shown.answer_body else []),
        ]
    )


def _totals(lines: tuple[Line, ...]) -> dict[str, str]:
    kinds = [_kind(line) for line in lines]
    return {
        "tests": str(len(kinds)),
        "failures": str(kinds.count("failure")),
        "errors": str(kinds.count("error")),
        "skipped": str(kinds.count("skipped")),
    }


def _clean(text: str) -> str:
    return FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", printable(text))

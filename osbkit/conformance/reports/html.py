"""The report to pass on: one HTML file that needs nothing else.

No script, no font, no image, no address outside: it can be opened from a mail, years
later. Dark and light as the reader's machine is, readable on a phone; exchanges fold
away. Everything that came from a broker is escaped, and secrets are masked before.

Units: seconds.
"""

import re
from collections.abc import Iterable
from html import escape

from osbkit.conformance.exchange import Shown
from osbkit.conformance.reports.account import (
    WORDS,
    Account,
    Line,
    Section,
    Standing,
    printable,
)
from osbkit.conformance.reports.html_style import STYLE
from osbkit.conformance.requirements import Level, Requirement
from osbkit.conformance.results import Outcome

QUOTED = re.compile("`([^`\\s]+)`")
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def render(told: Account) -> str:
    """The whole file."""
    body = "\n".join(
        part
        for part in (
            _head(told),
            _counts(told),
            _contents(told),
            _left(told),
            _troubles(told),
            _sections(told),
            _plans(told),
            _skipped(told),
            _untried(told),
            _foot(told),
        )
        if part
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{_text(f"Conformance of {told.url}")}</title>
<style>
{STYLE}</style>
</head>
<body>
{body}
</body>
</html>
"""


# --- the top -----------------------------------------------------------------------


def _head(told: Account) -> str:
    mood = "stopped" if told.stopped else "passed" if told.conforms else "failed"
    facts = [
        ("Broker", told.url),
        ("API version sent", told.version),
        ("Run", _moment(told.began)),
        ("Took", f"{told.seconds:.1f} s, {told.exchanges} requests"),
    ]
    if told.unread:
        facts.append(("Catalog", told.unread))
    terms = "".join(
        f"<div><dt>{_text(a)}</dt><dd>{_text(b)}</dd></div>" for a, b in facts
    )
    return f"""<header>
<p class="kind">Open Service Broker API · conformance</p>
<h1 class="verdict {mood}">{_text(told.verdict)}</h1>
<dl class="facts">{terms}</dl>
</header>"""


def _moment(began: str) -> str:
    return began.replace("T", " ").replace("+00:00", " UTC")


def _counts(told: Account) -> str:
    rows = []
    for level, counts in told.counts.items():
        total = sum(counts.values())
        bar = "".join(
            f'<span class="{outcome}" style="flex-grow:{number}"></span>'
            for outcome, number in counts.items()
            if number
        )
        words = ", ".join(
            f'<b class="{outcome}">{number}</b> {_text(WORDS[outcome])}'
            for outcome, number in counts.items()
            if number
        )
        rows.append(
            f'<li><span class="level">{level}</span><span class="bar">{bar}</span>'
            f"<span>{words or 'none tried'}"
            f"{f' <i>of {total}</i>' if total else ''}</span></li>"
        )
    return f'<ul class="counts">{"".join(rows)}</ul>'


def _contents(told: Account) -> str:
    links = [
        f'<a href="#{section.family}"{_class(section)}>{_text(section.title)}'
        f"{f' <b>{section.bad}</b>' if section.bad else ''}</a>"
        for section in told.sections
    ]
    return f'<nav aria-label="Sections">{"".join(links)}</nav>' if links else ""


def _class(section: Section) -> str:
    return ' class="bad"' if section.bad else ""


def _left(told: Account) -> str:
    if not told.left:
        return ""
    items = "".join(f"<li>{_text(each)}</li>" for each in told.left)
    return (
        '<section class="left"><h2>Left behind on the broker</h2>'
        f"<p>The kit could not remove what it had made:</p><ul>{items}</ul></section>"
    )


# --- what went badly -----------------------------------------------------------------


def _troubles(told: Account) -> str:
    if not told.troubles:
        return ""
    cards = "\n".join(map(_card, told.troubles))
    return f'<section id="mend"><h2>What to mend</h2>\n{cards}\n</section>'


def _card(line: Line) -> str:
    advice = f"<dt>To change</dt><dd>{_prose(line.advice)}</dd>" if line.advice else ""
    asked = "".join(map(_asked, line.check.requirements))
    exchanges = "\n".join(map(_exchange, line.shown))
    rest = ""
    if len(line.before) > len(line.shown):
        inner = "\n".join(map(_exchange, line.before))
        rest = (
            f'<details class="rest"><summary>The last {len(line.before)} requests of'
            f" this check</summary>\n{inner}\n</details>"
        )
    return f"""<article class="card {line.outcome}" id="check-{_text(line.name)}">
<p class="badges">{_badge(line.outcome)}<span class="level">{line.level}</span>
{_ids(line.ids)}<code>{_text(line.name)}</code></p>
<h3>{_prose(line.sentence)}</h3>
<dl><dt>What came</dt><dd>{_prose(line.said)}</dd>{advice}
<dt>What is asked</dt>{asked}</dl>
{exchanges}
{rest}
</article>"""


def _asked(one: Requirement) -> str:
    return (
        f"<dd>{_ids([one.id])} {_prose(one.sentence)} <i>{_text(one.section)}</i></dd>"
    )


def _exchange(shown: Shown) -> str:
    return f"""<details class="exchange"><summary><code>{_text(shown.request)}</code>
<span>→ {_text(shown.answer)}</span> <i>{shown.seconds:.3f} s</i></summary>
<pre>{_message(shown.request, shown.request_headers, shown.request_body)}</pre>
<pre>{_message(shown.answer, shown.answer_headers, shown.answer_body)}</pre>
</details>"""


def _message(first: str, headers: Iterable[tuple[str, str]], body: str) -> str:
    lines = [f"<b>{_text(first)}</b>"]
    lines += [f"<i>{_text(name)}:</i> {_text(value)}" for name, value in headers]
    if body:
        lines += ["", _text(body)]
    return "\n".join(lines)


# --- everything ----------------------------------------------------------------------


def _sections(told: Account) -> str:
    return "\n".join(
        [
            "<section><h2>Section by section</h2>",
            *map(_section, told.sections),
            "</section>",
        ]
    )


def _section(section: Section) -> str:
    said = ", ".join(
        f"{number} {WORDS[outcome]}"
        for outcome, number in section.counts.items()
        if number
    )
    rows = "\n".join(map(_row, section.lines))
    opened = " open" if section.bad else ""
    return f"""<details class="section" id="{section.family}"{opened}>
<summary><b>{_text(section.title)}</b> <i>{_text(said)}</i></summary>
<table><thead><tr><th>Outcome</th><th>Level</th><th>Requirement</th>
<th>What must hold</th></tr></thead><tbody>
{rows}
</tbody></table></details>"""


def _row(line: Line) -> str:
    sentence = _prose(line.sentence)
    if line.outcome.bad:
        sentence = f'<a href="#check-{_text(line.name)}">{sentence}</a>'
    why = f"<small>{_prose(line.said)}</small>" if line.said else ""
    return (
        f"<tr><td>{_badge(line.outcome)}</td><td>{line.level}</td>"
        f"<td>{_ids(line.ids)}</td><td>{sentence}{why}</td></tr>"
    )


def _badge(outcome: Outcome) -> str:
    return f'<span class="badge {outcome}">{outcome}</span>'


def _ids(ids: Iterable[str]) -> str:
    return " ".join(f'<span class="id">{_text(each)}</span>' for each in ids)


# --- what explains it ----------------------------------------------------------------


def _plans(told: Account) -> str:
    rows = "".join(
        f"<div><dt>{_text(name)}</dt><dd>{_text(said)}</dd></div>"
        for name, said in told.plans
    )
    if not rows:
        return ""
    return (
        f"<section><h2>What was learned of the plans</h2>"
        f'<dl class="plans">{rows}</dl></section>'
    )


def _skipped(told: Account) -> str:
    if not told.skipped:
        return ""
    items = "".join(
        f"<li>{_prose(reason)} {' '.join(_ids(line.ids) for line in lines)}</li>"
        for reason, lines in told.skipped.items()
    )
    return f"<section><h2>What was skipped, and why</h2><ul>{items}</ul></section>"


def _untried(told: Account) -> str:
    by_reason: dict[str, list[Standing]] = {}
    for each in told.standings:
        if each.why:
            by_reason.setdefault(each.why, []).append(each)
    if not by_reason:
        return ""
    parts = "\n".join(
        f"<details><summary>{len(found)} {_text(_plural(found))}: {_text(reason)}"
        f"</summary><ul>{''.join(map(_untried_one, found))}</ul></details>"
        for reason, found in by_reason.items()
    )
    return f"<section><h2>What no check tried</h2>\n{parts}\n</section>"


def _plural(found: list[Standing]) -> str:
    return "requirement" if len(found) == 1 else "requirements"


def _untried_one(one: Standing) -> str:
    asked = one.requirement
    return f"<li>{_ids([asked.id])} {asked.level.value}: {_prose(asked.sentence)}</li>"


def _foot(told: Account) -> str:
    made_by = f"osbkit {told.kit}".strip()
    note = (
        f"Exit status 1 stands for a {Level.MUST} that failed or could not be tried."
        " Credentials and other secrets were masked before this was written."
    )
    return f"<footer>{_text(made_by)} · {_text(note)}</footer>"


def _text(text: str) -> str:
    """Text as HTML: escaped, without control characters."""
    return escape(printable(text))


def _prose(text: str) -> str:
    """The same, with words between backticks set as code."""
    return QUOTED.sub(r"<code>\1</code>", _text(text))

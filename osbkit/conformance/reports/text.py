"""The report for people at a terminal: a table per section, then what went badly.

What matters most comes last, next to the prompt: the failures in full, and one line
of summary. Colours only where there is a terminal; every outcome is a word, too.

Units: seconds.
"""

from io import StringIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from osbkit.conformance.exchange import Shown
from osbkit.conformance.reports.account import (
    WORDS,
    Account,
    Line,
    Section,
    printable,
)
from osbkit.conformance.requirements import Level
from osbkit.conformance.results import Outcome

WIDTH = 110  # columns, where there is no terminal to ask
BODY_LINES = 24  # of a body; the HTML report shows more
STYLES = {
    Outcome.FAILED: "bold red",
    Outcome.BLOCKED: "bold magenta",
    Outcome.ERROR: "bold magenta",
    Outcome.PASSED: "green",
    Outcome.SKIPPED: "dim",
}


def render(told: Account) -> str:
    """The report as plain text."""
    out = StringIO()
    show(told, console(out))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def console(file: StringIO | None = None) -> Console:
    """Where `show` can print: standard output, or a text."""
    out = Console(file=file, markup=False, highlight=False, emoji=False)
    if out.is_terminal:
        return out
    return Console(file=file, markup=False, highlight=False, emoji=False, width=WIDTH)


def show(told: Account, out: Console) -> None:
    """Print the report."""
    for section in told.sections:
        out.print(_table(section))
    for line in told.troubles:
        _print_trouble(line, out)
    _print_end(told, out)


# --- tables ------------------------------------------------------------------------


def _table(section: Section) -> Table:
    table = Table(
        title=Text(f"{section.title} ({section.family})", style="bold"),
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        expand=False,
    )
    table.add_column("outcome", no_wrap=True)
    table.add_column("level", no_wrap=True)
    table.add_column("requirement", min_width=10)
    table.add_column("what must hold", overflow="fold")
    for line in section.lines:
        table.add_row(
            Text(line.outcome.value, style=STYLES[line.outcome]),
            line.level.value,
            ", ".join(line.ids),
            _sentence(line),
        )
    return table


def _sentence(line: Line) -> Text:
    text = Text(line.sentence)
    if line.outcome is Outcome.SKIPPED:
        text.append(f"\n{printable(line.said)}", style="dim")
    return text


# --- what went badly -----------------------------------------------------------------


def _print_trouble(line: Line, out: Console) -> None:
    head = Text(f"{line.outcome.value.upper()} ", style=STYLES[line.outcome])
    head.append(f"{', '.join(line.ids)}  {line.level}", style="bold")
    head.append(f"  {line.name}", style="dim")
    out.print(head)
    _indented(out, Text(line.sentence))
    _labelled(out, "what came", line.said)
    if line.advice:
        _labelled(out, "to change", line.advice)
    for asked in line.check.requirements:
        _labelled(out, asked.id, f"{asked.sentence} ({asked.section})")
    for shown in line.shown:
        out.print()
        _print_exchange(shown, out)
    out.print()


def _labelled(out: Console, label: str, words: str) -> None:
    text = Text(f"{label}: ", style="bold")
    text.append(Text(printable(words), style="not bold"))
    _indented(out, text)


def _indented(out: Console, text: Text, by: int = 2) -> None:
    out.print(Padding(text, (0, 0, 0, by), expand=False))


def _print_exchange(shown: Shown, out: Console) -> None:
    _indented(out, Text(printable(shown.request), style="cyan"), 4)
    _print_message(shown.request_headers, shown.request_body, out)
    answer = f"→ {shown.answer}  ({shown.seconds:.3f} s)"
    _indented(out, Text(printable(answer), style="cyan"), 4)
    _print_message(shown.answer_headers, shown.answer_body, out)


def _print_message(
    headers: tuple[tuple[str, str], ...], body: str, out: Console
) -> None:
    for name, value in headers:
        _indented(out, Text(printable(f"{name}: {value}"), style="dim"), 6)
    lines = printable(body).split("\n") if body else []
    for line in lines[:BODY_LINES]:
        _indented(out, Text(line), 6)
    if len(lines) > BODY_LINES:
        _indented(out, Text(f"… {len(lines) - BODY_LINES} more lines"), 6)


# --- the end -----------------------------------------------------------------------


def _print_end(told: Account, out: Console) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("checks")
    for outcome in Outcome:
        table.add_column(outcome.value, justify="right")
    for level, counts in told.counts.items():
        table.add_row(level.value, *(_number(counts[each], each) for each in Outcome))
    out.print(table)
    for sentence in told.left:
        out.print(Text(printable(sentence), style="yellow"))
    out.print(Text(_asked(told), style="dim"))
    style = "bold green" if told.conforms else "bold red"
    out.print(Text(told.verdict, style=style))
    if not told.stopped and (words := _lesser(told)):
        out.print(Text(words))


def _number(count: int, outcome: Outcome) -> Text:
    return Text(str(count), style=STYLES[outcome] if count else "dim")


def _asked(told: Account) -> str:
    return printable(
        f"{told.url}, API version {told.version}: {told.exchanges} requests"
        f" in {told.seconds:.1f} s."
    )


def _lesser(told: Account) -> str:
    """What is not a MUST and went badly, in one sentence."""
    parts = [
        f"{counts[outcome]} {level} {WORDS[outcome]}"
        for level, counts in told.counts.items()
        if level is not Level.MUST
        for outcome in Outcome
        if outcome.bad and counts[outcome]
    ]
    return f"Besides: {', '.join(parts)}." if parts else ""

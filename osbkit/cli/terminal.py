"""What the command line prints, and where.

    standard output   the result: a table for people, or one JSON object
    standard error    everything else: progress, notes, problems

No command prints by other means. Text that came from a broker passes `printable`
first: it may hold the control characters of a terminal.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer

DONE, REFUSED, UNUSABLE, NOT_STARTED = 0, 1, 2, 3
"""Exit statuses: done; the answer is no; the command line cannot be used; the
server's start was refused."""

PIPE_WIDTH = 200  # columns, where there is no terminal to ask


class Problem(Exception):
    """Ends a command with a sentence, never with a traceback.

    Attributes:
        sentence: what happened.
        details: label and value, one line each.
        hint: what to do about it, or None.
        status: exit status, 1 or 2.
        fields: what `--json` prints of it.
    """

    def __init__(
        self,
        sentence: str,
        *,
        hint: str | None = None,
        details: Iterable[tuple[str, str]] = (),
        status: int = REFUSED,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.details = tuple(details)
        self.hint = hint
        self.status = status
        self.fields = dict(fields or {"description": sentence})

    def as_json(self) -> dict[str, Any]:
        """One object for a program."""
        hint = {} if self.hint is None else {"hint": self.hint}
        return {**self.fields, **hint}


class Unusable(Problem):
    """The command line cannot be used as it stands; nothing was changed."""

    def __init__(self, sentence: str, *, hint: str | None = None) -> None:
        super().__init__(sentence, hint=hint, status=UNUSABLE)


def printable(text: str) -> str:
    """The text without control characters; line feeds stay."""
    return "".join(
        sign if sign.isprintable() or sign == "\n" else "\N{REPLACEMENT CHARACTER}"
        for sign in text
    )


def note(text: str) -> None:
    """One line for people, on standard error."""
    typer.echo(printable(text), err=True)


def complain(problem: Problem) -> None:
    """Print a problem as one block on standard error."""
    note(problem.sentence)
    for line in _aligned(problem.details):
        note(line)
    if problem.hint is not None:
        note(f"Hint: {problem.hint}")


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object, on standard output."""
    typer.echo(json.dumps(value, indent=2))


def print_facts(title: str, facts: Iterable[tuple[str, str]]) -> None:
    """Labels and values for people, on standard output.

    One line each, however long: what is folded cannot be copied.
    """
    for line in (title, *_aligned(facts)):
        typer.echo(printable(line))


def _aligned(facts: Iterable[tuple[str, str]]) -> Iterator[str]:
    facts = list(facts)
    width = max((len(label) for label, _ in facts), default=0)
    for label, value in facts:
        yield f"  {label:<{width}}  {value}"


def print_table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """A table for people, on standard output. Long texts are folded, never cut."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    out = Console(markup=False, highlight=False, emoji=False)
    if not out.is_terminal:
        out = Console(markup=False, highlight=False, emoji=False, width=PIPE_WIDTH)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    out.print(table)


@contextmanager
def watching(quiet: bool) -> Iterator[Callable[[str], None]]:
    """Give a function that shows the line a person watches, on standard error.

    On a terminal the line is written over; elsewhere a line is printed when the
    text changes; with `quiet` nothing is.
    """
    from rich.console import Console
    from rich.text import Text

    err = Console(stderr=True, markup=False, highlight=False, emoji=False)
    if quiet:
        yield lambda text: None
    elif err.is_terminal:
        with err.status("waiting for the broker") as status:
            yield lambda text: status.update(Text(printable(text)))
    else:
        shown: list[str] = []

        def show(text: str) -> None:
            if shown[-1:] != [text]:
                shown.append(text)
                note(text)

        yield show

"""A run while it goes on, on standard error.

On a terminal a bar, and above it a line for each check that goes badly; elsewhere
those lines, and one for every fifty checks, so that a log shows that it goes on.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from osbkit.conformance.reports.account import printable
from osbkit.conformance.reports.text import STYLES
from osbkit.conformance.results import Result
from osbkit.conformance.runner import Progress

EVERY = 50  # checks, from line to line where there is no terminal
PHASES = {
    "learning": "learning what the plans do",
    "checking": "checking",
    "done": "done",
}


@contextmanager
def progress(hide: Callable[[str], str]) -> Iterator[Callable[[Progress], None]]:
    """Give a function for `run(tell=…)`.

    Args:
        hide: replaces secrets in what is shown.
    """
    err = Console(stderr=True, markup=False, highlight=False, emoji=False)
    if not err.is_terminal:
        yield lambda now: _log(now, err, hide)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bar(*columns, console=err, transient=True) as bar:
        task = bar.add_task(PHASES["learning"], total=None)

        def tell(now: Progress) -> None:
            if now.latest is not None and now.latest.outcome.bad:
                bar.console.print(_line(now.latest, hide))
            total = now.all if now.phase != "learning" else None
            bar.update(
                task,
                description=PHASES[now.phase],
                completed=now.done,
                total=total,
            )

        yield tell


def _log(now: Progress, err: Console, hide: Callable[[str], str]) -> None:
    if now.phase == "learning":
        err.print(PHASES["learning"], soft_wrap=True)
    elif now.latest is not None and now.latest.outcome.bad:
        err.print(_line(now.latest, hide), soft_wrap=True)
    if now.phase == "checking" and now.done % EVERY == 0:
        err.print(f"{now.done} of {now.all} checks", soft_wrap=True)


def _line(result: Result, hide: Callable[[str], str]) -> Text:
    ids = ", ".join(each.id for each in result.check.requirements)
    text = Text(result.outcome.value, style=STYLES[result.outcome])
    said = printable(hide(result.said))
    text.append(f" {ids} {result.check.level}: {said}", style="not bold default")
    return text

"""`osbkit check`: does a broker do what the specification says? Any broker does.

    osbkit check https://broker.example --report html=report.html --report junit=j.xml

The command around `osbkit.conformance`: reads options, shows how far the run is,
writes reports. Exit status: 0 no MUST is broken, 1 one is (or could not be tried), 2
the run could not begin, or was stopped before its end.

Units: seconds.
"""

import asyncio
import signal
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from osbkit.cli.caller import Password, Token, User
from osbkit.cli.reading import json_object
from osbkit.cli.terminal import DONE, REFUSED, UNUSABLE, Unusable, complain, note

if TYPE_CHECKING:
    import httpx

    from osbkit.conformance.polling import Tempo
    from osbkit.conformance.registry import Check
    from osbkit.conformance.reports import Format
    from osbkit.conformance.reports.account import Account
    from osbkit.conformance.sending import Connection
    from osbkit.conformance.session import Choices

Version = Literal["2.13", "2.14", "2.15", "2.16", "2.17"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the command meets outside itself; a test puts its own in `obj`."""

    transport: "httpx.AsyncBaseTransport | None" = None
    tempo: "Tempo | None" = None
    clock: Callable[[], float] = perf_counter
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line says, read.

    Attributes:
        checks: those that were chosen.
        outputs: formats and the files they go to; None for standard output.
    """

    connect: "Callable[[], Connection]" = field(repr=False)
    choices: "Choices"
    checks: "Sequence[Check]" = field(repr=False)
    outputs: "Sequence[tuple[Format, Path | None]]"
    tempo: "Tempo"
    at_once: int
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep


def check(
    ctx: typer.Context,
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            envvar="OSB_URL",
            help="The broker's root, without /v2.",
            show_default=False,
        ),
    ],
    user: User = None,
    password: Password = None,
    token: Token = None,
    service: Annotated[
        str | None, typer.Option(help="Try this offering only; its name or id.")
    ] = None,
    plan: Annotated[
        str | None, typer.Option(help="Try plans of this name or id only.")
    ] = None,
    params: Annotated[
        str | None,
        typer.Option(
            metavar="JSON|@FILE",
            help="Parameters to provision with, where the kit can make up none; no"
            " report shows parameters then.",
        ),
    ] = None,
    bind_params: Annotated[
        str | None,
        typer.Option(metavar="JSON|@FILE", help="Parameters to bind with."),
    ] = None,
    level: Annotated[
        Literal["must", "should", "may"],
        typer.Option(help="The least weight of what is tried."),
    ] = "may",
    section: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this section: letters of IDs (PROV) or the beginning of a"
            " title; several times, or parted by commas.",
            show_default=False,
        ),
    ] = None,
    api_version: Annotated[
        Version, typer.Option(help="Sent as X-Broker-API-Version.")
    ] = "2.17",
    report: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FORMAT[=FILE]",
            help="text, json, junit or html; without a file to standard output, in"
            " place of the text. Several times for several files.",
            show_default=False,
        ),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Check again whenever the catalog changes or the broker comes back;"
            " Ctrl-C ends it.",
        ),
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds for one request.")
    ] = 65.0,
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds for one asynchronous operation.")
    ] = 300.0,
    at_once: Annotated[
        int, typer.Option(min=1, max=64, help="Checks side by side.")
    ] = 8,
    ca_file: Annotated[
        Path | None,
        typer.Option(help="Certificates (PEM) to trust instead of the usual ones."),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Trust any certificate.")
    ] = False,
) -> None:
    """Check whether a broker does what the specification says.

    Makes instances and bindings, and removes them.

    Credentials are better given as OSB_USER and OSB_PASSWORD, or as OSB_TOKEN:
    command lines can be seen by others.

    Exit status: 0 no MUST is broken, 1 one is or could not be tried, 2 the run could
    not begin or was stopped.
    """
    from osbkit.cli.client.remote import Target
    from osbkit.conformance.polling import Tempo
    from osbkit.conformance.sending import Connection, Credentials
    from osbkit.conformance.session import Choices

    around = ctx.find_object(Surroundings) or Surroundings()
    target = Target.given(url=url, user=user, password=password, token=token).checked(
        url_is="URL"
    )
    credentials = Credentials(
        user=target.user, password=target.password, token=target.token
    )
    verify = _verify(ca_file, insecure)
    asked = Asked(
        connect=lambda: Connection(
            url,
            credentials,
            version=api_version,
            verify=verify,
            timeout=timeout,
            transport=around.transport,
            clock=around.clock,
        ),
        choices=Choices(
            service=service,
            plan=plan,
            parameters=_object(params, "--params"),
            bind_parameters=_object(bind_params, "--bind-params"),
        ),
        checks=_chosen(section or [], level),
        outputs=_outputs(report or []),
        tempo=around.tempo or Tempo(patience=patience),
        at_once=at_once,
        pause=around.pause,
    )
    raise typer.Exit(asyncio.run(_stoppable(asked, watch)))


# --- reading the command line --------------------------------------------------------


def _object(text: str | None, option: str) -> dict[str, Any] | None:
    return None if text is None else json_object(text, option)


def _verify(ca_file: Path | None, insecure: bool) -> Any:
    if insecure:
        return False
    if ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise Unusable(
            f"--ca-file names {ca_file}, which holds no certificates to be read.",
            hint="It must be a file of certificates in PEM.",
        ) from error


def _chosen(sections: list[str], level: str) -> "list[Check]":
    from osbkit.conformance.registry import all_checks
    from osbkit.conformance.requirements import FAMILIES, Level, families_named
    from osbkit.conformance.runner import chosen

    try:
        families = families_named(sections) if sections else None
    except ValueError as error:
        known = ", ".join(f"{name} ({title})" for name, title in FAMILIES.items())
        raise Unusable(
            f"--section names {str(error)!r}, which is no section.",
            hint=f"There are {known}.",
        ) from error
    found = chosen(all_checks(), families=families, level=Level(level.upper()))
    if not found:
        raise Unusable(
            "No check is left: the section has none of this level.",
            hint="Choose a lower --level or another --section.",
        )
    return found


def _outputs(given: list[str]) -> "list[tuple[Format, Path | None]]":
    from osbkit.conformance.reports import FORMATS, Format

    found: list[tuple[Format, Path | None]] = []
    for text in given:
        form, named, name = text.partition("=")
        if form not in FORMATS or (named and not name):
            raise Unusable(
                f"--report {text!r} is none that there is.",
                hint=f"Give {', '.join(FORMATS)}, with =FILE after it for a file.",
            )
        found.append((form, _writable(name) if name else None))
    if sum(path is None for _, path in found) > 1:
        raise Unusable(
            "Two reports cannot both go to standard output.",
            hint="Name a file for all but one: --report html=report.html",
        )
    if all(path is not None for _, path in found):
        found.append(("text", None))
    return found


def _writable(name: str) -> Path:
    """The file, if it looks as if it could be written after the run."""
    path = Path(name)
    if path.is_dir() or not path.parent.is_dir():
        raise Unusable(
            f"--report cannot be written to {name}.",
            hint="It must be a file in a directory that exists.",
        )
    return path


# --- running -------------------------------------------------------------------------


async def _stoppable(asked: Asked, watch: bool) -> int:
    """Run; SIGTERM stops as Ctrl-C does: what was made is removed first."""
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    assert task is not None
    with suppress(NotImplementedError, RuntimeError, ValueError):
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await (_watched(asked) if watch else _once(asked))
    except asyncio.CancelledError:
        task.uncancel()
        note("Stopped before anything was tried.")
        return UNUSABLE
    finally:
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.remove_signal_handler(signal.SIGTERM)


async def _once(asked: Asked) -> int:
    told, _ = await _run(asked)
    return _status(told)


async def _watched(asked: Asked) -> int:
    """Run again for every reason that there is, until Ctrl-C."""
    from osbkit.conformance.watching import until_changed

    status = UNUSABLE
    task = asyncio.current_task()
    assert task is not None
    while True:
        known = None
        try:
            told, known = await _run(asked)
        except Unusable as trouble:
            complain(trouble)
        else:
            status = _status(told)
            if told.stopped:
                return status
        note("Watching the broker; Ctrl-C ends.")
        connection = asked.connect()
        try:
            reason = await until_changed(
                lambda one=connection: one.send("GET", "/v2/catalog"),  # type: ignore[misc]
                known,
                asked.pause,
            )
        except asyncio.CancelledError:
            task.uncancel()
            return status
        finally:
            await connection.close()
        note(reason)


async def _run(asked: Asked) -> "tuple[Account, Any]":
    """One run, told in all its reports; and the catalog that it saw.

    Raises:
        Unusable: it could not begin.
    """
    from osbkit.conformance.reaching import Unreached, reach
    from osbkit.conformance.reports.account import account
    from osbkit.conformance.reports.progress import progress
    from osbkit.conformance.runner import run
    from osbkit.conformance.session import Session

    connection = asked.connect()
    try:
        await reach(connection, asked.choices)
        session = Session(connection, choices=asked.choices, tempo=asked.tempo)
        with progress(lambda text: session.mask.text(text)) as tell:
            report = await run(session, asked.checks, at_once=asked.at_once, tell=tell)
    except Unreached as trouble:
        raise Unusable(trouble.sentence, hint=trouble.fix) from trouble
    finally:
        await connection.close()
    told = account(report, session.mask)
    _write(told, asked.outputs)
    return told, session.catalog.raw


def _status(told: "Account") -> int:
    from osbkit.conformance.requirements import Level

    if any(line.level is Level.MUST for line in told.troubles):
        return REFUSED
    return UNUSABLE if told.stopped else DONE


def _write(told: "Account", outputs: "Sequence[tuple[Format, Path | None]]") -> None:
    """Write the reports, the one on standard output last."""
    from osbkit.conformance.reports import render, text

    for form, path in sorted(outputs, key=lambda each: each[1] is None):
        if path is not None:
            _write_file(path, render(told, form))
        elif form == "text":
            text.show(told, text.console())
        else:
            typer.echo(render(told, form), nl=False)
            note(told.verdict)


def _write_file(path: Path, content: str) -> None:
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise Unusable(
            f"The report could not be written to {path}: {error.strerror}.",
            hint="Name another file.",
        ) from error
    note(f"Report written to {path}.")

"""`osbkit reconcile`: what the service has, held against the broker's rows.

    osbkit reconcile app:broker                          look, change nothing
    osbkit reconcile app:broker --remove NAME            one orphan, or several
    osbkit reconcile app:broker --remove-all             all that this broker made
    osbkit reconcile app:broker --adopt NAME --plan …    an orphan as an instance

Exit status 0: nothing is left to do; 1: orphans or lost ones are; 2: the command
line cannot be used; 3: it could not be compared, for a database, a backend or its
service is not to be had. The work is done in `osbkit.lifecycle.reconcile`.
"""

import asyncio
import re
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from osbkit.cli.terminal import (
    NOT_STARTED,
    REFUSED,
    Problem,
    Unusable,
    note,
    print_json,
    print_table,
    printable,
)
from osbkit.errors import StartRefused

if TYPE_CHECKING:
    from osbkit.broker import Broker, Toolbox
    from osbkit.domain import Instance
    from osbkit.lifecycle.compare import Life, Lost, Orphan, Report
    from osbkit.lifecycle.reconcile import Adoption, Reconciler, Removal

SPAN = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)?")
UNITS = {None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
WAIT = 15.0
"""Seconds that a recorded removal is waited for, where a broker may be running."""


def reconcile(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:ATTR",
            help="A Broker, or the application of one.",
            show_default=False,
        ),
    ],
    backend: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY",
            help="Ask this backend only, by its key in Broker(backends=…); several"
            " times for several.",
            show_default=False,
        ),
    ] = None,
    older_than: Annotated[
        str,
        typer.Option(
            metavar="SPAN",
            help="Leave alone what was made, or worked on, later: 90s, 10m, 2h, 1d.",
        ),
    ] = "10m",
    remove: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Remove this orphan; several times for several."
        ),
    ] = None,
    remove_all: Annotated[
        bool,
        typer.Option(
            "--remove-all",
            help="Remove every orphan whose name proves that this broker made it.",
        ),
    ] = False,
    adopt: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Make this orphan a service instance again, as after a restore.",
        ),
    ] = None,
    instance: Annotated[
        str | None,
        typer.Option(metavar="ID", help="To adopt: its id, if the service has it not."),
    ] = None,
    plan: Annotated[
        str | None,
        typer.Option(metavar="OFFERING/PLAN", help="To adopt: names, or ids."),
    ] = None,
    platform: Annotated[
        str, typer.Option(help="To adopt: whose it is, as in the credentials.")
    ] = "default",
    organization: Annotated[
        str | None, typer.Option(help="To adopt: organization_guid as it was sent.")
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="To adopt: space_guid as it was sent.")
    ] = None,
    params: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="To adopt: its parameters; or @file."),
    ] = None,
    facts: Annotated[
        str | None,
        typer.Option(
            metavar="JSON", help="To adopt: what provision returned; or @file."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, for programs.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask before removing or adopting.")
    ] = False,
) -> None:
    """Compare what exists on the service with the broker's rows; 1 if they differ.

    On SQLite the broker must be stopped: the command takes the lock of the file.
    Beside the processes of a database server it may run at any time.
    """
    from osbkit.cli.reading import json_object

    if adopt is not None and (remove or remove_all):
        raise Unusable("Adopt and remove in two commands.")
    adoption = None
    if adopt is not None:
        adoption = _adoption(
            plan,
            platform,
            organization,
            space,
            instance,
            None if params is None else json_object(params, "--params"),
            None if facts is None else json_object(facts, "--facts"),
        )
    job = Job(
        keys=backend or None,
        older_than=_seconds(older_than),
        remove=tuple(remove or ()),
        remove_all=remove_all,
        adopt=adopt,
        adoption=adoption,
        as_json=as_json,
        yes=yes,
    )
    with redirect_stdout(sys.stderr):  # an author's module may print
        broker = _broker(target)
    if asyncio.run(_whole(broker, job)):
        raise typer.Exit(REFUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the command line asks for; see `reconcile`."""

    keys: list[str] | None
    older_than: float
    remove: tuple[str, ...]
    remove_all: bool
    adopt: str | None
    adoption: "Adoption | None"
    as_json: bool
    yes: bool

    def chosen(self, report: "Report") -> "list[Orphan]":
        """The orphans to remove; bindings first, for with their instance they get busy.

        Raises:
            Problem: a name is no orphan.
        """
        for name in self.remove:
            _orphan(report, name)
        chosen = [
            orphan
            for orphan in report.orphans
            if orphan.name in self.remove
            or (self.remove_all and orphan.life is not None)
        ]
        return sorted(chosen, key=lambda orphan: orphan.kind)  # "binding" < "instance"


def _adoption(
    plan: str | None,
    platform: str,
    organization: str | None,
    space: str | None,
    instance: str | None,
    params: dict[str, Any] | None,
    facts: dict[str, Any] | None,
) -> "Adoption":
    from osbkit.lifecycle.reconcile import Adoption

    if plan is None or organization is None or space is None:
        raise Unusable(
            "--adopt needs --plan, --organization and --space: what the platform sent"
            " when it made the instance. A repeated PUT is compared with it.",
        )
    offering, slash, name = plan.partition("/")
    if not slash or not offering or not name:
        raise Unusable(f"--plan {plan!r} is not of the form OFFERING/PLAN.")
    return Adoption(
        offering=offering,
        plan=name,
        platform=platform,
        organization_guid=organization,
        space_guid=space,
        instance_id=instance,
        parameters=params or {},
        facts=facts,
    )


def _seconds(text: str) -> float:
    found = SPAN.fullmatch(text)
    if found is None:
        raise Unusable(
            f"--older-than {text!r} is no span of time.", hint="For example: 90s or 10m"
        )
    return float(found[1]) * UNITS[found[2]]


def _broker(target: str) -> "Broker":
    from osbkit.cli.loading import broker_behind, load

    found = load(target)
    broker = broker_behind(found, target)
    if broker is None:
        raise Unusable(
            f"{target} is a {type(found).__name__}: neither a Broker nor the"
            " application of one.",
            hint="Name the Broker itself, as in examples.queue_broker.app:broker",
        )
    return broker


async def _whole(broker: "Broker", job: Job) -> bool:
    """Look, act, tell; whether something is left to do.

    Raises:
        Problem: with status 3 where nothing could be compared.
    """
    from osbkit.errors import OsbkitError
    from osbkit.lifecycle.reconcile import CannotReconcile, Reconciler
    from osbkit.telemetry import log, trouble

    try:
        async with broker.toolbox() as box:
            for key in job.keys or ():
                _require_key(box, key)
            seconds = box.settings.operation_deadline
            reconciler = Reconciler(box.store, box.registry, seconds=seconds)
            report = await reconciler.look(job.keys, job.older_than)
            return await _act(box, reconciler, report, job)
    except (StartRefused, CannotReconcile) as refusal:
        raise _not_to_be_had(str(refusal)) from refusal
    except OsbkitError as refusal:  # the database went away
        told = getattr(refusal, "description", str(refusal))
        raise _not_to_be_had(told) from refusal
    except (Problem, typer.Exit, typer.Abort):
        raise
    except Exception as error:  # an author's open() or close()
        log.error("start.fault", **trouble(error))
        raise _not_to_be_had(
            f"The start met something unexpected ({type(error).__name__})."
        ) from error


def _require_key(box: "Toolbox", key: str) -> None:
    if key not in box.registry.keys:
        known = ", ".join(sorted(box.registry.keys))
        raise Unusable(f"There is no backend {key!r}; there is: {known}.")


def _not_to_be_had(sentence: str) -> Problem:
    return Problem(sentence, status=NOT_STARTED)


async def _act(
    box: "Toolbox", reconciler: "Reconciler", report: "Report", job: Job
) -> bool:
    if not job.as_json:
        _show(report, asked_all=job.keys is None)
    chosen = job.chosen(report)
    adopted = removed = None
    if job.adopt is not None:
        adopted = await _adopt(box, reconciler, _orphan(report, job.adopt), job)
    elif chosen:
        removed = await _remove(box, reconciler, chosen, job)
    if job.as_json:
        told = _fields(report)
        if removed is not None:
            told["removed"] = removed
        if adopted is not None:
            told["adopted"] = {
                "name": job.adopt,
                "instance_id": adopted.instance_id,
                "generation": adopted.generation,
            }
        print_json(told)
    done = {each["name"] for each in removed or () if each["how"] != "failed"}
    if adopted is not None:
        done.add(job.adopt or "")
    return bool(report.lost) or any(one.name not in done for one in report.orphans)


def _orphan(report: "Report", name: str) -> "Orphan":
    for orphan in report.orphans:
        if orphan.name == name:
            return orphan
    if any(one.name == name for one in report.busy):
        raise Problem(
            f"{name} is busy: an operation is at it, or it is young.",
            hint="Look again later, or see --older-than.",
        )
    raise Problem(f"{name} is no orphan.")


async def _adopt(
    box: "Toolbox", reconciler: "Reconciler", orphan: "Orphan", job: Job
) -> "Instance":
    from osbkit.errors import RequestRejected
    from osbkit.lifecycle.reconcile import CannotReconcile

    assert job.adoption is not None
    _ask(job, f"Make {orphan.name} a service instance?")
    try:
        adopted = await reconciler.adopt(
            orphan, job.adoption, box.offer.catalog, box.offer.rules
        )
    except CannotReconcile as refusal:
        raise Problem(str(refusal)) from refusal
    except RequestRejected as refusal:
        raise Problem(refusal.description) from refusal
    if not job.as_json:
        typer.echo(
            printable(
                f"{orphan.name} is the service instance {adopted.instance_id} again."
            )
        )
    return adopted


async def _remove(
    box: "Toolbox", reconciler: "Reconciler", chosen: "list[Orphan]", job: Job
) -> list[dict[str, Any]]:
    """Remove what was chosen, one after the other; what fails does not stop it."""
    from osbkit.lifecycle.reconcile import CannotReconcile

    _ask(job, f"Remove {len(chosen)} of them, with all that is in them?")
    removals: list[Removal] = []
    told: list[dict[str, Any]] = []
    for orphan in chosen:
        try:
            removal = await reconciler.remove(orphan)
        except CannotReconcile as refusal:
            note(f"{orphan.name}: {refusal}")
            told.append(
                {"name": orphan.name, "how": "failed", "description": str(refusal)}
            )
        else:
            removals.append(removal)
    alone = box.store.alone
    done = await reconciler.wait(removals, 0.0 if alone else WAIT)
    for removal in removals:
        over = removal.how == "removed" or removal.operation in done
        how = "removed" if over else "recorded"
        operation = (
            {} if removal.operation is None else {"operation": removal.operation}
        )
        told.append({"name": removal.name, "how": how, **operation})
        if not job.as_json:
            typer.echo(printable(f"{removal.name}: {_sentence(how, alone)}"))
    return told


def _sentence(how: str, alone: bool) -> str:
    if how == "removed":
        return "removed."
    if alone:
        return "recorded; the broker removes it as soon as it is started."
    return "recorded; a process of the broker removes it."


def _ask(job: Job, question: str) -> None:
    """Raises Abort for a no, and Unusable where nobody can answer."""
    if job.yes:
        return
    if not on_terminal():
        raise Unusable("Nobody can be asked here: say --yes.")
    typer.confirm(question, abort=True, err=True)


def on_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()


# --- what is told ---------------------------------------------------------------------

WHY = {
    "deleted": "deleted, and still there",
    "failed": "its creation failed",
    "replaced": "its id lives again by another name",
    "no row": "no row knows it",
    "unknown": "nothing proves that this broker made it",
}


def _show(report: "Report", *, asked_all: bool) -> None:
    if report.orphans:
        print_table(
            ("orphan", "kind", "backend", "of", "why", "made", "note"),
            [
                (
                    each.name,
                    each.kind,
                    each.backend,
                    _of(each.life),
                    WHY[each.why],
                    _day(each.found.created_at),
                    each.found.note,
                )
                for each in report.orphans
            ],
        )
    if report.lost:
        print_table(
            ("lost", "kind", "backend", "of", "plan", "platform"),
            [
                (
                    each.name,
                    each.life.kind,
                    each.standing.backend,
                    _of(each.life),
                    f"{each.standing.offering}/{each.standing.plan}",
                    each.standing.platform,
                )
                for each in report.lost
            ],
        )
    if asked_all:
        for key, rows in report.unjudged.items():
            note(
                f"Not compared: {rows} of the backend {key!r}, which does not say"
                " what exists."
            )
    typer.echo(
        ", ".join(f"{name}: {number}" for name, number in report.counts().items())
    )


def _of(life: "Life | None") -> str:
    if life is None:
        return "–"
    if life.binding_id is None:
        return f"{life.instance_id} (generation {life.generation})"
    return (
        f"{life.instance_id} (generation {life.generation}) /"
        f" {life.binding_id} (generation {life.binding_generation})"
    )


def _day(moment: datetime | None) -> str:
    if moment is None:
        return "–"
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def _fields(report: "Report") -> dict[str, Any]:
    return {
        "counts": report.counts(),
        "orphans": [_orphan_fields(each) for each in report.orphans],
        "lost": [_lost_fields(each) for each in report.lost],
        "busy": [
            {
                "name": each.name,
                "kind": each.kind,
                "why": each.why,
                **_life_fields(each.life),
            }
            for each in report.busy
        ],
        "not_compared": dict(report.unjudged),
    }


def _orphan_fields(orphan: "Orphan") -> dict[str, Any]:
    made = orphan.found.created_at
    return {
        "name": orphan.name,
        "kind": orphan.kind,
        "backend": orphan.backend,
        "why": orphan.why,
        **_life_fields(orphan.life),
        "created_at": None if made is None else made.astimezone(UTC).isoformat(),
        "note": orphan.found.note,
    }


def _lost_fields(lost: "Lost") -> dict[str, Any]:
    return {
        "name": lost.name,
        "kind": lost.life.kind,
        "backend": lost.standing.backend,
        **_life_fields(lost.life),
        "offering": lost.standing.offering,
        "plan": lost.standing.plan,
        "platform": lost.standing.platform,
    }


def _life_fields(life: "Life | None") -> dict[str, Any]:
    if life is None:
        return {"instance_id": None, "generation": None}
    told = {"instance_id": life.instance_id, "generation": life.generation}
    if life.binding_id is None:
        return told
    return {
        **told,
        "binding_id": life.binding_id,
        "binding_generation": life.binding_generation,
    }

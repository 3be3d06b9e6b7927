"""`osbkit catalog`: check, show and compare a catalog before any platform sees it.

    validate   the rules of the specification and of the platforms
    show       what platforms get
    diff       what would change for them, and for the instances that live
    ids        write the ids that a file lacks

A catalog is named by its YAML file, or as MODULE:ATTR of a Broker (then with the
schemas of its backends), of a Broker's application, or of a Catalog. The rules
stand in `osbkit.catalog.rules`, the bytes are made in `osbkit.catalog.wire`, and
what the start compares stands in `osbkit.catalog.guard`.
"""

import sys
from collections.abc import Collection, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from osbkit.cli.db import DatabaseUrl
from osbkit.cli.terminal import (
    REFUSED,
    Unusable,
    note,
    print_json,
    print_table,
    printable,
)
from osbkit.errors import CatalogInvalid

if TYPE_CHECKING:
    from osbkit.broker import Broker
    from osbkit.catalog import Catalog, Finding, Plan, ServiceOffering
    from osbkit.catalog.guard import Change, Past

NEWEST = (2, 17)

app = typer.Typer(no_args_is_help=True, help="Check, show and compare a catalog.")

Named = Annotated[
    str,
    typer.Argument(
        metavar="FILE|MODULE:ATTR",
        help="A YAML file, or a Broker, its application, or a Catalog.",
        show_default=False,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object, for programs.")
]


@app.command()
def validate(named: Named, as_json: AsJson = False) -> None:
    """Tell everything that is wrong with a catalog; 1 if it cannot be served."""
    from osbkit.catalog import findings

    try:
        catalog = catalog_named(named)
        found: Sequence[Finding] = findings(catalog)
    except CatalogInvalid as refused:
        catalog, found = None, [_finding(each) for each in refused.findings]
    errors = sum(finding.level == "error" for finding in found)
    if as_json:
        print_json({"valid": not errors, "findings": [_fields(each) for each in found]})
    else:
        for finding in found:
            typer.echo(printable(f"{finding.level}: {finding}"))
        typer.echo(_verdict(catalog, errors, len(found) - errors))
    if errors:
        raise typer.Exit(REFUSED)


def _finding(each: object) -> "Finding":
    from osbkit.catalog import Finding

    return each if isinstance(each, Finding) else Finding("catalog", str(each), "")


def _fields(finding: "Finding") -> dict[str, Any]:
    return {
        "level": finding.level,
        "path": finding.path,
        "names": finding.names,
        "problem": finding.problem,
        "fix": finding.fix,
    }


def _verdict(catalog: "Catalog | None", errors: int, warnings: int) -> str:
    told = f"{_count(errors, 'error')}, {_count(warnings, 'warning')}"
    if errors or catalog is None:
        return f"The catalog cannot be served: {told}."
    plans = sum(len(offering.plans) for offering in catalog.services)
    return (
        f"The catalog can be served: {_count(len(catalog.services), 'offering')},"
        f" {_count(plans, 'plan')}; {told}."
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


@app.command()
def show(
    named: Named,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print what a platform of version 2.17 gets, to the letter."
        ),
    ] = False,
) -> None:
    """Show the offerings and plans of a catalog, and how osbkit runs them."""
    from osbkit.catalog import render

    catalog = catalog_named(named)
    if as_json:
        typer.echo(render(catalog, NEWEST, None).plain.decode())
        return
    print_table(
        ("offering", "plan", "mode", "bind mode", "free", "bindable", "update", "text"),
        [_row(catalog, each, plan) for each in catalog.services for plan in each.plans],
    )


def _row(catalog: "Catalog", offering: "ServiceOffering", plan: "Plan") -> list[str]:
    bindable = catalog.bindable(offering, plan)
    claims = (plan.free, bindable, catalog.plan_updateable(offering, plan))
    return [
        offering.name,
        plan.name,
        plan.osbkit.mode,
        plan.osbkit.bind_mode if bindable else "–",
        *("yes" if claim else "no" for claim in claims),
        plan.description,
    ]


@app.command()
def diff(
    named: Named,
    database_url: DatabaseUrl = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="An id whose change is meant, or `all`, beside those of"
            " OSBKIT_ALLOW_CATALOG_CHANGES.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare a catalog with the one last served; 1 if a start would be refused."""
    from osbkit.catalog.guard import Past, refused
    from osbkit.settings import Settings
    from osbkit.store import served

    settings = Settings.from_environment()
    past = served.look(database_url or settings.database_url.get_secret_value())
    if past is None:
        note("The database holds nothing yet: no catalog was served from it.")
    changes = _changes(named, past or Past())
    unsafe = refused(changes, settings.allow_catalog_changes | set(allow or ()))
    if as_json:
        print_json(
            {
                "refused": bool(unsafe),
                "changes": [_change(each, unsafe) for each in changes],
            }
        )
    else:
        _show(changes, unsafe)
    if unsafe:
        raise typer.Exit(REFUSED)


def _changes(named: str, past: "Past") -> "list[Change]":
    """What a start with this catalog would judge.

    Raises:
        CatalogInvalid, BackendsInvalid: it would be refused for itself.
    """
    from osbkit.catalog import Catalog, validate
    from osbkit.catalog.guard import compare

    if _is_file(named):
        found: Catalog | Broker = Catalog.from_yaml(named)
    else:
        found = _in_module(named)
    if isinstance(found, Catalog):
        validate(found)
        return compare(past, found)
    with redirect_stdout(sys.stderr):  # a callable of the author's
        return found.offer().changes(past)


def _show(changes: "Sequence[Change]", unsafe: "Collection[Change]") -> None:
    if changes:
        print_table(
            ("change", "of", "name", "id", "instances", "start"),
            [
                (
                    each.kind,
                    each.what,
                    each.names,
                    each.id,
                    str(each.instances),
                    _word(each, unsafe),
                )
                for each in changes
            ],
        )
    for each in changes:
        if each.level != "note":
            typer.echo(printable(f"{_word(each, unsafe)}: {each}"))
    if unsafe:
        typer.echo(f"A start would be refused: {_count(len(unsafe), 'finding')}.")
    else:
        typer.echo(f"A start would serve it: {_count(len(changes), 'change')}.")


def _word(change: "Change", unsafe: "Collection[Change]") -> str:
    """What a start does about a change."""
    if change.level == "error":
        return "refused" if change in unsafe else "allowed"
    return "warning" if change.level == "warning" else "–"


def _change(change: "Change", unsafe: "Collection[Change]") -> dict[str, Any]:
    return {
        "kind": change.kind,
        "of": change.what,
        "name": change.names,
        "id": change.id,
        "instances": change.instances,
        "level": change.level,
        "refused": change in unsafe,
        "problem": change.problem,
        "fix": change.fix,
    }


@app.command()
def ids(
    file: Annotated[
        Path, typer.Argument(help="A YAML or JSON file.", show_default=False)
    ],
) -> None:
    """Write ids into offerings and plans that have none; the rest stays as it is."""
    from osbkit.catalog.ids import write_ids

    given = write_ids(file)
    for each in given:
        names = f" ({each.names})" if each.names else ""
        typer.echo(printable(f"{each.path}{names}: {each.id}"))
    if given:
        typer.echo(
            f"{_count(len(given), 'id')} written. Commit the file: ids are for ever."
        )
    else:
        typer.echo("Every offering and plan has an id; nothing was written.")


def catalog_named(named: str) -> "Catalog":
    """The catalog that the command line names.

    Raises:
        CatalogInvalid: it cannot be read, or its values have the wrong type.
        Unusable: the module or the name is not there, or is something else.
    """
    from osbkit.catalog import Catalog

    if _is_file(named):
        return Catalog.from_yaml(named)
    found = _in_module(named)
    if isinstance(found, Catalog):
        return found
    with redirect_stdout(sys.stderr):  # a callable of the author's
        return found.catalog


def _is_file(named: str) -> bool:
    return ":" not in named or Path(named).exists()


def _in_module(named: str) -> "Catalog | Broker":
    from osbkit.catalog import Catalog
    from osbkit.cli.loading import broker_behind, load

    with redirect_stdout(sys.stderr):  # an author's module may print or log
        found = load(named)
        if isinstance(found, Catalog):
            return found
        broker = broker_behind(found, named)
    if broker is None:
        raise Unusable(
            f"{named} is a {type(found).__name__}: neither a Catalog nor a Broker nor"
            " the application of one.",
            hint="Name the Broker itself, as in examples.queue_broker.app:broker",
        )
    return broker

"""`osbkit catalog`: check and show a catalog before any platform sees it.

A catalog is named by its YAML file, or as MODULE:ATTR of a Broker (then with the
schemas of its backends), of a Broker's application, or of a Catalog. The rules
stand in `osbkit.catalog.rules`, the bytes are made in `osbkit.catalog.wire`.
"""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from osbkit.cli.terminal import REFUSED, Unusable, print_json, print_table, printable
from osbkit.errors import CatalogInvalid

if TYPE_CHECKING:
    from osbkit.catalog import Catalog, Finding, Plan, ServiceOffering

NEWEST = (2, 17)

app = typer.Typer(no_args_is_help=True, help="Check and show a catalog.")

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


def catalog_named(named: str) -> "Catalog":
    """The catalog that the command line names.

    Raises:
        CatalogInvalid: it cannot be read, or its values have the wrong type.
        Unusable: the module or the name is not there, or is something else.
    """
    from osbkit.catalog import Catalog

    if ":" not in named or Path(named).exists():
        return Catalog.from_yaml(named)
    with redirect_stdout(sys.stderr):  # an author's module may print or log
        return _catalog_of_module(named)


def _catalog_of_module(named: str) -> "Catalog":
    from osbkit.catalog import Catalog
    from osbkit.cli.loading import broker_behind, load

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
    return broker.catalog

"""`scripts/chaos`: run it, print a table, and 1 where a figure is not 0."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

from tests.chaos.chaos import Options, Report, run
from tests.chaos.plants import PLANTS


def options_of(arguments: list[str]) -> Options:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    add = parser.add_argument
    add("--lifecycles", type=int, default=300, metavar="N")
    add("--seed", default="1", metavar="S")
    add("--engine", choices=("embedded", "distributed"), default="distributed")
    add("--database", choices=("sqlite", "postgresql"), default="postgresql")
    add("--replicas", type=int, metavar="N", help="API processes (3; 1 on SQLite)")
    add("--workers", type=int, metavar="N", help="worker processes (3; 0 if embedded)")
    add("--at-once", type=int, default=40, metavar="N", help="lifecycles side by side")
    add("--scenes", type=int, metavar="N", help="batches of scenes")
    add("--calm", action="store_true", help="without any fault")
    add("--plant", choices=tuple(PLANTS), default="", help="a fault to be found")
    add("--keep", type=Path, metavar="FOLDER", help="keep the ledger and the logs")
    given = parser.parse_args(arguments)
    alone = given.database == "sqlite"
    if alone and given.engine == "distributed":
        parser.error("SQLite has the embedded engine only: --engine embedded")
    workers = 3 if given.workers is None else given.workers
    scenes = 4 + given.lifecycles // 200 if given.scenes is None else given.scenes
    return Options(
        lifecycles=given.lifecycles,
        seed=given.seed,
        engine=given.engine,
        database=given.database,
        replicas=1 if alone else given.replicas or 3,
        workers=0 if given.engine == "embedded" else workers,
        at_once=given.at_once,
        scenes=scenes,
        faults=not given.calm,
        plant=given.plant,
        keep=given.keep,
    )


def lines(report: Report) -> list[str]:
    """The table."""
    options = report.options
    where = f"{options.engine} on {options.database}, {options.replicas} replicas"
    if options.workers:
        where += f", {options.workers} workers"

    def told(counter: Any) -> str:
        return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))

    rows = [
        ("run", f"{where}, seed {options.seed}"),
        ("lifecycles", f"{options.lifecycles}, {report.held} held at the end"),
        ("requests", f"{report.requests.total()}: {told(report.requests)}"),
        ("operations", told(report.operations)),
        ("faults", f"{report.faults.total()}: {told(report.faults)}"),
        *((name, str(count)) for name, count in report.counts.items()),
        ("wrong answers", str(len(report.wrong))),
        ("time", f"{report.seconds:.0f} s, {report.calm:.0f} s of them calm"),
    ]
    table = [f"{name:<14} {value}" for name, value in rows]
    for finding in report.findings[:20]:
        table.append(f"\n{finding.count}: {finding.instance_id}: {finding.text}")
    table += report.wrong[:20]
    for instance_id, happened in report.timelines.items():
        table += ["", f"timeline of {instance_id}", *happened]
    return table


def main() -> int:
    """The exit status."""
    report = asyncio.run(run(options_of(sys.argv[1:])))
    sys.stdout.write("\n".join(lines(report)) + "\n")
    return 0 if report.good else 1


if __name__ == "__main__":
    sys.exit(main())

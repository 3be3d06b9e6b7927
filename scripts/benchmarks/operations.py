"""`scripts/bench operations`: durable answers on database servers, and the workers.

    durable     202 and 201 on PostgreSQL and MariaDB
    inserts     202 beside the rows that it writes, and nothing else
    workers     from the request to the call in another process; calls a second
    waiting     10,000 operations whose backend waits, in one process
    large       with 1,000,000 instances and 5,000,000 finished operations beside an
                empty database; only with --large, for it fills for minutes

A figure of CPU is the broker's process alone, without the database's.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import quantiles
from uuid import uuid4

import psycopg

from scripts.benchmarks import databases, load, millions, processes, workload
from scripts.benchmarks.load import Measured, Round, measure
from scripts.benchmarks.processes import ROOT, CannotMeasure, Server, Worker, running
from scripts.benchmarks.report import Budget, Line
from scripts.benchmarks.scenes import Scene, cost, require
from tests.servers import DatabaseServer

SECONDS, ROUNDS = 3, 3
ACCEPTED, DONE = "provision 202", "provision 201"
POSTGRESQL_202 = Budget(limit=450)
OVER_INSERTS = Budget(limit=2.2)
ASKED, PAUSE = 300, 0.02
EXECUTED = 3_000
WAITING = 10_000
CLIENTS = 8
SETTLES = 12.0
"""Seconds in which leases are renewed twice."""
WITHIN = 120.0
API = {"OSBKIT_WORKER": "none"}


def name_of(what: str, kind: str) -> str:
    """The name of a line of one database."""
    return f"operations: {what} on {databases.NAMES[kind]}"


# --- durable answers ---------------------------------------------------------------


def durable(kind: str, directory: Path) -> Iterator[Line]:
    """202, which records an operation, and 201, which waits for it to end."""
    budget = POSTGRESQL_202 if kind == "postgresql" else None
    with databases.serving(kind) as server:
        accepted = accepting(server, directory, "held")
        yield cost(name_of(ACCEPTED, kind), accepted, budget)
        url = databases.fresh(server)
        with running(processes.on_a_server(url, directory)) as broker:
            what = load.provision("inline", accepts_incomplete=False)
            require(broker, what, 201)
            done = measure(what, broker, seconds=SECONDS, rounds=ROUNDS)
        yield cost(name_of(DONE, kind), done)


def accepting(
    server: DatabaseServer, directory: Path, plan: str, **settings: str
) -> Measured:
    """202 by brokers that are new each time, or waiting operations would add up."""
    rounds: list[Round] = []
    for _ in range(ROUNDS):
        rounds += accepting_once(server, directory, plan, **settings)
    return Measured(tuple(rounds))


def accepting_once(
    server: DatabaseServer, directory: Path, plan: str, **settings: str
) -> tuple[Round, ...]:
    """One round of it."""
    what = load.provision(plan, accepts_incomplete=True)
    broker = processes.on_a_server(databases.fresh(server), directory, **settings)
    with running(broker, abruptly=True):
        require(broker, what, 202)
        return measure(what, broker, seconds=SECONDS, rounds=1).rounds


def over_inserts(directory: Path) -> Iterator[Line]:
    """202 for a worker, its job included, beside the rows alone; turn by turn."""
    answers: list[Round] = []
    rows: list[float] = []
    with databases.serving("postgresql") as server:
        for _ in range(ROUNDS):
            answers += accepting_once(server, directory, "held", **API)
            rows.append(inserting(databases.fresh(server)))
    whole = Measured(tuple(answers))
    yield cost("operations: provision 202 for a worker", whole, POSTGRESQL_202)
    yield Line(
        name="operations: 202 over its inserts",
        figure=whole.cpu / min(rows),
        unit="times",
        budget=OVER_INSERTS,
        note=f"{whole.cpu:,.0f} against {min(rows):,.0f} µs",
        rounds=tuple(
            answer.cpu / one for answer, one in zip(answers, rows, strict=True)
        ),
    )


def inserting(url: str) -> float:
    """Microseconds of CPU for the rows of a provision, written by `store.write`."""
    done = subprocess.run(  # noqa: S603 (our own words)
        [
            str(ROOT / ".venv/bin/python"),
            "-m",
            "scripts.benchmarks.inserting",
            str(SECONDS),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "OSBKIT_DATABASE_URL": url,
            "OSBKIT_ENCRYPTION_KEYS": workload.KEYS,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CannotMeasure(f"The rows could not be written:\n{done.stderr}")
    spent: float = json.loads(done.stdout)["cpu"]
    return spent


# --- workers -------------------------------------------------------------------------


def working(directory: Path) -> Iterator[Line]:
    """An API process that runs nothing, and one worker."""
    with databases.serving("postgresql") as server:
        yield picked_up(databases.fresh(server), directory)
        yield executed(databases.fresh(server), directory)


def picked_up(url: str, directory: Path) -> Line:
    """From sending the request to the backend's call, the worker being idle."""
    stamps = directory / "stamps"
    stamps.touch()
    worker = processes.worker(url, directory, "stamping", BENCH_STAMPS=str(stamps))
    with (
        running(processes.on_a_server(url, directory, **API)) as broker,
        running(worker),
    ):
        sent: dict[str, int] = {}
        for _ in range(ASKED):
            instance_id = str(uuid4())
            sent[instance_id] = time.time_ns()
            provision(broker, "background", instance_id)
            time.sleep(PAUSE)
        wait_until(lambda: len(lines_of(stamps)) >= ASKED, worker)
    called = {one: int(moment) for one, moment in map(str.split, lines_of(stamps))}
    delays = [(called[one] - moment) / 1e6 for one, moment in sent.items()]
    cuts = quantiles(delays, n=100)
    return Line(
        name="operations: pick-up p99",
        figure=cuts[98],
        unit="ms",
        budget=Budget(limit=100),
        note=f"p50 {cuts[49]:.1f} ms, at most {max(delays):.1f}; from the request on",
    )


def lines_of(file: Path) -> list[str]:
    """Its whole lines."""
    return [
        line for line in file.read_text().splitlines(keepends=True) if line[-1] == "\n"
    ]


def executed(url: str, directory: Path) -> Line:
    """What one worker does of trivial operations that wait for it."""
    with running(processes.on_a_server(url, directory, **API)) as broker:
        begin_many(broker, "background", EXECUTED)
    with running(processes.worker(url, directory)) as worker:
        before = worker.cpu()
        wait_until(lambda: ended_in(url)[0] >= EXECUTED, worker)
        spent = worker.cpu() - before
    count, seconds = ended_in(url)
    return Line(
        name="operations: executed by a worker",
        figure=count / seconds,
        unit="/s",
        budget=Budget(limit=300, least=True),
        note=f"{spent / count * 1e6:,.0f} µs of the worker's CPU for each",
    )


def ended_in(url: str) -> tuple[int, float]:
    """How many operations have ended, and in how many seconds."""
    query = "SELECT count(ended_at), max(ended_at) - min(ended_at) FROM operations"
    with psycopg.connect(url) as db:
        row = db.execute(query).fetchone()
    assert row is not None
    return row[0], (row[1] or 0) / 1e6


def provision(broker: Server, plan: str, instance_id: str) -> None:
    """PUT an instance whose operation goes on."""
    path = f"/v2/service_instances/{instance_id}?accepts_incomplete=true"
    status = broker.ask("PUT", path, workload.provision_body(plan))
    if status != 202:
        raise CannotMeasure(f"PUT is answered {status}, not 202.\n{broker.said()}")


def begin_many(broker: Server, plan: str, count: int) -> None:
    """PUT so many."""
    ids = [str(uuid4()) for _ in range(count)]
    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(partial(provision, broker, plan), ids))


def wait_until(is_so: Callable[[], bool], server: Server | Worker) -> None:
    """Wait for something.

    Raises:
        CannotMeasure: it did not come.
    """
    give_up = time.monotonic() + WITHIN
    while not is_so():
        if time.monotonic() > give_up:
            raise CannotMeasure(f"It was not done in time.\n{server.said()}")
        time.sleep(0.1)


# --- many that wait -----------------------------------------------------------------


def waiting(kind: str, directory: Path) -> Iterator[Line]:
    """One process, every backend call awaiting something, leases renewed."""
    room = {"OSBKIT_CONCURRENCY": str(WAITING)}
    if kind == "sqlite":
        server = processes.osbkit(directory, **room)
        yield from held_by(kind, server)
        return
    with databases.serving(kind) as database:
        url = databases.fresh(database)
        server = processes.on_a_server(url, directory, **room)
        yield from held_by(kind, server)


def held_by(kind: str, server: Server) -> Iterator[Line]:
    """How much memory a process has that holds them."""
    with running(server, abruptly=True):
        begin_many(server, "held", WAITING)
        spent = server.cpu()
        time.sleep(SETTLES)
        spent = (server.cpu() - spent) / SETTLES
        if server.has_said("operation."):
            raise CannotMeasure(f"They did not go on waiting.\n{server.said()}")
        yield Line(
            name=name_of(f"{WAITING:,} waiting", kind),
            figure=server.memory(),
            unit="MiB",
            budget=Budget(limit=400),
            note=f"{spent * 100:.0f} % of a core while they wait",
        )


# --- millions of rows ----------------------------------------------------------------


def large(directory: Path) -> Iterator[Line]:
    """Each step beside the same on a database that is nearly empty."""
    many, ended = millions.INSTANCES, millions.OPERATIONS
    with databases.serving("postgresql") as server:
        empty, full = databases.fresh(server), databases.fresh(server)
        millions.fill(empty, millions.FEW, millions.FEW)
        seconds = millions.fill(full, many, ended)
        print(f"bench: filled in {seconds:.0f} s.", file=sys.stderr)
        for one in asyncio.run(millions.compare(empty, full, many)):
            yield Line(
                name=large_name(one.step),
                figure=one.full / one.empty,
                unit="times",
                budget=Budget(limit=1.2),
                note=f"{one.full:.2f} against {one.empty:.2f} ms",
            )


def large_name(step: str) -> str:
    """The name of a line of `large`."""
    return f"operations: {step} with {millions.INSTANCES:,} instances"


SCENES = (
    Scene(
        (
            "operations: provision 202 for a worker",
            "operations: 202 over its inserts",
        ),
        over_inserts,
        needs=("postgresql",),
    ),
    *(
        Scene(
            (name_of(ACCEPTED, kind), name_of(DONE, kind)),
            partial(durable, kind),
            needs=(kind,),
        )
        for kind in databases.KINDS
    ),
    Scene(
        ("operations: pick-up p99", "operations: executed by a worker"),
        working,
        needs=("postgresql",),
    ),
    Scene((name_of(f"{WAITING:,} waiting", "sqlite"),), partial(waiting, "sqlite")),
    Scene(
        (name_of(f"{WAITING:,} waiting", "postgresql"),),
        partial(waiting, "postgresql"),
        needs=("postgresql",),
    ),
    Scene(
        tuple(map(large_name, ("poll", "provision", "claim"))),
        large,
        needs=("postgresql",),
        large=True,
    ),
)

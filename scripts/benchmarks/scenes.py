"""What is measured, scene by scene; each starts its own servers and ends them.

    catalogs      small and large, plain, compressed, not modified
    remembering   what the memory of proved passwords saves
    writing       durable answers: 201, 202, bind, poll, beside FastAPI alone and
                  openbrokerapi in memory
    starting      process start to first answer
    memory        with 10,000 instances, after load
    growing       1,000 instances against 100,000

A scene names its lines before it runs, so that a filter can leave it out.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmarks import load, processes
from scripts.benchmarks.filling import Filled, fill
from scripts.benchmarks.load import Load, Measured, Round, measure
from scripts.benchmarks.processes import CannotMeasure, Server, running
from scripts.benchmarks.report import Budget, Line

SECONDS, ROUNDS = 3, 2
GROWING_SECONDS, GROWING_ROUNDS = 2, 3
STARTS = 3
PROOFS = 40
FEW, SOME, MANY = 1_000, 10_000, 100_000
ANSWERED_WITHIN = Budget(limit=12)
CATALOG = "/v2/catalog"


@dataclass(frozen=True, slots=True)
class Scene:
    """Lines that are measured together.

    Attributes:
        run: makes them, given an empty directory.
        needs: kinds of database servers.
        large: takes so long that it must be asked for.
    """

    names: tuple[str, ...]
    run: Callable[[Path], Iterator[Line]]
    needs: tuple[str, ...] = ()
    large: bool = False


def cost(name: str, measured: Measured, budget: Budget | None = None) -> Line:
    """A line of CPU per request."""
    return Line(
        name=name,
        figure=measured.cpu,
        unit="µs",
        budget=budget,
        note=measured.note,
        rounds=tuple(one.cpu for one in measured.rounds),
    )


def delay(name: str, measured: Measured) -> Line:
    """A line of the slowest answers but one in a hundred."""
    return Line(
        name=name,
        figure=measured.p99,
        unit="ms",
        budget=ANSWERED_WITHIN,
        rounds=tuple(one.p99 for one in measured.rounds),
    )


def often(what: Load, server: Server) -> Measured:
    """Measure as most lines are measured."""
    return measure(what, server, seconds=SECONDS, rounds=ROUNDS)


def require(server: Server, what: Load, status: int) -> None:
    """Prove that a load gets the answer its line speaks of.

    Raises:
        CannotMeasure: it gets another.
    """
    got = what.sample(server)
    if got != status:
        raise CannotMeasure(
            f"{what.arguments[0]} is answered {got}, not {status}.\n{server.said()}"
        )


# --- catalogs -------------------------------------------------------------------


def small_catalog(directory: Path) -> Iterator[Line]:
    """Ready-made bytes after authentication, and 304."""
    with running(processes.osbkit(directory)) as server:
        plain = load.fixed(CATALOG)
        yield cost("catalog", often(plain, server), Budget(limit=40))
        known = load.fixed(CATALOG, f"If-None-Match: {server.etag()}")
        require(server, known, 304)
        yield cost("catalog 304", often(known, server), Budget(limit=30))


def large_catalog(directory: Path) -> Iterator[Line]:
    """1.2 MB, plain and compressed."""
    with running(processes.osbkit(directory, "large")) as server:
        plain = load.fixed(CATALOG)
        require(server, plain, 200)
        yield cost("large catalog", often(plain, server), Budget(limit=250))
        packed = load.fixed(CATALOG, "Accept-Encoding: gzip")
        yield cost("large catalog gzip", often(packed, server), Budget(limit=60))


def remembering(directory: Path) -> Iterator[Line]:
    """A password hashed by argon2id: proved once a minute, or for each request."""
    directory.mkdir(exist_ok=True)
    with running(processes.hashed(directory / "remembered", "brokers")) as server:
        remembered = often(load.fixed(CATALOG), server)
    with running(processes.hashed(directory / "each", "forgetful")) as server:
        before = server.settled_cpu()
        for _ in range(PROOFS):
            if server.ask("GET", CATALOG) != 200:
                raise CannotMeasure(server.said())
        proved = (server.settled_cpu() - before) / PROOFS * 1e6
    yield Line(
        name="argon2, remembered over proved",
        figure=proved / remembered.cpu,
        unit="times",
        budget=Budget(limit=100, least=True),
        note=f"{remembered.cpu:,.0f} against {proved:,.0f} µs",
    )


# --- writing --------------------------------------------------------------------


def accepting(directory: Path) -> Iterator[Line]:
    """202 alone: the operations that it records are begun and never end.

    Their tasks wait, 64 in the backend and the others for room, so the figure
    holds the answer, the commit and a task's start, and no second commit.
    """
    what = load.provision("held", accepts_incomplete=True)
    rounds: list[Round] = []
    for number in range(ROUNDS):  # each on a new server, or the waiting tasks add up
        own = directory / str(number)
        own.mkdir()
        with running(processes.osbkit(own), abruptly=True) as server:
            require(server, what, 202)
            rounds.extend(measure(what, server, seconds=SECONDS, rounds=1).rounds)
    measured = Measured(tuple(rounds))
    yield cost("provision 202", measured, Budget(limit=330, goal=250))
    yield delay("provision 202 p99", measured)


def accepting_and_doing(directory: Path) -> Iterator[Line]:
    """202, and the operation until it has ended: two commits."""
    with running(processes.osbkit(directory)) as server:
        what = load.provision("background", accepts_incomplete=True)
        require(server, what, 202)
        yield cost("provision 202 and its operation", often(what, server))


def doing(directory: Path) -> Iterator[Line]:
    """201, beside what openbrokerapi does in memory; turn by turn."""
    ours = load.provision("inline", accepts_incomplete=False)
    theirs = load.provision("inline", accepts_incomplete=False)
    with (
        running(processes.osbkit(directory)) as server,
        running(processes.peer(directory)) as peer,
    ):
        require(server, ours, 201)
        require(peer, theirs, 201)
        mine, other = in_turn((ours, server), (theirs, peer), SECONDS, ROUNDS)
    yield cost("provision 201", mine, Budget(limit=450, goal=330))
    yield delay("provision 201 p99", mine)
    yield cost("openbrokerapi provision, in memory", other)
    yield Line(
        name="provision 201 over openbrokerapi",
        figure=mine.rate / other.rate,
        unit="times",
        budget=Budget(limit=1, least=True),
        note=f"{mine.rate:,.0f} against {other.rate:,.0f} requests/s",
    )


def binding_and_polling(directory: Path) -> Iterator[Line]:
    """On 1,000 instances that are ready."""
    filled = fill(directory / "filled", FEW)
    with running(processes.osbkit(filled.directory)) as server:
        poll = load.poll(filled.ids)
        require(server, poll, 200)
        yield cost("poll", often(poll, server), Budget(limit=180, goal=130))
        bind = load.bind("inline", filled.ids)
        require(server, bind, 201)
        measured = often(bind, server)
        yield cost("bind 201", measured, Budget(limit=450))
        yield delay("bind 201 p99", measured)


def bare_fastapi(directory: Path) -> Iterator[Line]:
    """What the framework costs by itself."""
    with running(processes.bare(directory)) as server:
        catalog = load.fixed(CATALOG)
        yield cost("FastAPI alone, GET", often(catalog, server))
        put = load.provision("inline", accepts_incomplete=False)
        require(server, put, 201)
        yield cost("FastAPI alone, PUT in memory", often(put, server))


# --- starting, memory, growing ----------------------------------------------------


def starting(directory: Path) -> Iterator[Line]:
    """`osbkit serve` to the first answered catalog; the database is new, then not."""
    new: list[float] = []
    known: list[float] = []
    for number in range(STARTS):
        own = directory / str(number)
        own.mkdir()
        for seen in (new, known):
            with running(processes.osbkit(own)) as server:
                seen.append(server.began_within)
    for name, seen in (("cold start", new), ("cold start, known database", known)):
        yield Line(
            name=name,
            figure=sorted(seen)[STARTS // 2],
            unit="s",
            budget=Budget(limit=2),
            rounds=tuple(seen),
        )


def memory(directory: Path) -> Iterator[Line]:
    """Resident with 10,000 instances, after a second of polls and one of binds."""
    filled = fill(directory / "filled", SOME)
    with running(processes.osbkit(filled.directory)) as server:
        fresh = server.memory()
        load.poll(filled.ids).on(server, 1)
        load.bind("inline", filled.ids).on(server, 1)
        yield Line(
            name="memory",
            figure=server.memory(),
            unit="MiB",
            budget=Budget(limit=110),
            note=f"{fresh:.0f} MiB before any load",
        )


def growing(directory: Path) -> Iterator[Line]:
    """The same load on few instances and on many, turn by turn."""
    many = fill(directory / "many", MANY)
    few = fill(directory / "few", FEW)
    with (
        running(processes.osbkit(few.directory)) as small,
        running(processes.osbkit(many.directory)) as big,
    ):
        yield grown("poll", (few, small), (many, big))
        yield grown("provision", (few, small), (many, big))


def grown(verb: str, few: tuple[Filled, Server], many: tuple[Filled, Server]) -> Line:
    """How many times as much a request costs.

    Provisioning adds instances: some thousands to either side.
    """

    def on(filled: Filled) -> Load:
        if verb == "poll":
            return load.poll(filled.ids)
        return load.provision("inline", accepts_incomplete=False)

    one, other = in_turn(
        (on(few[0]), few[1]), (on(many[0]), many[1]), GROWING_SECONDS, GROWING_ROUNDS
    )
    return Line(
        name=f"{verb} with {MANY:,} against {FEW:,}",
        figure=other.cpu / one.cpu,
        unit="times",
        budget=Budget(limit=1.2),
        note=f"{other.cpu:,.0f} against {one.cpu:,.0f} µs",
        rounds=tuple(
            b.cpu / a.cpu for a, b in zip(one.rounds, other.rounds, strict=True)
        ),
    )


def in_turn(
    one: tuple[Load, Server], other: tuple[Load, Server], seconds: float, rounds: int
) -> tuple[Measured, Measured]:
    """Measure two servers in turn, so that a busy moment of the machine meets both."""
    for what, server in (one, other):
        what.on(server, 1)
    pairs = [
        (one[0].on(one[1], seconds), other[0].on(other[1], seconds))
        for _ in range(rounds)
    ]
    return Measured(tuple(a for a, _ in pairs)), Measured(tuple(b for _, b in pairs))


SCENES = (
    Scene(("catalog", "catalog 304"), small_catalog),
    Scene(("argon2, remembered over proved",), remembering),
    Scene(("large catalog", "large catalog gzip"), large_catalog),
    Scene(("provision 202", "provision 202 p99"), accepting),
    Scene(("provision 202 and its operation",), accepting_and_doing),
    Scene(
        (
            "provision 201",
            "provision 201 p99",
            "openbrokerapi provision, in memory",
            "provision 201 over openbrokerapi",
        ),
        doing,
    ),
    Scene(("poll", "bind 201", "bind 201 p99"), binding_and_polling),
    Scene(("FastAPI alone, GET", "FastAPI alone, PUT in memory"), bare_fastapi),
    Scene(("cold start", "cold start, known database"), starting),
    Scene(("memory",), memory),
    Scene(
        tuple(
            f"{verb} with {MANY:,} against {FEW:,}" for verb in ("poll", "provision")
        ),
        growing,
    ),
)

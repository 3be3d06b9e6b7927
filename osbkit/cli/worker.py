"""`osbkit worker`: runs operations, and serves nothing.

Any number of them, on any number of machines, on the database of the serving
processes; those may leave all work to them with OSBKIT_WORKER=none. A worker is
stopped by SIGTERM or Ctrl-C: its calls are asked to return, what has not ended is
handed to the next worker at once, and it leaves within `GRACE` seconds.

Exit status 3 when the start was refused.
"""

import asyncio
import contextlib
import signal
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from osbkit.cli.terminal import NOT_STARTED, Unusable, note
from osbkit.errors import StartRefused

if TYPE_CHECKING:
    from osbkit.broker import Broker

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def worker(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:ATTR",
            help="A Broker, or its FastAPI application: what `osbkit serve` takes.",
            show_default=False,
        ),
    ],
) -> None:
    """Run operations until SIGTERM or Ctrl-C."""
    import logging.config

    from osbkit.cli.loading import broker_behind, load
    from osbkit.cli.serve import log_config
    from osbkit.settings import Settings

    try:
        settings = Settings.from_environment()
        logging.config.dictConfig(log_config(settings.log_level, settings.log_format))
        broker = broker_behind(load(target), target)
        if broker is None:
            raise Unusable(f"{target} is neither a Broker nor the application of one.")
        _run(_work(broker))
    except StartRefused as refusal:
        note(str(refusal))
        raise typer.Exit(NOT_STARTED) from refusal


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop, where it can be installed."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)


async def _work(broker: "Broker") -> None:
    """Work until a signal comes; one that comes before the start is over ends it."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    starting = asyncio.current_task()
    assert starting is not None

    def stop() -> None:
        told.set()
        if not started:
            starting.cancel()

    started = False
    for one in SIGNALS:
        loop.add_signal_handler(one, stop)
    with contextlib.suppress(asyncio.CancelledError):
        async with broker.working() as engine:
            started = True
            await told.wait()
            engine.leave()

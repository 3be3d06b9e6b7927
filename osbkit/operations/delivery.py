"""The distributed engine's post: procrastinate brings the ids of what is due.

    unit of work ─ row nobody holds + job ─ COMMIT ─ NOTIFY ─► worker ─► Engine.deliver

A job carries an operation's id and nothing else, so a late, double or lost one does
no harm: `deliver` claims the row or does nothing, and a row whose job was lost is
found by the engine's own look at the table `OVERDUE` seconds later. For the same
reason no lock of procrastinate's is used, and none of its retries: our lease
serialises, and what a killed worker leaves behind is deleted by the housekeeping.

A job is held while its operation runs here, so a worker is brought no more than it
can run at a time. Units: seconds.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from osbkit.store.jobs import ARGUMENT, QUEUE, TASK
from osbkit.tasks import end
from osbkit.telemetry import log, trouble

POLLING = 0.1
"""Between two looks for jobs whose time has come. New ones come by NOTIFY, but
procrastinate misses one that arrives while it is looking; then this is the delay."""
CONNECT = 5.0
AGAIN = 2.0
"""Before it is begun anew, after the database was away."""
CONNECTIONS = 4


class Delivery:
    """Fetches jobs while it is open.

    Args:
        dsn: of the PostgreSQL database, as libpq takes it.
        deliver: is called with the id of an operation; returns when it needs
            nothing more of this process.
        concurrency: how many of them at a time.
    """

    def __init__(
        self,
        dsn: str,
        deliver: Callable[[str], Awaitable[None]],
        *,
        concurrency: int,
    ) -> None:
        self._dsn = dsn
        self._deliver = deliver
        self._concurrency = concurrency
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to fetch. Whether the database is there is its own business."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Fetch no more. What was fetched and is not done is brought to others."""
        await end(self._task, again=CONNECT)
        self._task = None

    async def _run(self) -> None:
        """Fetch; after trouble, begin anew."""
        while True:
            try:
                await self._fetch()
            except Exception as error:  # noqa: BLE001 (the database is away)
                log.warning("delivery.interrupted", again_in=AGAIN, **trouble(error))
            await asyncio.sleep(AGAIN)

    async def _fetch(self) -> None:
        app = self._app()
        async with app.open_async():
            await app.run_worker_async(
                queues=[QUEUE],
                concurrency=self._concurrency,
                fetch_job_polling_interval=POLLING,
                abort_job_polling_interval=3600.0,  # we abort no jobs
                shutdown_graceful_timeout=0.0,
                delete_jobs="always",
                install_signal_handlers=False,
            )

    def _app(self) -> Any:
        import procrastinate

        connector = procrastinate.PsycopgConnector(
            pool_factory=quick_pool,
            conninfo=self._dsn,
            kwargs={"connect_timeout": int(CONNECT), "application_name": "osbkit"},
            min_size=1,
            max_size=CONNECTIONS,
            timeout=CONNECT,
        )
        app = procrastinate.App(connector=connector)

        async def execute(**arguments: Any) -> None:
            await self._deliver(str(arguments[ARGUMENT]))

        app.task(name=TASK)(execute)
        return app


def quick_pool(**how: Any) -> Any:
    """A pool for single statements: no transaction around each, and no question
    beforehand whether the connection lives. One that does not is an interruption like
    any other."""
    from psycopg_pool import AsyncConnectionPool

    async def alone(connection: Any) -> None:
        await connection.set_autocommit(True)

    return AsyncConnectionPool(**how | {"check": None, "configure": alone})

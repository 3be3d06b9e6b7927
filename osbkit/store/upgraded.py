"""Waiting until somebody has run `osbkit db upgrade` on a server's database.

A process of the new version may be started before its schema is there: it waits, and
goes on by itself. A SQLite file needs none of this, its broker upgrades it.
"""

import asyncio

import sqlalchemy as sa

from osbkit.errors import DatabaseUnusable
from osbkit.store import migrate
from osbkit.store.address import Server
from osbkit.store.migrate import Found, Standing
from osbkit.telemetry import log

LOOK = 2.0
"""Seconds between two looks."""


async def look(server: Server) -> Found:
    """What a server's database says of its schema now.

    Raises:
        DatabaseUnusable: the server cannot be reached, or refuses us.
    """
    engine = server.engine(poolclass=sa.pool.NullPool)
    try:
        async with engine.connect() as db:
            return await db.run_sync(migrate.found_in)
    except Exception as error:
        # the driver's own errors, the system's: none is ours
        raise server.unreachable(error) from error
    finally:
        await engine.dispose()


async def is_behind(found: Found) -> bool:
    """Whether `osbkit db upgrade` has to be run before this version can serve.

    Raises:
        DatabaseUnusable: a newer version has taken away what this one needs.
    """
    # reads the files of the revisions, unless it is this version's
    standing = await asyncio.to_thread(lambda: found.standing)
    if standing is Standing.CONTRACTED:
        raise DatabaseUnusable(migrate.ahead(found.revision))
    return standing is Standing.BEHIND


async def until_upgraded(server: Server) -> None:
    """Return once the schema is there: at once, or when `osbkit db upgrade` has run.

    Logs one line when it begins to wait; a server that goes away then is waited for
    as well. Cancel it to stop waiting.

    Raises:
        DatabaseUnusable: the server cannot be reached at the first look, or a newer
            version has taken away what this one needs.
    """
    waits = False
    while True:
        try:
            found = await look(server)
        except DatabaseUnusable:
            if not waits:
                raise
        else:
            if not await is_behind(found):
                return
            if not waits:
                log.warning(
                    "schema.behind", found=found.revision, wanted=migrate.head()
                )
            waits = True
        await asyncio.sleep(LOOK)

"""One transaction on a database server, and what its errors mean.

what happened                               what is raised
deadlock, serialisation, lost before COMMIT Again: rolled back, may run again
no connection, time over, pool exhausted    Unavailable, nothing changed
the connection broke inside COMMIT          Unclear, and nobody knows
anything else                               itself; rolled back
"""

import contextlib
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from osbkit.errors import Unavailable
from osbkit.store.statements import begin, is_broken
from osbkit.store.writer import AWAY, Unit
from osbkit.telemetry import log, trouble

T = TypeVar("T")
AGAIN = frozenset({"40001", "40P01", 1213, 1020})
"""Serialisation fault and deadlock, as SQLSTATE or as MariaDB's number: the
transaction was rolled back, and would most likely succeed now."""
OURS = (sa.exc.ProgrammingError, sa.exc.DataError, sa.exc.NotSupportedError)
"""Faults of a statement, which no repetition mends."""


class Again(Exception):
    """The transaction is rolled back; it may run again."""


class Away(Unavailable):
    """There is no connection."""


class Unclear(Unavailable):
    """Nobody knows whether the COMMIT was carried out."""


async def transact(engine: AsyncEngine, unit: Unit[T]) -> T:
    """Run a unit in a transaction of its own. Raises: see the module."""
    connection = await connect(engine)
    try:
        return await connection.run_sync(_whole, unit)
    except Unclear:
        await drop(connection)
        raise
    except Exception as error:
        await _roll_back(connection)
        raise judged(error) from error
    finally:
        await give_back(connection)


def _whole(db: sa.Connection, unit: Unit[T]) -> T:
    """BEGIN, unit, COMMIT in one visit to the greenlet."""
    begin(db)
    result = unit(db)
    if is_broken(db):
        raise Again  # PostgreSQL would roll back on COMMIT, without an error
    try:
        db.commit()
    except Exception as error:
        if _code(error) in AGAIN:
            raise
        log.error("store.commit_unclear", **trouble(error))
        raise Unclear(AWAY) from error
    return result


async def connect(engine: AsyncEngine) -> AsyncConnection:
    """A connection of the pool. Raises Away."""
    try:
        return await engine.connect()
    except Exception as error:
        # the driver's own errors, the system's, the pool's: none is ours
        log.error("store.no_connection", **trouble(error))
        raise Away(AWAY) from error


def judged(error: Exception) -> Exception:
    """What an error inside a unit means: itself, Again, or Unavailable."""
    if isinstance(error, sa.exc.IntegrityError):
        return Again()  # a neighbour was first; the unit will see its row
    if isinstance(error, OURS):
        return error
    if isinstance(error, sa.exc.DBAPIError):
        if error.connection_invalidated or _code(error) in AGAIN:
            return Again()
        log.error("store.write_failed", **trouble(error))
        return Unavailable(AWAY)
    if isinstance(error, (TimeoutError, OSError, sa.exc.InvalidRequestError)):
        log.error("store.write_failed", **trouble(error))
        return Unavailable(AWAY)
    return error


def _code(error: BaseException) -> Any:
    """SQLSTATE, or MariaDB's number of an error."""
    orig = getattr(error, "orig", None)
    state = getattr(orig, "sqlstate", None)
    if state is not None:
        return state
    said = getattr(orig, "args", ())
    return said[0] if said else None


async def _roll_back(connection: AsyncConnection) -> None:
    try:
        await connection.rollback()
    except Exception as error:  # noqa: BLE001 (the server has rolled back, or will)
        log.warning("store.connection_lost", **trouble(error))
        await drop(connection)


async def drop(connection: AsyncConnection) -> None:
    """Never use a connection again of which nobody knows where it stands."""
    with contextlib.suppress(Exception):
        await connection.invalidate()


async def give_back(connection: AsyncConnection) -> None:
    """Return a connection to its pool."""
    try:
        await connection.close()
    except Exception as error:  # noqa: BLE001 (the pool makes another)
        log.warning("store.connection_lost", **trouble(error))

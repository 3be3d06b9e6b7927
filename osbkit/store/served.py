"""The catalog last served, and what lives on every plan.

The last catalog stands in `meta` as JSON: ids and names, nothing else. It is parted
into rows `catalog.0`, `catalog.1` …, because a text of MariaDB and MySQL holds
64 KiB. What is compared with it stands in `osbkit.catalog.guard`.
"""

import json
import sqlite3
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from osbkit.catalog.guard import LivePlan, Past, ServedPlan
from osbkit.errors import DatabaseUnusable
from osbkit.store import migrate
from osbkit.store.address import file_of, server_of
from osbkit.store.tables import bindings, instances, meta, operations
from osbkit.telemetry import log, trouble

FORMAT = 1
PART = 60_000
"""Characters of a row; all of them ASCII."""

PARTS = sa.select(meta.c.name, meta.c.value).where(meta.c.name.like("catalog.%"))
DROP = sa.delete(meta).where(meta.c.name.like("catalog.%"))
INSERT = sa.insert(meta)
PLAN = (
    instances.c.service_id,
    instances.c.offering,
    instances.c.plan_id,
    instances.c.plan,
    instances.c.backend,
)
LIVE = (
    sa.select(*PLAN, sa.func.count())
    .where(instances.c.ended_at.is_(None))
    .group_by(*PLAN)
    .order_by(instances.c.offering, instances.c.plan, instances.c.backend)
)
BOUND = (
    sa.select(*PLAN, sa.func.count())
    .join_from(bindings, instances, bindings.c.instance_id == instances.c.instance_id)
    .where(
        bindings.c.instance_generation == instances.c.generation,
        bindings.c.ended_at.is_(None),
        instances.c.ended_at.is_(None),
    )
    .group_by(*PLAN)
)
OPEN = sa.select(operations.c.backend).distinct().where(operations.c.ended_at.is_(None))


def past(db: sa.Connection) -> Past:
    """Everything that a new catalog is compared with.

    An instance lives until it has ended: failed creations live while something may
    be left of them, tombstones do not.
    """
    bound = {tuple(row[:5]): row[5] for row in db.execute(BOUND)}
    live = tuple(
        LivePlan(
            ServedPlan(*row[:4]),
            backend=row[4],
            instances=row[5],
            bindings=bound.get(tuple(row[:5]), 0),
        )
        for row in db.execute(LIVE)
    )
    open_ = db.execute(OPEN).scalars()
    busy = frozenset([*open_, *(one.backend for one in live)])
    return Past(last=last(db), live=live, busy=busy)


def last(db: sa.Connection) -> tuple[ServedPlan, ...] | None:
    """The catalog last served; None before the first.

    What a later version wrote in another way counts as None: then only what lives
    is compared.
    """
    parts = {row.name: row.value for row in db.execute(PARTS)}
    if not parts:
        return None
    text = "".join(parts[name] for name in sorted(parts, key=_number))
    try:
        kept = json.loads(text)
        if kept["format"] != FORMAT:
            raise ValueError("another format")
        return tuple(ServedPlan(*plan) for plan in kept["plans"])
    except (ValueError, KeyError, TypeError) as error:
        log.warning("catalog.past_unreadable", **trouble(error))
        return None


def keep(db: sa.Connection, plans: tuple[ServedPlan, ...]) -> None:
    """Remember a catalog that is served from now on."""
    if last(db) == plans:
        return
    text = json.dumps(
        {"format": FORMAT, "plans": [_fields(plan) for plan in plans]},
        separators=(",", ":"),
    )
    db.execute(DROP)
    starts = range(0, len(text), PART)
    db.execute(
        INSERT,
        [
            {"name": f"catalog.{part}", "value": text[start : start + PART]}
            for part, start in enumerate(starts)
        ],
    )


def look(url: str) -> Past | None:
    """The past in a database that a broker may be serving; None if there is none.

    Changes nothing, needs no keys and takes no lock.

    Raises:
        SettingsInvalid: no URL of a database that this version can use.
        DatabaseUnusable: the file cannot be read, its directory is not there, or it
            is at another schema.
    """
    server = server_of(url)
    if server is not None:
        return server.run(_past_of_this_schema)
    path = file_of(url)
    if not path.parent.is_dir():
        raise DatabaseUnusable(
            f"The directory {path.parent} of the SQLite file does not exist: is the"
            " URL of the database right?"
        )
    try:
        found = migrate.found_at(path)
        if not _is_ours(found):
            return None
        engine = sa.create_engine(
            "sqlite://", creator=partial(_to_read, path), poolclass=sa.pool.NullPool
        )
        with engine.connect() as db:
            return past(db)
    except (sa.exc.DBAPIError, sqlite3.Error) as error:
        raise DatabaseUnusable(
            f"The SQLite file {path} cannot be read; check its owner and its directory."
        ) from error


def _past_of_this_schema(db: sa.Connection) -> Past | None:
    return past(db) if _is_ours(migrate.found_in(db)) else None


def _is_ours(found: migrate.Found) -> bool:
    """Whether there is a database that this version can read; False for an empty one.

    Raises:
        DatabaseUnusable: it is at another schema.
    """
    if found.revision is None or found.served:
        return found.revision is not None
    raise DatabaseUnusable(
        f"The database is at schema {found.revision}; this version of osbkit works"
        f" with {migrate.head()}: run `osbkit db upgrade`."
    )


def _to_read(path: Path) -> sqlite3.Connection:
    """Opened to write, for a reader alone would leave -wal and -shm files behind."""
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=10)
    connection.execute("PRAGMA query_only=ON")
    return connection


def _fields(plan: ServedPlan) -> list[str]:
    return [plan.service_id, plan.offering, plan.plan_id, plan.plan]


def _number(name: str) -> int:
    return int(name.partition(".")[2])

"""Sealing again what another key sealed: after the first key of the ring changed.

A portion is a few rows of one table in the order of their keys; only the labels of
their values are looked at, and a value is replaced if it is still the one that was
read. So it may be broken off and begun anew at any moment, beside everything else.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from osbkit.store.sealing import KeyRing, ring_of
from osbkit.store.tables import SEALED, bindings, instances, operations

PORTION = 200


@dataclass(frozen=True, slots=True)
class Portion:
    """What a portion did.

    Attributes:
        sealed: values that were sealed again.
        last: the key of its last row, where the next one begins; None at the end.
    """

    sealed: int
    last: tuple[str, ...] | None


TABLES = (instances, bindings, operations)


def reseal(
    db: sa.Connection, table: sa.Table, after: tuple[str, ...] | None
) -> Portion:
    """Seal the old values of the rows that follow a key.

    Raises:
        DatabaseUnusable: no key of the ring opens a value.
    """
    ring = ring_of(db)
    keys = list(table.primary_key.columns)
    columns = [column for column in SEALED if column.table is table]
    uid = table.c.uid if "uid" in table.c else table.c.id
    wanted = sa.select(*keys, uid, *columns).order_by(*keys).limit(PORTION)
    if after is not None:
        wanted = wanted.where(sa.tuple_(*keys) > sa.tuple_(*map(sa.literal, after)))
    rows = db.execute(wanted).fetchall()
    sealed = 0
    for row in rows:
        values = dict(zip(columns, row[len(keys) + 1 :], strict=True))
        for column, old, new in _sealed_anew(ring, values, row[len(keys)]):
            change = (
                sa.update(table)
                .where(uid == row[len(keys)], column == old)
                .values({column: new})
            )
            sealed += db.execute(change).rowcount
    last = tuple(rows[-1][: len(keys)]) if len(rows) == PORTION else None
    return Portion(sealed, last)


def _sealed_anew(
    ring: KeyRing, values: dict[Any, bytes | None], uid: str
) -> Iterator[tuple[Any, bytes, bytes | None]]:
    for column, old in values.items():
        if old is not None and not ring.newest(old):
            place = f"{column.table.name}.{column.name}"
            yield column, old, ring.seal(ring.open(old, place, uid), place, uid)

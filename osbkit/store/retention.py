"""Forgetting what ended long ago, in portions: a table may hold millions of such rows,
and no transaction is to last for all of them."""

import sqlalchemy as sa

PORTION = 5_000


def drop(db: sa.Connection, table: sa.Table, before: int) -> int:
    """Delete rows that ended before a moment (microseconds), at most `PORTION`.

    Returns:
        how many; fewer than `PORTION` when none is left.
    """
    keys = list(table.primary_key.columns)
    old = sa.select(*keys).where(table.c.ended_at < before).limit(PORTION)
    found = [tuple(row) for row in db.execute(old)]
    if found:
        key = keys[0] if len(keys) == 1 else sa.tuple_(*keys)
        wanted = [one[0] for one in found] if len(keys) == 1 else found
        db.execute(sa.delete(table).where(key.in_(wanted)))
    return len(found)

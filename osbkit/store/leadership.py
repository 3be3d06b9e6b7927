"""Who does the housekeeping: one process at a time, by a lease in `meta`.

The value of the row is `until owner`: microseconds, and the id of a process. On a
store of one process nobody has to ask.
"""

import sqlalchemy as sa

from osbkit.store.rows import now
from osbkit.store.statements import IntegrityError
from osbkit.store.tables import meta

NAME = "housekeeper"
MINE = meta.c.name == NAME
FOUND = sa.select(meta.c.value).where(MINE).with_for_update()
TAKE = sa.update(meta).where(MINE).values(value=sa.bindparam("value_"))
INSERT = sa.insert(meta).values(name=NAME, value=sa.bindparam("value_"))
LEAVE = sa.delete(meta).where(MINE, meta.c.value == sa.bindparam("value_"))


def take(db: sa.Connection, owner: str, until: int) -> bool:
    """Be the housekeeper until a moment (microseconds), or go on being it.

    Returns:
        whether nobody else is.
    """
    value = {"value_": f"{until} {owner}"}
    found: str | None = db.execute(FOUND).scalar()
    if found is None:
        try:
            with db.begin_nested():
                db.execute(INSERT, value)
        except IntegrityError:
            return False  # another began at this moment
        return True
    lasts, _, holder = found.partition(" ")
    if holder != owner and int(lasts) > now():
        return False
    db.execute(TAKE, value)
    return True


def leave(db: sa.Connection, owner: str) -> None:
    """Let the next process take it at once."""
    found: str | None = db.execute(FOUND).scalar()
    if found is not None and found.partition(" ")[2] == owner:
        db.execute(LEAVE, {"value_": found})

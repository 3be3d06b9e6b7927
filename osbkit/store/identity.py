"""The facts of the database as a whole: broker id, proof of the keys."""

import secrets

import sqlalchemy as sa

from osbkit.errors import DatabaseUnusable
from osbkit.store.rows import now
from osbkit.store.sealing import ring_of
from osbkit.store.tables import meta

VALUE = sa.select(meta.c.value).where(meta.c.name == sa.bindparam("name_"))
TOUCH = (
    sa.update(meta)
    .where(meta.c.name == "touched")
    .values(value=sa.bindparam("moment_"))
)
PROVE = (
    sa.update(meta).where(meta.c.name == "keys").values(value=sa.bindparam("value_"))
)
PLACE = "meta.value"


def of_database(db: sa.Connection) -> str:
    """The broker id; made, with the proof of the keys, on the first call.

    Raises:
        DatabaseUnusable: the ring does not open what this database was sealed
            with.
    """
    found: str | None = db.execute(VALUE, {"name_": "broker_id"}).scalar()
    if found is not None:
        proof = db.execute(VALUE, {"name_": "keys"}).scalar()
        if proof is None:
            raise DatabaseUnusable(
                "The database has lost its proof of keys; restore it from a back-up."
            )
        ring_of(db).open(bytes.fromhex(proof), PLACE, "keys")
        return found
    broker_id = secrets.token_hex(16)
    proof = ring_of(db).seal({"broker_id": broker_id}, PLACE, "keys")
    db.execute(
        sa.insert(meta).values(  # one statement: the reader's connection autocommits
            [
                {"name": "broker_id", "value": broker_id},
                {"name": "keys", "value": (proof or b"").hex()},
            ]
        )
    )
    return broker_id


def reseal(db: sa.Connection) -> None:
    """Seal the proof of the keys with the first key of the ring.

    To be done last: until then the old key is needed, and a ring without it refused.
    """
    ring = ring_of(db)
    proof = bytes.fromhex(db.execute(VALUE, {"name_": "keys"}).scalar_one())
    if not ring.newest(proof):
        fresh = ring.seal(ring.open(proof, PLACE, "keys"), PLACE, "keys")
        db.execute(PROVE, {"value_": (fresh or b"").hex()})


def touch(db: sa.Connection) -> None:
    """Write this moment: shows that the database takes writes.

    A new value each time: SQLite writes no page for an update that changes nothing.
    """
    moment = str(now())
    touched = db.execute(TOUCH, {"moment_": moment}).rowcount == 1
    if not touched and db.execute(VALUE, {"name_": "touched"}).scalar() is None:
        db.execute(sa.insert(meta), {"name": "touched", "value": moment})

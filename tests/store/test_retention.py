"""What is forgotten, and when: operations after days, tombstones after ninety."""

from osbkit.domain import OperationState
from osbkit.lifecycle.housekeeping import TOMBSTONE_DAYS, forget
from osbkit.store import bindings, identity, instances, operations, retention
from tests.store.records import DAY, NOON, a_binding, an_instance, an_operation

EIGHT = 8 * DAY
LONG = TOMBSTONE_DAYS * DAY


def test_operations_and_tombstones_are_forgotten_in_their_time(db):
    for number, ended in ((1, NOON - EIGHT - 1), (2, NOON - EIGHT)):
        operations.add(db, an_operation(number))
        mine = operations.find(db, f"op-{number}")
        assert mine is not None
        operations.finish(db, mine, OperationState.SUCCEEDED, now=ended)
    for number, ended in ((1, NOON - LONG - 1), (2, NOON - LONG)):
        instances.add(db, an_instance(number, ended_at=ended))
        bindings.add(db, a_binding(number, ended_at=ended))

    assert forget(db, 8, moment=lambda: NOON) == 3

    assert operations.find(db, "op-1") is None
    assert operations.find(db, "op-2") is not None
    assert instances.find(db, "i-1") is None
    assert instances.find(db, "i-2") is not None
    assert bindings.find(db, "i-1", "b-1") is None
    assert bindings.find(db, "i-1", "b-2") is not None


def test_many_rows_are_forgotten_in_portions(db, monkeypatch):
    monkeypatch.setattr(retention, "PORTION", 2)
    for number in range(1, 6):
        bindings.add(db, a_binding(number, ended_at=NOON - LONG - 1))

    dropped = [forget(db, 8, moment=lambda: NOON) for _ in range(4)]

    assert dropped == [2, 2, 1, 0]


def test_nothing_that_lives_is_ever_forgotten(db):
    operations.add(db, an_operation(created_at=1))
    instances.add(db, an_instance(created_at=1))
    bindings.add(db, a_binding(created_at=1))

    assert forget(db, 0, moment=lambda: NOON + 1000 * LONG) == 0


def test_days_may_be_parts_of_days(db):
    operations.add(db, an_operation())
    mine = operations.find(db, "op-1")
    assert mine is not None
    operations.finish(db, mine, OperationState.SUCCEEDED, now=NOON)

    assert forget(db, 0.5, moment=lambda: NOON + DAY // 2) == 0
    assert forget(db, 0.5, moment=lambda: NOON + DAY // 2 + 1) == 1


def test_broker_id_and_proof_of_keys_are_made_together_and_kept(db, monkeypatch):
    made = identity.of_database(db)

    assert identity.of_database(db) == made
    names = {row[0] for row in db.exec_driver_sql("SELECT name FROM meta")}
    assert names >= {"broker_id", "keys"}


def test_sign_of_life_is_another_value_each_time(db, monkeypatch):
    identity.of_database(db)
    seen = set()
    for moment in (NOON, NOON + 1):
        monkeypatch.setattr(identity, "now", lambda m=moment: m)
        identity.touch(db)
        seen.add(db.exec_driver_sql("SELECT * FROM meta WHERE name = 'touched'").one())

    assert seen == {("touched", str(NOON)), ("touched", str(NOON + 1))}

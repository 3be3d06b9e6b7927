"""Core's statements by the driver itself: the same answers, or none."""

from typing import Any

import pytest
import sqlalchemy as sa

from osbkit.store import statements
from osbkit.store.statements import IntegrityError, booleans, run
from osbkit.store.tables import meta

INSERT = sa.insert(meta)
FIND = sa.select(meta.c.value).where(meta.c.name == sa.bindparam("name_"))
ALL = sa.select(meta.c.name).order_by(meta.c.name)
SET = (
    sa.update(meta)
    .where(meta.c.name == sa.bindparam("name_"))
    .values(value=sa.bindparam("value_"))
)
FIXED = sa.update(meta).where(meta.c.name == "a").values(value="fixed")


@pytest.fixture
def words(db: sa.Connection) -> sa.Connection:
    for name in "ab":
        run(db, INSERT, {"name": name, "value": name * 2})
    return db


def test_statement_finds_what_core_would_find(words):
    found = run(words, FIND, {"name_": "a"}).fetchall()

    assert found == [tuple(row) for row in words.execute(FIND, {"name_": "a"})]
    assert run(words, FIND, {"name_": "x"}).fetchone() is None
    assert {("a",), ("b",)} <= set(run(words, ALL).fetchall())


def test_values_go_to_their_places_whatever_their_order(words):
    done = run(words, SET, {"value_": "new", "name_": "a"})
    again = run(words, SET, {"name_": "b", "value_": "newer"})

    assert (done.rowcount, again.rowcount) == (1, 1)
    assert run(words, FIND, {"name_": "a"}).fetchone() == ("new",)
    assert run(words, FIND, {"name_": "b"}).fetchone() == ("newer",)


def test_values_that_stand_in_the_statement_are_kept(words):
    run(words, FIXED)

    assert run(words, FIND, {"name_": "a"}).fetchone() == ("fixed",)


def test_text_in_a_value_is_never_part_of_the_statement(words):
    hostile = "a' OR '1'='1"

    assert run(words, FIND, {"name_": hostile}).fetchone() is None
    before = run(words, ALL).fetchall()
    run(words, SET, {"name_": "a", "value_": "'); DROP TABLE meta; --"})
    assert run(words, ALL).fetchall() == before


def test_statement_without_a_value_it_needs_is_a_fault_of_ours(words):
    with pytest.raises((KeyError, sa.exc.StatementError), match="name_"):
        run(words, FIND)


def test_statement_is_compiled_once(words):
    before = len(statements._prepared)
    for name in "abc":
        run(words, FIND, {"name_": name})

    assert len(statements._prepared) <= before + 1


def test_key_that_is_taken_is_an_integrity_error(words):
    with pytest.raises(IntegrityError):
        run(words, INSERT, {"name": "a", "value": "again"})


def test_elsewhere_core_runs_the_statement():
    asked: list[Any] = []

    class Elsewhere:
        class dialect:
            driver = "psycopg"

        def execute(self, *given: Any) -> str:
            asked.append(given)
            return "a result"

    there: Any = Elsewhere()

    assert run(there, FIND, {"name_": "a"}) == "a result"
    assert asked == [(FIND, {"name_": "a"})]


def test_booleans_of_sqlite_become_true_and_false_and_null_stays():
    got: dict[str, Any] = {"a": 1, "b": 0, "c": None, "d": 7}

    booleans(got, ("a", "b", "c"))

    assert got == {"a": True, "b": False, "c": None, "d": 7}
    assert got["a"] is True

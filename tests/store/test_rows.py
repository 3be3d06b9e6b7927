"""What the statements of every table share: moments, ids, insert-or-ignore."""

import re
import time

import pytest
from sqlalchemy import URL

from osbkit.store import rows
from osbkit.store.entropy import BLOCK, Entropy
from osbkit.store.tables import bindings, instances


def test_moments_are_microseconds_of_this_clock():
    before = time.time()
    moment = rows.now()

    assert before - 1 <= moment / 1_000_000 <= time.time() + 1
    assert isinstance(moment, int)


def test_row_ids_are_32_hexadecimal_characters_and_never_the_same():
    made = [rows.new_uid() for _ in range(2000)]

    assert len(set(made)) == 2000
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in made)


def test_operation_ids_are_url_safe_and_never_the_same():
    made = [rows.new_operation_id() for _ in range(2000)]

    assert len(set(made)) == 2000
    assert all(re.fullmatch("[0-9a-v]{26}", one) for one in made)


def test_operation_ids_sort_by_the_millisecond_they_were_made_in(monkeypatch):
    made = []
    for milliseconds in (0, 1, 31, 32, 1_700_000_000_000, 2**48 - 1):
        monkeypatch.setattr(time, "time_ns", lambda m=milliseconds: m * 1_000_000)
        made.append(rows.new_operation_id())

    assert made == sorted(made)


WITHOUT_EFFECT = {
    "sqlite": "ON CONFLICT DO NOTHING",
    "postgresql": "ON CONFLICT DO NOTHING",
    "mysql": "ON DUPLICATE KEY UPDATE uid = {0}.uid",
    "mariadb": "ON DUPLICATE KEY UPDATE uid = {0}.uid",
}


@pytest.mark.parametrize("table", [bindings, instances], ids=lambda table: table.name)
@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_insert_of_a_taken_key_changes_nothing_and_forgives_nothing_else(name, table):
    """IGNORE would store values that are too long, cut."""
    dialect = URL.create(name).get_dialect()()

    statement = str(rows.insert_or_ignore(table)[name].compile(dialect=dialect))

    assert "IGNORE" not in statement
    assert statement.endswith(WITHOUT_EFFECT[name].format(table.name))


def test_no_byte_of_a_block_is_handed_out_twice():
    entropy = Entropy()
    pieces = [entropy.take(12) for _ in range(BLOCK)]

    assert len(set(pieces)) == BLOCK
    assert all(len(piece) == 12 for piece in pieces)


def test_forked_child_begins_a_block_of_its_own():
    entropy = Entropy()
    entropy.take(1)
    rest = entropy._block
    entropy.forget()

    assert entropy.take(16) not in rest

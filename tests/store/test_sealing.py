"""Encryption at rest: what opens, what does not, and what a refusal keeps quiet."""

import base64
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osbkit.errors import DatabaseUnusable, SettingsInvalid
from osbkit.store.sealing import KeyRing, canonical, new_key

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4)
    ),
    max_leaves=12,
)
RING = KeyRing({"now": os.urandom(32), "before": os.urandom(32)})
PLACE, UID = "instances.parameters", "0" * 32


def sealed(value: Any, ring: KeyRing = RING) -> bytes:
    """A sealed value that is one."""
    blob = ring.seal(value, PLACE, UID)
    assert blob is not None
    return blob


@given(JSON.filter(lambda value: value is not None and value != {}))
def test_value_comes_back_as_it_went_in(value):
    assert canonical(RING.open(sealed(value), PLACE, UID)) == canonical(value)


@pytest.mark.parametrize("nothing", [None, {}])
def test_nothing_is_stored_as_null(nothing):
    assert RING.seal(nothing, PLACE, UID) is None
    assert RING.open(None, PLACE, UID) is None


@pytest.mark.parametrize("something", [[], "", 0, False, {"a": None}])
def test_empty_values_that_are_not_nothing_are_kept(something):
    assert RING.open(sealed(something), PLACE, UID) == something


def test_sealed_value_holds_nothing_of_the_clear_text():
    blob = sealed({"password": "hunter2"})

    assert b"hunter2" not in blob
    assert b"password" not in blob


def test_same_value_is_sealed_differently_each_time():
    assert len({sealed({"a": 1}) for _ in range(200)}) == 200


@pytest.mark.parametrize(
    ("place", "uid"),
    [("instances.context", UID), (PLACE, "1" * 32), ("bindings.parameters", UID)],
)
def test_value_that_was_moved_to_another_place_or_row_does_not_open(place, uid):
    with pytest.raises(DatabaseUnusable, match="was changed from outside"):
        RING.open(sealed({"a": 1}), place, uid)


@given(st.data())
def test_value_with_one_bit_changed_does_not_open(data):
    blob = bytearray(sealed({"a": "some text that is long enough"}))
    position = data.draw(st.integers(0, len(blob) - 1))
    blob[position] ^= 1 << data.draw(st.integers(0, 7))

    with pytest.raises(DatabaseUnusable):
        RING.open(bytes(blob), PLACE, UID)


@given(st.integers(0, 60))
def test_value_that_was_cut_does_not_open(length):
    blob = sealed({"a": "some text that is long enough"})

    with pytest.raises(DatabaseUnusable):
        RING.open(blob[:length], PLACE, UID)


@given(st.binary(max_size=80))
def test_bytes_that_were_never_sealed_do_not_open(blob):
    with pytest.raises(DatabaseUnusable):
        RING.open(blob, PLACE, UID)


def test_first_key_seals_and_every_key_opens():
    old, new = os.urandom(32), os.urandom(32)
    before = KeyRing({"old": old})
    after = KeyRing({"new": new, "old": old})

    assert after.label == "new"
    assert after.open(sealed({"a": 1}, before), PLACE, UID) == {"a": 1}
    assert b"new" in sealed({"a": 1}, after)
    with pytest.raises(DatabaseUnusable, match="labelled 'new', which is not in"):
        before.open(sealed({"a": 1}, after), PLACE, UID)


def test_another_key_under_the_same_label_does_not_open():
    mine, other = KeyRing({"a": os.urandom(32)}), KeyRing({"a": os.urandom(32)})

    with pytest.raises(DatabaseUnusable, match="does not open with the key labelled"):
        other.open(sealed({"a": 1}, mine), PLACE, UID)


# --- reading a ring -----------------------------------------------------------------


def test_ring_is_read_from_text_in_order():
    text = f"new:{new_key()}, old:{new_key()},"

    ring = KeyRing.from_text(text)

    assert ring.label == "new"
    assert ring.open(sealed({"a": 1}, ring), PLACE, UID) == {"a": 1}


SHORT = base64.b64encode(b"x" * 31).decode()
LONG = base64.b64encode(b"x" * 33).decode()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", "holds no key", id="nothing"),
        pytest.param(",,", "holds no key", id="commas"),
        pytest.param("hunter2", "entry 1", id="no colon"),
        pytest.param(f":{new_key()}", "entry 1", id="no label"),
        pytest.param("a:hunter2", "entry 1", id="no base64"),
        pytest.param("a:", "entry 1", id="no key"),
        pytest.param(f"a:{SHORT}", "entry 1", id="31 bytes"),
        pytest.param(f"a:{LONG}", "entry 1", id="33 bytes"),
        pytest.param(f"ä:{new_key()}", "entry 1", id="a label not of ASCII"),
        pytest.param(f"{'l' * 33}:{new_key()}", "entry 1", id="a label too long"),
        pytest.param(f"a:{new_key()},b:hunter2", "entry 2", id="the second"),
        pytest.param(f"a:{new_key()},a:{new_key()}", "used twice", id="a label twice"),
    ],
)
def test_ring_that_cannot_be_used_names_the_entry_and_repeats_none_of_it(text, said):
    with pytest.raises(SettingsInvalid) as refused:
        KeyRing.from_text(text)

    message = str(refused.value)
    assert said in message
    assert "osbkit keys new" in message or said == "used twice"
    for part in text.replace(":", ",").split(","):
        assert len(part) < 5 or part not in message


# --- canonical JSON -----------------------------------------------------------------


def test_equal_values_have_equal_texts():
    assert canonical({"b": 1, "a": [1, "ü"]}) == '{"a":[1,"ü"],"b":1}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": object()}])
def test_what_json_does_not_have_has_no_text(value):
    with pytest.raises((ValueError, TypeError)):
        canonical(value)

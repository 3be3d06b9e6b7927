"""Ids written into a catalog's text: what is inserted, and that nothing else is."""

import json
import uuid
from itertools import count
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from osbkit.catalog import Catalog
from osbkit.catalog.ids import with_ids, write_ids
from osbkit.catalog.reading import parse_yaml
from osbkit.errors import CatalogInvalid


def numbered() -> Any:
    """Makes id-1, id-2 …"""
    numbers = count(1)
    return lambda: f"id-{next(numbers)}"


BLOCK = """\
# Ours.
services:

  # The queue.
  - name: queue          # as people type it
    description: 'A queue'
    bindable: true
    plans:
      - description: "Small"   # no id yet
        name: tiny

      # Kept.
      - id: 9ab59fbd-c9dc-4a92-9d87-2c798eef0de8
        name: large
        description: >-
          Large,
          very
  -
    # A comment before the first key.
    name: topic
    plans: [{name: wide, free: no}, {id: kept, name: deep}]
# The end.
"""
WITH_IDS = """\
# Ours.
services:

  # The queue.
  - id: id-1
    name: queue          # as people type it
    description: 'A queue'
    bindable: true
    plans:
      - id: id-2
        description: "Small"   # no id yet
        name: tiny

      # Kept.
      - id: 9ab59fbd-c9dc-4a92-9d87-2c798eef0de8
        name: large
        description: >-
          Large,
          very
  -
    # A comment before the first key.
    id: id-3
    name: topic
    plans: [{id: id-4, name: wide, free: no}, {id: kept, name: deep}]
# The end.
"""


def test_ids_are_inserted_and_nothing_else_is_touched():
    text, made = with_ids("catalog.yaml", BLOCK, numbered())

    assert text == WITH_IDS
    assert [(one.path, one.names, one.id) for one in made] == [
        ("services[0]", "queue", "id-1"),
        ("services[0].plans[0]", "queue/tiny", "id-2"),
        ("services[1]", "topic", "id-3"),
        ("services[1].plans[0]", "topic/wide", "id-4"),
    ]


def test_a_second_time_changes_nothing():
    assert with_ids("catalog.yaml", WITH_IDS, numbered()) == (WITH_IDS, [])


def test_an_id_that_is_made_is_a_random_guid():
    text, made = with_ids("catalog.yaml", BLOCK)

    assert {uuid.UUID(one.id).version for one in made} == {4}
    assert len({one.id for one in made}) == 4
    assert all(one.id in text for one in made)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            "services: [{name: a, plans: []}]",
            "services: [{id: id-1, name: a, plans: []}]",
            id="flow style",
        ),
        pytest.param("services: [{}]", "services: [{id: id-1}]", id="an empty object"),
        pytest.param(
            "services: [  &a   { } ]",
            "services: [  &a   {id: id-1 } ]",
            id="an empty object with an anchor",
        ),
        pytest.param(
            '{"services": [{"name": "a"}]}',
            '{"services": [{"id": "id-1", "name": "a"}]}',
            id="JSON on one line",
        ),
        pytest.param(
            '{"services": [\n  {\n    "name": "a"\n  }\n]}\n',
            '{"services": [\n  {\n    "id": "id-1",\n    "name": "a"\n  }\n]}\n',
            id="JSON in lines",
        ),
        pytest.param(
            '{"services": [{"id": null, "name": "a"}]}',
            '{"services": [{"id": "id-1", "name": "a"}]}',
            id="null in JSON",
        ),
        pytest.param(
            "services:\n- id:\n  name: a\n",
            "services:\n- id: id-1\n  name: a\n",
            id="a key without a value",
        ),
        pytest.param(
            "services:\n- id:   # to come\n  name: a\n",
            "services:\n- id: id-1   # to come\n  name: a\n",
            id="a key with a comment",
        ),
        pytest.param(
            "services:\n- name: a\n  id: ~ # none\n",
            "services:\n- name: a\n  id: id-1 # none\n",
            id="null",
        ),
        pytest.param(
            "services:\n- name: a\n  id: ''\n",
            "services:\n- name: a\n  id: id-1\n",
            id="an empty text",
        ),
        pytest.param(
            "services:\r\n- name: a\r\n  bindable: true\r\n",
            "services:\r\n- id: id-1\r\n  name: a\r\n  bindable: true\r\n",
            id="line ends of Windows",
        ),
        pytest.param(
            "\ufeffservices:\n- name: a\n",
            "\ufeffservices:\n- id: id-1\n  name: a\n",
            id="a byte order mark",
        ),
        pytest.param(
            "services:\n- name: ä𝄞 # ü\n- name: b",
            "services:\n- id: id-1\n  name: ä𝄞 # ü\n- id: id-2\n  name: b",
            id="letters beyond ASCII, and no last line end",
        ),
        pytest.param(
            "services:\n-   name: a\n    plans:\n    -  name: b\n",
            "services:\n-   id: id-1\n    name: a\n    plans:\n"
            "    -  id: id-2\n       name: b\n",
            id="wide indentation",
        ),
        pytest.param(
            "services:\n- &a\n  name: a\n",
            "services:\n- &a\n  id: id-1\n  name: a\n",
            id="an anchor of the object",
        ),
        pytest.param(
            "services:\n- &a name: a\n",
            "services:\n- id: id-1\n  &a name: a\n",
            id="an anchor of the first key",
        ),
        pytest.param(
            "services:\n- <<: {bindable: true}\n  name: a\n",
            "services:\n- id: id-1\n  <<: {bindable: true}\n  name: a\n",
            id="a merge first",
        ),
        pytest.param(
            "services:\n- &a\n  name: a\n- <<: *a\n  name: b\n",
            "services:\n- &a\n  id: id-1\n  name: a\n- id: id-2\n  <<: *a\n  name: b\n",
            id="a merge of what has no id itself",
        ),
        pytest.param(
            "services:\n- <<: {id: kept}\n  name: a\n",
            "services:\n- <<: {id: kept}\n  name: a\n",
            id="an id that is merged in",
        ),
        pytest.param(
            "services:\n- ? name\n  : a\n",
            None,
            id="an explicit key",
        ),
        pytest.param(
            "services:\n- name: a\n  plans: &p\n  - name: x\n- name: b\n  plans: *p\n",
            None,
            id="plans that two offerings share",
        ),
        pytest.param(
            "all: &all\n  services:\n  - name: a\n<<: *all\n",
            None,
            id="offerings that are merged in",
        ),
        pytest.param("services:\n", "services:\n", id="no offerings"),
        pytest.param("services: [5, null]", "services: [5, null]", id="no objects"),
        pytest.param("services: {a: b}", "services: {a: b}", id="no list"),
        pytest.param(
            "services: [{id: 5, plans: 7}]", "services: [{id: 5, plans: 7}]", id="types"
        ),
    ],
)
def test_an_id_finds_its_place_however_it_is_written(before, after):
    if after is None:
        with pytest.raises(CatalogInvalid) as refused:
            with_ids("catalog.yaml", before, numbered())
        assert "Write it by hand: id: id-1" in str(refused.value)
        return

    text, _ = with_ids("catalog.yaml", before, numbered())

    assert text == after


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("services: [", "is not YAML", id="no YAML"),
        pytest.param("", "is empty", id="empty"),
        pytest.param("services:\n- name: a\n  name: b\n", "stands twice", id="twice"),
    ],
)
def test_what_cannot_be_read_is_left_alone(text, words):
    with pytest.raises(CatalogInvalid, match=words):
        with_ids("catalog.yaml", text)


NAMES = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1
)
KEYS = st.text("aoxyÄ~<&*?-:# '\"", min_size=1)  # without digits: no key is a number
PLANS = st.fixed_dictionaries(
    {"name": NAMES},
    optional={
        "id": NAMES,
        "description": NAMES,
        "metadata": st.dictionaries(KEYS, NAMES),
    },
)
OFFERINGS = st.fixed_dictionaries(
    {"description": NAMES, "plans": st.lists(PLANS, max_size=3)},
    optional={"id": NAMES, "name": NAMES},
)


@given(
    services=st.lists(OFFERINGS, max_size=3),
    style=st.sampled_from([True, False, None]),
    indent=st.integers(2, 6),
    sort=st.booleans(),
    as_json=st.booleans(),
)
def test_every_catalog_says_the_same_afterwards_and_has_its_ids(
    services, style, indent, sort, as_json
):
    document = {"services": services}
    text = (
        json.dumps(document, indent=indent, ensure_ascii=False)
        if as_json
        else yaml.safe_dump(
            document,
            default_flow_style=style,
            indent=indent,
            sort_keys=sort,
            allow_unicode=True,
        )
    )
    before, _ = parse_yaml("before", text)

    after_text, made = with_ids("catalog.yaml", text, numbered())

    after, doubts = parse_yaml("after", after_text)
    things = [
        thing
        for offering in after["services"]
        for thing in (offering, *offering["plans"])
    ]
    new = {one.id for one in made}
    assert doubts == []
    assert all("id" in thing for thing in things)
    for thing in things:
        if thing["id"] in new:
            new.remove(thing["id"])
            del thing["id"]
    assert not new
    assert after == before
    assert with_ids("catalog.yaml", after_text) == (after_text, [])


def test_a_file_is_written_once_to_the_byte(tmp_path):
    path = tmp_path / "catalog.yaml"
    path.write_bytes("\ufeffservices:\r\n- name: ä\r\n  plans: []\r\n".encode())
    path.chmod(0o640)

    [made] = write_ids(path)
    written = path.read_bytes()
    path.chmod(0o440)
    again = write_ids(str(path))

    expected = f"\ufeffservices:\r\n- id: {made.id}\r\n  name: ä\r\n  plans: []\r\n"
    assert written == expected.encode()
    assert again == []
    assert path.read_bytes() == written


def test_what_was_given_ids_is_a_catalog(tmp_path):
    path = tmp_path / "catalog.yaml"
    path.write_text(
        "services:\n- name: queue\n  description: d\n  bindable: true\n"
        "  plans:\n  - name: tiny\n    description: d\n"
    )
    with pytest.raises(CatalogInvalid):
        Catalog.from_yaml(path)

    offering, plan = write_ids(path)

    catalog = Catalog.from_yaml(path)
    assert catalog.plan(offering.id, plan.id) is not None


def test_a_file_that_cannot_be_written_is_a_sentence(tmp_path, monkeypatch):
    path = tmp_path / "catalog.yaml"
    path.write_text("services:\n- name: a\n")

    def refuse(self: Any, data: bytes) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.write_bytes", refuse)

    with pytest.raises(CatalogInvalid, match="cannot be written: Permission denied"):
        write_ids(path)

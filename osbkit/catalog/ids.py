"""Ids for offerings and plans that have none, written into the catalog's file once.

Platforms know offerings and plans by nothing but their ids, so an id is made once
and committed with the file. Lines go in where the parser says that an object begins,
and nothing else is touched: comments, order, quotes and line ends stay, which no
writer of YAML keeps to the letter. The new text is read again; unless it says the
same as before and the ids, nothing is written.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from osbkit.catalog.findings import Finding, names_at
from osbkit.catalog.places import Place, spell
from osbkit.catalog.reading import BOM, nodes_of, parse_yaml, text_of
from osbkit.errors import CatalogInvalid


@dataclass(frozen=True, slots=True)
class Given:
    """An id that was made.

    Attributes:
        path: as `services[0].plans[1]`.
        names: `queue` or `queue/tiny`; empty where there is no name.
    """

    path: str
    names: str
    id: str


@dataclass(frozen=True, slots=True)
class _Edit:
    """Replace the characters from `start` to `end`."""

    start: int
    end: int
    text: str


def write_ids(path: str | Path) -> list[Given]:
    """Write ids into a file; what has one keeps it, and then nothing is written.

    Raises:
        CatalogInvalid: the file cannot be read or written, is no catalog, or has
            an object that shares its text with another.
    """
    text, given = with_ids(str(path), text_of(path))
    if given:
        try:
            Path(path).write_bytes(text.encode())
        except OSError as failure:
            reason = failure.strerror or type(failure).__name__
            finding = Finding(
                str(path), f"cannot be written: {reason}", "Mend its permissions."
            )
            raise CatalogInvalid([finding]) from failure
    return given


def with_ids(
    name: str, text: str, make: Callable[[], str] = lambda: str(uuid4())
) -> tuple[str, list[Given]]:
    """The text of a catalog with the ids that it lacks, and what they are.

    Args:
        name: what findings call the text.
        make: makes an id.

    Raises:
        CatalogInvalid: no YAML, keys that stand twice, or an object where no line
            can be inserted.
    """
    mark, body = (BOM, text[1:]) if text.startswith(BOM) else ("", text)
    document, doubts = parse_yaml(name, body)
    if doubts:
        raise CatalogInvalid(doubts)
    wanted: dict[str, Any] = json.loads(json.dumps(document))  # aliases parted
    made: dict[Place, str] = {}
    for place, thing in _without_id(wanted):
        made[place] = thing["id"] = make()
    given = [Given(spell(at), names_at(wanted, at), id_) for at, id_ in made.items()]
    if not given:
        return text, []
    edited = _edited(body, made)
    try:
        fits = edited is not None and parse_yaml(name, edited) == (wanted, [])
    except CatalogInvalid:
        fits = False
    if edited is None or not fits:
        raise CatalogInvalid([_by_hand(one) for one in given])
    return mark + edited, given


def _without_id(document: dict[str, Any]) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Offerings and plans whose id is missing, null or empty, in their order."""
    for place, offering in _objects(document, (), "services"):
        if offering.get("id") in (None, ""):
            yield place, offering
        for below, plan in _objects(offering, place, "plans"):
            if plan.get("id") in (None, ""):
                yield below, plan


def _objects(
    parent: dict[str, Any], place: Place, key: str
) -> Iterator[tuple[Place, dict[str, Any]]]:
    children = parent.get(key)
    for index, child in enumerate(children if isinstance(children, list) else ()):
        if isinstance(child, dict):
            yield (*place, key, index), child


def _by_hand(given: Given) -> Finding:
    return Finding(
        given.path,
        "has no id, and this file has a place where none can be inserted",
        f"Write it by hand: id: {given.id}",
        names=given.names,
    )


# --- the text -----------------------------------------------------------------------


def _edited(text: str, made: dict[Place, str]) -> str | None:
    """The text with the ids in it; None if a place is not in the text."""
    root = nodes_of(text)
    edits = []
    for place, id_ in made.items():
        node = _node(root, place)
        if node is None:
            return None
        edits.append(_edit(text, node, id_))
    for edit in sorted(edits, key=lambda one: one.start, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def _node(node: yaml.Node | None, place: Place) -> yaml.MappingNode | None:
    """The mapping at a place; None if it is not written there, but merged in."""
    for step in place:
        if isinstance(step, int):
            node = node.value[step] if isinstance(node, yaml.SequenceNode) else None
        else:
            node = _value(node, step)
    return node if isinstance(node, yaml.MappingNode) else None


def _value(node: yaml.Node | None, key: str) -> yaml.Node | None:
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return next((value for name, value in pairs if name.value == key), None)


def _edit(text: str, node: yaml.MappingNode, id_: str) -> _Edit:
    if not node.value:  # {}
        start = text.index("{", node.start_mark.index) + 1
        return _Edit(start, start, f"id: {id_}")
    quoted = node.flow_style and node.value[0][0].style == '"'
    there = _value(node, "id")
    if there is not None:
        start, end = there.start_mark.index, there.end_mark.index
        value = f'"{id_}"' if quoted else id_
        return _Edit(start, end, value if end > start else f" {value}")
    start = node.value[0][0].start_mark.index
    entry = f'"id": "{id_}"' if quoted else f"id: {id_}"
    return _Edit(start, start, entry + _before_next(text, start, node))


def _before_next(text: str, start: int, node: yaml.MappingNode) -> str:
    """What parts the new entry from the one that stands at `start`."""
    before = text[text.rfind("\n", 0, start) + 1 : start]
    end = "\r\n" if text[start:].partition("\n")[0].endswith("\r") else "\n"
    if not node.flow_style:
        return end + " " * len(before)
    return f",{end}{before}" if not before.strip() else ", "

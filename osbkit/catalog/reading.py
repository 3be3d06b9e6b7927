"""YAML text in, plain data out; nothing here knows what a catalog is.

Scalars are read as JSON would read them: `yes`, `no` and `on` are words,
`2024-01-01` is text, `010` is ten and `1:30` is no number. What YAML permits and
JSON does not (a key twice, a key that is no text, an alias into itself) is a
finding.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from osbkit.catalog.findings import Finding
from osbkit.catalog.places import Place, spell
from osbkit.errors import CatalogInvalid

BOM: Final = "\ufeff"
_TAG: Final = "tag:yaml.org,2002:"
_SCALARS: Final = (  # what a plain word is, by its first character
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", [*"tTfF"]),
    ("null", r"^(?:~|null|Null|NULL|)$", [*"~nN", ""]),
    ("int", r"^[-+]?[0-9]+$", [*"-+0123456789"]),
    (
        "float",
        r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$",
        [*"-+.0123456789"],
    ),
    ("merge", r"^<<$", ["<"]),
)

_Fastest: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Reader(_Fastest):  # type: ignore[misc]  # the C parser where there is one
    """A safe loader that takes only JSON's own scalars for what they look like."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  PyYAML's own shape


def _mapping(loader: Any, node: yaml.MappingNode) -> Any:
    return loader.construct_mapping(node, deep=True)  # refuses an alias into itself


for _name, _pattern, _first in _SCALARS:
    _Reader.add_implicit_resolver(_TAG + _name, re.compile(_pattern), _first)
_Reader.add_constructor(_TAG + "int", lambda _, node: int(node.value))
_Reader.add_constructor(_TAG + "float", lambda _, node: float(node.value))
_Reader.add_constructor(_TAG + "map", _mapping)


def read_yaml(path: str | Path) -> tuple[dict[str, Any], list[Finding]]:
    """Read one YAML (or JSON) document that is an object.

    Returns:
        The data, and what is wrong with its keys: one that stands twice (the data
        has the last of them), one that is no text.

    Raises:
        CatalogInvalid: the file cannot be read, is not UTF-8, not YAML, holds
            several documents, is empty or no object.
    """
    name = str(path)
    return parse_yaml(name, text_of(path).removeprefix(BOM))


def parse_yaml(name: str, text: str) -> tuple[dict[str, Any], list[Finding]]:
    """The same of a text; `name` is how findings call it."""
    try:
        return _document(name, _Reader(text))
    except yaml.MarkedYAMLError as failure:
        raise CatalogInvalid([_stumbled(name, failure)]) from failure
    except (yaml.YAMLError, ValueError, RecursionError) as failure:
        finding = Finding(name, "is not YAML that can be read", "Mend its syntax.")
        raise CatalogInvalid([finding]) from failure


def nodes_of(text: str) -> yaml.Node | None:
    """What `parse_yaml` reads, as nodes that know where they stand in the text."""
    reader: Any = _Reader(text)
    try:
        root: yaml.Node | None = reader.get_single_node()
    finally:
        reader.dispose()
    return root


def text_of(path: str | Path) -> str:
    """A file to the letter, byte order mark included.

    Raises:
        CatalogInvalid: the file cannot be read, or is not UTF-8.
    """
    name = str(path)
    try:
        return Path(path).read_bytes().decode()
    except OSError as failure:
        reason = failure.strerror or type(failure).__name__
        finding = Finding(
            name,
            f"cannot be read: {reason}",
            "Write a catalog there, or name its file.",
        )
        raise CatalogInvalid([finding]) from failure
    except UnicodeDecodeError as failure:
        problem = f"is not UTF-8 (byte {failure.start})"
        finding = Finding(name, problem, "Save the file as UTF-8.")
        raise CatalogInvalid([finding]) from failure


def _document(name: str, reader: Any) -> tuple[dict[str, Any], list[Finding]]:
    try:
        root = reader.get_single_node()
        doubts = list(_doubts(root, (), ()))
        data = None if root is None else reader.construct_document(root)
    finally:
        reader.dispose()
    if not isinstance(data, dict):
        problem = "is empty" if data is None else "is not an object"
        raise CatalogInvalid([Finding(name, problem, "Begin with `services:`.")])
    return {key: data[key] for key in data if isinstance(key, str)}, doubts


def _doubts(
    node: yaml.Node | None, place: Place, above: tuple[yaml.Node, ...]
) -> Iterator[Finding]:
    """Keys that stand twice or are no text; they vanish when the data is made."""
    if node is None or node in above:  # an alias into itself: refused when constructed
        return
    above = (*above, node)
    if isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            yield from _doubts(child, (*place, index), above)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, child in node.value:
            line = key.start_mark.line + 1
            if key.tag == _TAG + "merge":
                continue
            if not isinstance(key, yaml.ScalarNode) or key.tag != _TAG + "str":
                yield Finding(
                    spell(place) or "catalog",
                    f"the key in line {line} is not text",
                    "Write it in quotes.",
                )
                continue
            here = (*place, key.value)
            if key.value in lines:
                yield Finding(
                    spell(here),
                    f"stands twice, in lines {lines[key.value]} and {line}",
                    "Leave one of them out.",
                )
            lines[key.value] = line
            yield from _doubts(child, here, above)


def _stumbled(name: str, failure: yaml.MarkedYAMLError) -> Finding:
    mark = failure.problem_mark or failure.context_mark
    where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
    problem = failure.problem or failure.context or "the syntax is wrong"
    return Finding(where, f"is not YAML: {problem}", "Mend the syntax there.")

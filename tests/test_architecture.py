"""Imports point one way: a room knows only the rooms further along.

Typing-only imports and imports inside functions count as well.
"""

import ast
from pathlib import Path

import osbkit

ROOMS = (
    ("cli",),
    ("broker",),
    ("api",),
    ("lifecycle",),
    ("operations",),
    ("backends", "store"),
    ("catalog",),
    ("domain",),
    ("errors", "tasks", "telemetry", "settings", "version"),
)
DEPTH = {room: depth for depth, rooms in enumerate(ROOMS) for room in rooms}
ROOT = "broker"
APART = {"conformance"}
"""Stands by itself: tests/kit holds what it may import."""
SIDE_BY_SIDE = {
    ("settings", "errors"),  # a refused setting is a refused start
}
PACKAGE = Path(osbkit.__file__).parent


def imports_of(path: Path) -> set[str]:
    """The rooms of osbkit that a file imports, wherever it says so."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports by a relative name"
            module = node.module or ""
            found |= (
                {f"osbkit.{alias.name}" for alias in node.names}
                if module == "osbkit"
                else {module}
            )
    rooms = {name.split(".")[1] for name in found if name.startswith("osbkit.")}
    # any other name of the package comes from what the package root imports: all of it
    return {room if room in DEPTH else ROOT for room in rooms - APART}


def wrong_ways(package: Path) -> list[str]:
    """Every import that points backwards, or beside."""
    found = []
    for path in sorted(package.rglob("*.py")):
        room = path.relative_to(package).parts[0].removesuffix(".py")
        if room not in DEPTH:
            continue
        for other in imports_of(path) - {room}:
            if DEPTH[other] <= DEPTH[room] and (room, other) not in SIDE_BY_SIDE:
                found.append(f"{path.relative_to(package)} imports {other}")
    return found


def test_imports_point_one_way():
    assert wrong_ways(PACKAGE) == []


def test_an_import_that_points_backwards_is_found(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "rows.py").write_text(
        "def late():\n    from osbkit.api import answers\n    return answers\n"
    )

    assert wrong_ways(tmp_path) == ["store/rows.py imports api"]


def test_an_import_through_the_package_root_is_found(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "rows.py").write_text("from osbkit import Broker\n")

    assert wrong_ways(tmp_path) == ["store/rows.py imports broker"]

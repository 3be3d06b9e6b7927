"""The kit stands alone: it imports nothing of osbkit but itself.

What it may use besides is the standard library, httpx, jsonschema and rich; imports
inside functions and for typing count as well.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from osbkit import conformance

KIT = Path(conformance.__file__).parent
ALLOWED = {*sys.stdlib_module_names, "httpx", "jsonschema", "rich"}


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever it says so."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports by a relative name"
            module = node.module or ""
            if module == "osbkit":
                yield from (f"osbkit.{alias.name}" for alias in node.names)
            else:
                yield module


def strangers(folder: Path) -> list[str]:
    """Every import that the kit must not make."""
    return [
        f"{path.relative_to(folder)} imports {name}"
        for path in sorted(folder.rglob("*.py"))
        for name in imported(path)
        if not f"{name}.".startswith("osbkit.conformance.")
        and name.partition(".")[0] not in ALLOWED
    ]


def test_the_kit_imports_nothing_of_osbkit_but_itself():
    assert strangers(KIT) == []


def test_an_import_of_osbkits_models_is_found(tmp_path):
    (tmp_path / "late.py").write_text(
        "def late():\n"
        "    from osbkit import domain\n"
        "    from osbkit.api import wire\n"
        "    import pydantic\n"
        "    from osbkit.conformance import wants\n"
        "    return domain, wire, pydantic, wants\n"
    )

    assert strangers(tmp_path) == [
        "late.py imports osbkit.domain",
        "late.py imports osbkit.api",
        "late.py imports pydantic",
    ]

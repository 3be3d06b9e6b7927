"""Which requirements the tests of osbkit name.

    named_in(source, "tests.api.test_wire")      by those of one module
    named_below(folder)                          by those of all modules

A test names an ID in its docstring, in its decorators (a parametrization, also one
that the module keeps under a name), or in a comment of its own. An ID in the text of a
helper, of the module or of a body's strings is named by no test: nothing there has to
run. A test that is skipped or expected to fail names nothing, either.

Not told here is whether pytest finds the test; `test_coverage.py` asks it.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parent.parent
ID = r"[A-Z]+-\d\d"
SPAN = re.compile(rf"\b({ID})(?:\s+to\s+({ID}))?\b")
IDLE = re.compile(r"\bpytest\.(?:mark\.)?(?:skip|skipif|xfail|importorskip)\b")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Naming:
    """One test function, and the IDs that it names.

    Attributes:
        place: `module:function`, with the class before the function if it has one.
    """

    place: str
    ids: frozenset[str]


def named_below(below: Path = TESTS) -> list[Naming]:
    """Those of every module that pytest would look into."""
    found: list[Naming] = []
    for file in sorted(below.rglob("test_*.py")):
        parts = file.relative_to(below.parent).with_suffix("").parts
        found += named_in(file.read_text(), ".".join(parts))
    return found


def named_in(source: str, module: str) -> list[Naming]:
    """Those of one module that run."""
    tree = ast.parse(source)
    texts = _Texts(source, tree)
    if IDLE.search(texts.kept.get("pytestmark", "")):
        return []
    last = dict(_functions(tree))
    return [
        Naming(f"{module}:{name}", frozenset(ids_in(texts.said_by(function))))
        for name, function in last.items()
        if not IDLE.search(texts.code_of(function))
    ]


def ids_in(text: str) -> Iterator[str]:
    """Every ID of a text; `A-02 to A-05` names four."""
    for first, last in SPAN.findall(text):
        family, number = first.split("-")
        same = last.startswith(f"{family}-")
        until = int(last.split("-")[1]) if same else int(number)
        yield from (f"{family}-{each:02}" for each in range(int(number), until + 1))
        if last and not same:
            yield last


def _functions(tree: ast.Module) -> Iterator[tuple[str, Function]]:
    """Test functions by name, those of test classes as well."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            yield from ((f"{node.name}.{name}", each) for name, each in _of(node.body))
    yield from _of(tree.body)


def _of(body: Iterable[ast.stmt]) -> Iterator[tuple[str, Function]]:
    for node in body:
        if isinstance(node, Function) and node.name.startswith("test"):
            yield node.name, node


class _Texts:
    """The words of a module, by where they stand."""

    def __init__(self, source: str, tree: ast.Module) -> None:
        self._lines = [line.encode() for line in source.splitlines(keepends=True)]
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        self._comments = {
            token.start[0]: token.string
            for token in tokens
            if token.type == tokenize.COMMENT
        }
        self.kept: Mapping[str, str] = {
            target.id: self._text(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }

    def said_by(self, function: Function) -> str:
        """Docstring, decorators and comments of a test."""
        within = range(_first_line(function), (function.end_lineno or 0) + 1)
        comments = [self._comments[line] for line in within if line in self._comments]
        decorators = self._decorators(function)
        return "\n".join([ast.get_docstring(function) or "", *decorators, *comments])

    def code_of(self, function: Function) -> str:
        """What runs: decorators and body without its docstring."""
        begins = 1 if ast.get_docstring(function) is not None else 0
        body = [self._text(node) for node in function.body[begins:]]
        return "\n".join([*self._decorators(function), *body])

    def _decorators(self, function: Function) -> list[str]:
        """Their text, and that of what they call by a name of the module."""
        found = [self._text(each) for each in function.decorator_list]
        names = {
            node.id
            for each in function.decorator_list
            for node in ast.walk(each)
            if isinstance(node, ast.Name)
        }
        return found + [self.kept[name] for name in sorted(names & self.kept.keys())]

    def _text(self, node: ast.expr | ast.stmt) -> str:
        """As it stands in the source; `ast` counts columns in bytes."""
        first, last = node.lineno - 1, node.end_lineno or node.lineno
        lines = self._lines[first:last]
        lines[-1] = lines[-1][: node.end_col_offset]
        lines[0] = lines[0][node.col_offset :]
        return b"".join(lines).decode()


def _first_line(function: Function) -> int:
    return min([function.lineno, *(each.lineno for each in function.decorator_list)])

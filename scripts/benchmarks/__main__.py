"""`scripts/bench`: measure, print, judge.

Exit status: 0 every budget is kept, 1 one is missed, 2 it could not be measured.
"""

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from scripts.benchmarks import databases, operations, scenes
from scripts.benchmarks.processes import CannotMeasure
from scripts.benchmarks.report import Line, document, missed
from scripts.benchmarks.scenes import Scene

SCENES = (*scenes.SCENES, *operations.SCENES)


def main() -> int:
    """Run what the arguments name."""
    asked = arguments()
    asked_for = [scene for scene in SCENES if chosen(scene, asked.name, asked.large)]
    if not asked_for:
        print(f"bench: no line is called like {' or '.join(asked.name)}.",
              file=sys.stderr)  # fmt: skip
        return 2
    lines: list[Line] = []
    try:
        for scene in asked_for:
            if not asked.name and left_out(scene):
                continue
            for line in measured(scene, asked.name):
                lines.append(line)
                if not asked.json:
                    print(line.text(), flush=True)
    except CannotMeasure as trouble:
        print(f"bench: {trouble}", file=sys.stderr)
        return 2
    if asked.json:
        print(document(lines, machine()))
    late = missed(lines)
    if late:
        print(f"bench: over budget: {', '.join(late)}", file=sys.stderr)
    return 1 if late else 0


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Speed and memory of osbkit on this machine, against budgets.",
    )
    parser.add_argument(
        "name", nargs="*", help="only lines whose name contains one of these"
    )
    parser.add_argument(
        "--large",
        action="store_true",
        help="also with millions of rows; fills a database for minutes",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")
    return parser.parse_args()


def chosen(scene: Scene, wanted: list[str], large: bool) -> bool:
    """Whether a scene has a line that is wanted."""
    if scene.large and not large:
        return False
    return any(is_wanted(name, wanted) for name in scene.names)


def left_out(scene: Scene) -> bool:
    """Whether a scene needs what is not installed; says so."""
    missing = [kind for kind in scene.needs if not databases.is_installed(kind)]
    if missing:
        print(f"bench: without {', '.join(missing)}, no {scene.names[0]}.",
              file=sys.stderr)  # fmt: skip
    return bool(missing)


def is_wanted(name: str, wanted: list[str]) -> bool:
    """Whether a line is wanted: all are, where nothing is named."""
    return not wanted or any(part.lower() in name.lower() for part in wanted)


def measured(scene: Scene, wanted: list[str]) -> Iterator[Line]:
    """Run a scene in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="osbkit-bench-") as directory:
        for line in scene.run(Path(directory)):
            if is_wanted(line.name, wanted):
                yield line


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


if __name__ == "__main__":
    sys.exit(main())

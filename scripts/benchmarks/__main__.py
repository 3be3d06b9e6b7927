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

from scripts.benchmarks.processes import CannotMeasure
from scripts.benchmarks.report import Line, document, missed
from scripts.benchmarks.scenes import SCENES, Scene


def main() -> int:
    """Run what the arguments name."""
    asked = arguments()
    scenes = [scene for scene in SCENES if chosen(scene, asked.name)]
    if not scenes:
        print(f"bench: no line is called like {' or '.join(asked.name)}.",
              file=sys.stderr)  # fmt: skip
        return 2
    lines: list[Line] = []
    try:
        for scene in scenes:
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
    parser.add_argument("--json", action="store_true", help="one JSON document")
    return parser.parse_args()


def chosen(scene: Scene, wanted: list[str]) -> bool:
    """Whether a scene has a line that is wanted."""
    return any(is_wanted(name, wanted) for name in scene.names)


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

"""Building the distributions, and clean environments to install them into.

Everything is made without a network: the build backend is the one of the lock, and
a clean environment sees the dependencies of the running one through a .pth file.
Such a file's directory is searched after the environment's own, and the .pth files
inside it are not read, so the checkout under test is out of its sight.
"""

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout under test."""


def run(
    command: Sequence[str | Path], *, cwd: Path, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run to the end with a bare environment; the caller judges the exit status."""
    bare = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(cwd)}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=bare | environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def succeed(command: Sequence[str | Path], *, cwd: Path, **environ: str) -> str:
    """Run, require exit status 0, and return what was printed."""
    done = run(command, cwd=cwd, **environ)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def listed(*arguments: str) -> list[Path]:
    """Paths of `git ls-files`, relative to the root; those that exist."""
    names = succeed(["git", "ls-files", "-z", *arguments], cwd=ROOT).split("\0")
    return [Path(name) for name in names if name and (ROOT / name).is_file()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A virtual environment, and a directory to work in that holds no checkout."""

    path: Path
    work: Path

    def command(self, name: str) -> Path:
        return self.path / "bin" / name

    def osbkit(self, *arguments: str, **environ: str) -> str:
        """Run its `osbkit`; return what was printed."""
        return succeed([self.command("osbkit"), *arguments], cwd=self.work, **environ)

    def python(self, code: str, **environ: str) -> str:
        """Run a line of Python in it; return what was printed."""
        command: list[str | Path] = [self.command("python"), "-c", code]
        return succeed(command, cwd=self.work, **environ).strip()

    def install(self, *arguments: str | Path) -> None:
        """Install into it, without dependencies and without an index."""
        pip: list[str | Path]
        pip = [sys.executable, "-m", "pip", "--python", self.command("python")]
        flags = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
        succeed([*pip, "install", *flags, *arguments], cwd=self.work)


def clean_environment(place: Path) -> Environment:
    """A new environment with the dependencies of this one, and without osbkit."""
    path, work = place / "venv", place / "work"
    work.mkdir(parents=True)
    venv.create(path, with_pip=False, symlinks=True)
    site = Path(sysconfig.get_path("purelib", "venv", vars={"base": str(path)}))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Environment(path=path, work=work)


def build(kind: str, sources: Path, place: Path) -> Path:
    """Build the `sdist` or the `wheel` of a tree with the installed hatchling."""
    succeed(
        [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", place],
        cwd=sources,
    )
    (made,) = place.iterdir()
    return made

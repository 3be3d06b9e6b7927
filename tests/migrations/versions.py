"""Versions of osbkit in processes of their own: this one, and those that are kept.

    old = Version("0.1.0", tmp_path, url)      unpacked from its wheel
    new = Version(TODAY, tmp_path, url)        this checkout
    old.start()                                as `tests.flows.crash.server.Server`

All of them serve `tests.migrations.served`, which uses what every version has: public
names. Those in one folder share the cloud; those with one URL, the database.
"""

import base64
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import httpx
import sqlalchemy as sa

from osbkit.store.address import file_of, server_of
from tests.flows.crash.server import ROOT, TARGET, Server
from tests.migrations.past import FIXTURES

TODAY = "today"
KEPT = sorted(path.parent.name for path in FIXTURES.glob("*/osbkit-*.whl"))
"""The versions whose wheels are kept."""
KEYS = "test:" + base64.b64encode(bytes(range(32))).decode()


class Version(Server):
    """See the module.

    Args:
        version: one of KEPT, or TODAY.
        folder: where the cloud is, and what the process leaves.
        url: of the database.
    """

    def __init__(self, version: str, folder: Path, url: str) -> None:
        super().__init__(folder, "osbkit serve")
        self.version = version
        self.log = folder / f"{version}.log"
        self.database = url
        self.cwd = folder  # Python looks there first, so not where today's code is
        self._code = [ROOT] if version == TODAY else [unpacked(version, folder), ROOT]

    def _command(self) -> list[str]:
        served = "tests.migrations.served:app"
        return [served if word == TARGET else word for word in super()._command()]

    def alive(self) -> bool:
        """What `/health/live` says."""
        try:
            return self.http.get(f"{self.url}/health/live").status_code == 200
        except httpx.TransportError:
            return False

    def _environment(self) -> Mapping[str, str]:
        return {
            **super()._environment(),
            "PYTHONPATH": ":".join(map(str, self._code)),
            "OSBKIT_DATABASE_URL": self.database,
            "OSBKIT_ENCRYPTION_KEYS": KEYS,
        }

    def upgrade_database(self) -> None:
        """Its `osbkit db upgrade`."""
        program = "from osbkit.cli import main; main()"
        subprocess.run(
            [sys.executable, "-c", program, "db", "upgrade"],
            cwd=self.cwd,
            env=self._environment(),
            check=True,
            capture_output=True,
        )


def unpacked(version: str, folder: Path) -> Path:
    """Where the code of a kept version is, with its migrations."""
    place = folder / f"osbkit-{version}"
    if not place.exists():
        (wheel,) = (FIXTURES / version).glob("osbkit-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(place)
    return place


def recorded(url: str, operation: str | None = None) -> set[str]:
    """Which versions recorded the operations, or one of them."""
    statement = "SELECT version FROM operations"
    if operation is not None:
        statement += f" WHERE id = '{operation}'"

    def ask(db: sa.Connection) -> set[str]:
        return set(db.execute(sa.text(statement)).scalars())

    server = server_of(url)
    if server is not None:
        return server.run(ask)
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(file_of(url))))
    with engine.connect() as db:
        found = ask(db)
    engine.dispose()
    return found

"""A PostgreSQL server of the run's own, which loses no commit when it is killed.

It is not asked to survive the machine: a process that is stopped needs no fsync.
"""

import os
import signal
import subprocess

from tests.servers import PostgresServer

PATIENCE = 20.0


class Database(PostgresServer):
    """See the module."""

    def __init__(self) -> None:
        super().__init__(durable=True)

    def command(self) -> list[str]:
        return [*super().command(), "--fsync=off"]

    def crash(self) -> None:
        """Stop it as it stands: no checkpoint, no farewell."""
        process = self._process
        assert process is not None
        process.send_signal(signal.SIGQUIT)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # its session is its own
            process.wait(PATIENCE)
        self._process = None

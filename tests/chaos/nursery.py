"""Where processes of the broker come from: forked from one that has imported all.

    python -m tests.chaos.nursery

Starting `osbkit serve` takes a second of CPU, most of it imports; a run that kills a
process every few seconds would measure little else. A line in, `{"argv", "env",
"log"}`, forks a child that runs the command line's `main` with that environment, and
a line out tells its pid; another, `{"pid", "ended"}`, that it has ended. The author's
module is imported in the child. When standard input ends, every child is killed.
"""

import importlib
import json
import os
import signal
import sys
from typing import Any, NoReturn

READY_MADE = (
    "asyncpg",
    "psycopg",
    "uvicorn",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.lifespan.on",
    "uvloop",
    "osbkit",
    "osbkit.broker",
    "osbkit.cli",
    "osbkit.cli.loading",
    "osbkit.cli.serve",
    "osbkit.cli.worker",
    "osbkit.operations.delivery",
    "procrastinate",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.sqlite",
    "tests.chaos.backend",
    "tests.chaos.offers",
    "tests.chaos.plants",
    "tests.chaos.scale",
)


def become(order: dict[str, Any]) -> NoReturn:
    """In the child: run the command."""
    os.setsid()
    for handled in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
        signal.signal(handled, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    null = os.open(os.devnull, os.O_RDONLY)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.clear()
    os.environ.update(order["env"])
    sys.argv = ["osbkit", *order["argv"]]
    os.closerange(3, 256)
    status = 1
    try:
        from osbkit.cli import main

        main()
        status = 0
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 1
    finally:
        sys.stderr.flush()
        os._exit(status)


def tell(**said: Any) -> None:
    """One line out."""
    os.write(1, json.dumps(said).encode() + b"\n")


def serve() -> None:
    """Fork at every line; reap whenever one ends. No event loop: children inherit."""
    for name in READY_MADE:
        importlib.import_module(name)
    children: set[int] = set()

    def reap(*_: Any) -> None:
        while children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            children.discard(pid)
            tell(pid=pid, ended=status)

    signal.signal(signal.SIGCHLD, reap)
    tell(ready=True)
    for line in sys.stdin:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        pid = os.fork()
        if pid == 0:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            become(json.loads(line))
        children.add(pid)
        tell(pid=pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for pid in children:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    serve()

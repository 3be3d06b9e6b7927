"""The jobs of the distributed engine: ids of operations that nobody holds.

A job is a row of procrastinate's, made in the transaction that lets go of an
operation or records it unclaimed; so there is never one without the other. It says
only whom to wake: what is to be done stands in `operations`, and a job too many is
a claim that finds nothing. Made and deleted here, fetched by `operations.delivery`.

On a store without procrastinate's tables (`osbkit_jobs` unset) nothing is made.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from osbkit.store.statements import run
from osbkit.store.tables import operations

QUEUE = "osbkit"
TASK = "osbkit.execute"
ARGUMENT = "operation_id"

DEFER = sa.text(
    "SELECT procrastinate_defer_jobs_v1(ARRAY[ROW("
    f"'{QUEUE}', '{TASK}', 0, NULL, NULL,"
    f" jsonb_build_object('{ARGUMENT}', CAST(:id_ AS text)),"
    " to_timestamp(CAST(:at_ AS double precision) / 1000000)"
    ")::procrastinate_job_to_defer_v1])"
).bindparams(sa.bindparam("id_", type_=sa.String), sa.bindparam("at_", type_=sa.Float))
_job = sa.table(
    "procrastinate_jobs",
    sa.column("queue_name"),
    sa.column("args", postgresql.JSONB),
)
OVER = sa.delete(_job).where(
    _job.c.queue_name == QUEUE,
    ~sa.exists().where(
        operations.c.id == _job.c.args[ARGUMENT].astext, operations.c.ended_at.is_(None)
    ),
)


def enqueue(db: sa.Connection, operation_id: str, run_at: int | None) -> None:
    """Have a worker woken for an operation once it is due.

    Args:
        run_at: microseconds; None for at once.
    """
    if db.info.get("osbkit_jobs"):
        run(db, DEFER, {"id_": operation_id, "at_": float(run_at or 0)})


def forget(db: sa.Connection) -> int:
    """Delete jobs whose operation is over: those of workers that were killed."""
    if not db.info.get("osbkit_jobs"):
        return 0
    done: Any = run(db, OVER)
    return int(done.rowcount)

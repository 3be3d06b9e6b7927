"""The queue of the distributed engine on PostgreSQL, and an index for expiry.

procrastinate keeps its jobs in tables of its own and ships their statements; they
are those of the version that `pyproject.toml` allows. Code at 0001 does not look at
any of it.
"""

from alembic import context, op

from osbkit.store.migrate import keeps_running

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    keeps_running(op, oldest="0001")
    op.create_index("ix_bindings_expires_at", "bindings", ["expires_at"])
    if op.get_context().dialect.name == "postgresql":
        # few of its rows are open, and what is asked for them depends on how few
        op.execute(
            "ALTER TABLE operations SET (autovacuum_analyze_scale_factor = 0,"
            " autovacuum_analyze_threshold = 5000)"
        )
        _make_queue()


def _make_queue() -> None:
    from procrastinate.schema import SchemaManager

    statements = SchemaManager.get_schema()
    if context.is_offline_mode():
        op.get_context().impl.static_output(statements)
        return
    # the text has % in its comments and several statements: only the driver takes it
    driver = op.get_bind().connection.driver_connection
    driver.execute(statements)

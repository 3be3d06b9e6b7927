"""The tables of version 0.1.0, on SQLite, PostgreSQL and MariaDB.

Moments are microseconds since 1970; identifiers are compared byte for byte.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None


def exact(length: int) -> sa.types.TypeEngine[str]:
    return (
        sa.String(length)
        .with_variant(mysql.VARCHAR(length, collation="utf8mb4_0900_bin"), "mysql")
        .with_variant(mysql.VARCHAR(length, collation="utf8mb4_nopad_bin"), "mariadb")
    )


def moment() -> sa.types.TypeEngine[int]:
    return sa.BigInteger()


def sealed() -> sa.types.TypeEngine[bytes]:
    return sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")


def upgrade() -> None:
    op.create_table(
        "meta",
        sa.Column("name", exact(64), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_meta"),
    )
    op.create_table(
        "instances",
        sa.Column("instance_id", exact(255), nullable=False),
        sa.Column("uid", exact(32), nullable=False),
        sa.Column("platform", exact(255), nullable=False),
        sa.Column("service_id", exact(255), nullable=False),
        sa.Column("plan_id", exact(255), nullable=False),
        sa.Column("offering", exact(255), nullable=False),
        sa.Column("plan", exact(255), nullable=False),
        sa.Column("backend", exact(511), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("state", exact(16), nullable=False),
        sa.Column("organization_guid", sa.Text, nullable=False),
        sa.Column("space_guid", sa.Text, nullable=False),
        sa.Column("parameters", sealed()),
        sa.Column("context", sealed()),
        sa.Column("facts", sealed()),
        sa.Column("maintenance_version", sa.Text),
        sa.Column("residue", sa.Boolean, nullable=False),
        sa.Column("usable", sa.Boolean, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("latest", exact(32)),
        sa.Column("created_at", moment(), nullable=False),
        sa.Column("ended_at", moment()),
        sa.PrimaryKeyConstraint("instance_id", name="pk_instances"),
    )
    op.create_table(
        "bindings",
        sa.Column("instance_id", exact(255), nullable=False),
        sa.Column("binding_id", exact(255), nullable=False),
        sa.Column("uid", exact(32), nullable=False),
        sa.Column("platform", exact(255), nullable=False),
        sa.Column("service_id", exact(255), nullable=False),
        sa.Column("plan_id", exact(255), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("instance_generation", sa.Integer, nullable=False),
        sa.Column("state", exact(16), nullable=False),
        sa.Column("parameters", sealed()),
        sa.Column("app_guid", sa.Text),
        sa.Column("bind_resource", sealed()),
        sa.Column("context", sealed()),
        sa.Column("predecessor", exact(255)),
        sa.Column("bound", sealed()),
        sa.Column("facts", sealed()),
        sa.Column("expires_at", moment()),
        sa.Column("residue", sa.Boolean, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("latest", exact(32)),
        sa.Column("created_at", moment(), nullable=False),
        sa.Column("ended_at", moment()),
        sa.PrimaryKeyConstraint("instance_id", "binding_id", name="pk_bindings"),
    )
    op.create_table(
        "operations",
        sa.Column("id", exact(32), nullable=False),
        sa.Column("kind", exact(16), nullable=False),
        sa.Column("instance_id", exact(255), nullable=False),
        sa.Column("binding_id", exact(255)),
        sa.Column("platform", exact(255), nullable=False),
        sa.Column("backend", exact(511), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("binding_generation", sa.Integer, nullable=False),
        sa.Column("state", exact(16), nullable=False),
        sa.Column("phase", exact(16), nullable=False),
        sa.Column("live_key", exact(64)),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("owner", exact(32)),
        sa.Column("run_at", moment()),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("claims", sa.Integer, nullable=False),
        sa.Column("answer_owed", sa.Boolean, nullable=False),
        sa.Column("deadline", moment(), nullable=False),
        sa.Column("asked", sealed()),
        sa.Column("steps", sealed()),
        sa.Column("description", sa.Text),
        sa.Column("percent", sa.Integer),
        sa.Column("poll_after", sa.Integer),
        sa.Column("refused", sa.Boolean, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("instance_usable", sa.Boolean),
        sa.Column("update_repeatable", sa.Boolean),
        sa.Column("parked", sa.Boolean, nullable=False),
        sa.Column("stop_asked", sa.Boolean, nullable=False),
        sa.Column("halted_by", exact(32)),
        sa.Column("begun_at", moment()),
        sa.Column("created_at", moment(), nullable=False),
        sa.Column("ended_at", moment()),
        sa.Column("version", exact(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_operations"),
        sa.UniqueConstraint("live_key", name="uq_operations_live_key"),
    )
    op.create_index(
        "ix_operations_instance_id_ended_at", "operations", ["instance_id", "ended_at"]
    )
    op.create_index(
        "ix_operations_ended_at_run_at", "operations", ["ended_at", "run_at"]
    )

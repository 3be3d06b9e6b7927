"""The tables; their constraints are the locks.

    meta ─ one row a fact: broker id
    instances ──< bindings        one row an id, kept as a tombstone after its end
         └──────< operations      one row a piece of work

Moments are BIGINT microseconds since 1970 (UTC). Identifiers are compared byte
for byte. Columns named in `SEALED` hold AES-GCM ciphertext (`sealing`); nothing
else in a row is secret. Everything fits SQLite, PostgreSQL and MariaDB.

`operations.live_key` is the last word on concurrency: it is unique, and NULL once
the platform sees the operation as ended. `operations.ended_at` stays NULL longer:
until the call of a halted runner has really returned.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = sa.MetaData(naming_convention=NAMING)

SCHEMA = "0002"
"""The Alembic revision that this code reads and writes."""


def exact(length: int) -> sa.types.TypeEngine[str]:
    """Text of at most `length` characters that is compared byte for byte."""
    return (
        sa.String(length)
        .with_variant(mysql.VARCHAR(length, collation="utf8mb4_0900_bin"), "mysql")
        .with_variant(mysql.VARCHAR(length, collation="utf8mb4_nopad_bin"), "mariadb")
    )


def moment() -> sa.types.TypeEngine[int]:
    """Microseconds since 1970, UTC."""
    return sa.BigInteger()


def sealed() -> sa.types.TypeEngine[bytes]:
    """Ciphertext; up to 16 MiB where the database wants a limit."""
    return sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")


IDENTIFIER = 255

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("name", exact(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

instances = sa.Table(
    "instances",
    metadata,
    sa.Column("instance_id", exact(IDENTIFIER), primary_key=True),
    sa.Column("uid", exact(32), nullable=False),
    sa.Column("platform", exact(IDENTIFIER), nullable=False),
    sa.Column("service_id", exact(IDENTIFIER), nullable=False),
    sa.Column("plan_id", exact(IDENTIFIER), nullable=False),
    sa.Column("offering", exact(IDENTIFIER), nullable=False),
    sa.Column("plan", exact(IDENTIFIER), nullable=False),
    sa.Column("backend", exact(2 * IDENTIFIER + 1), nullable=False),
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
)

bindings = sa.Table(
    "bindings",
    metadata,
    sa.Column("instance_id", exact(IDENTIFIER), primary_key=True),
    sa.Column("binding_id", exact(IDENTIFIER), primary_key=True),
    sa.Column("uid", exact(32), nullable=False),
    sa.Column("platform", exact(IDENTIFIER), nullable=False),
    sa.Column("service_id", exact(IDENTIFIER), nullable=False),
    sa.Column("plan_id", exact(IDENTIFIER), nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("instance_generation", sa.Integer, nullable=False),
    sa.Column("state", exact(16), nullable=False),
    sa.Column("parameters", sealed()),
    sa.Column("app_guid", sa.Text),
    sa.Column("bind_resource", sealed()),
    sa.Column("context", sealed()),
    sa.Column("predecessor", exact(IDENTIFIER)),
    sa.Column("bound", sealed()),
    sa.Column("facts", sealed()),
    sa.Column("expires_at", moment()),
    sa.Column("residue", sa.Boolean, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("latest", exact(32)),
    sa.Column("created_at", moment(), nullable=False),
    sa.Column("ended_at", moment()),
    sa.Index(None, "expires_at"),
)

operations = sa.Table(
    "operations",
    metadata,
    sa.Column("id", exact(32), primary_key=True),
    sa.Column("kind", exact(16), nullable=False),
    sa.Column("instance_id", exact(IDENTIFIER), nullable=False),
    sa.Column("binding_id", exact(IDENTIFIER)),
    sa.Column("platform", exact(IDENTIFIER), nullable=False),
    sa.Column("backend", exact(2 * IDENTIFIER + 1), nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("binding_generation", sa.Integer, nullable=False),
    sa.Column("state", exact(16), nullable=False),
    sa.Column("phase", exact(16), nullable=False),
    sa.Column("live_key", exact(64), unique=True),
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
    sa.Index(None, "instance_id", "ended_at"),
    sa.Index(None, "ended_at", "run_at"),
)

SEALED = (
    instances.c.parameters,
    instances.c.context,
    instances.c.facts,
    bindings.c.parameters,
    bindings.c.bind_resource,
    bindings.c.context,
    bindings.c.bound,
    bindings.c.facts,
    operations.c.asked,
    operations.c.steps,
)
"""Every column that holds ciphertext; a row's uid (or operation id) is its key."""


def ours(name: str | None, kind: str, _: object) -> bool:
    """Alembic's `include_name`: procrastinate's tables, on PostgreSQL, are not here."""
    return kind != "table" or not (name or "").startswith("procrastinate_")

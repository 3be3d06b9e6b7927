"""${message}"""

import sqlalchemy as sa
from alembic import op

from osbkit.store.migrate import keeps_running

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    keeps_running(op, oldest=${repr(down_revision)})
    ${upgrades if upgrades else "pass"}

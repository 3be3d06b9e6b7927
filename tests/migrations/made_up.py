"""Versions of osbkit to come: the real revisions, and more after them.

And `Log`, for what is told of them.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from osbkit.store import migrate

NEWER = "9001"
NEWEST = "9002"
REVISION = '''"""A revision of a version to come."""

import sqlalchemy as sa
from alembic import op

from osbkit.store.migrate import keeps_running

revision = "{revision}"
down_revision = "{before}"


def upgrade() -> None:
    keeps_running(op, oldest="{oldest}")
    op.create_table("made_up_{revision}", sa.Column("name", sa.Text))
    op.add_column("operations", sa.Column("made_up_{revision}", sa.Text))
'''


class Log:
    """Keeps events instead of printing them."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda event, **fields: self.events.append((event, fields))

    def named(self, *names: str) -> list[str]:
        """The events of these names, in their order."""
        return [event for event, _ in self.events if event in names]


@contextmanager
def future(folder: Path, *oldest: str) -> Iterator[None]:
    """Be a version that knows more revisions, 9001 on.

    Args:
        folder: where its revisions are made.
        oldest: of each, the oldest code that may run on what it leaves.
    """
    shutil.copytree(migrate.folder(), folder, dirs_exist_ok=True)
    before = migrate.head()
    for number, said in enumerate(oldest, start=9001):
        text = REVISION.format(revision=number, before=before, oldest=said)
        (folder / "versions" / f"{number}_made_up.py").write_text(text)
        before = str(number)
    with mock.patch.multiple(migrate, folder=lambda: folder, SCHEMA=before):
        yield

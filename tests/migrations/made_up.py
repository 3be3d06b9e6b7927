"""Versions of osbkit to come: the real revisions, and more after them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from osbkit.store import migrate

NEWER = "9001"
NEWEST = "9002"
REVISION = '''"""A revision of a version to come."""

from alembic import op

from osbkit.store.migrate import keeps_running

revision = "{revision}"
down_revision = "{before}"


def upgrade() -> None:
    keeps_running(op, oldest="{oldest}")
'''


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

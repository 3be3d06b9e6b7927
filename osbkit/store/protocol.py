"""What the rooms above ask of a store, whichever database it is."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from osbkit.store.sealing import KeyRing
from osbkit.store.writer import Unit

T = TypeVar("T")


class Store(Protocol):
    """A store, open. See `sqlite` and `server`.

    Attributes:
        alone: no other process runs operations of this database.
        delivers: rows that nobody holds have a job (`store.jobs`).
        broker_id: random, made with the database.
        closing: nothing is to be tried again, the process is about to leave.
    """

    closing: bool
    broker_id: str

    @property
    def alone(self) -> bool: ...

    @property
    def delivers(self) -> bool: ...

    @property
    def ring(self) -> KeyRing: ...

    async def write(
        self,
        unit: Unit[T],
        committed: Callable[[T], None] | None = None,
        *,
        long: bool = False,
    ) -> T: ...

    async def read(self, unit: Unit[T]) -> T: ...

    async def ping(self) -> None: ...

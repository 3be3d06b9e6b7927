"""Random bytes of the operating system, fetched in blocks.

A system call for every nonce costs more than the encryption it is for. The block
is the kernel's own randomness, cut into pieces that are used once each; a forked
child begins with a block of its own.
"""

import os
import threading

BLOCK = 4096


class Entropy:
    """A block of random bytes that hands out each byte once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._block = b""
        self._next = 0

    def take(self, length: int) -> bytes:
        """`length` bytes, at most one block, that nobody else gets."""
        with self._lock:
            end = self._next + length
            if end > len(self._block):
                self._block = os.urandom(BLOCK)
                self._next, end = 0, length
            start, self._next = self._next, end
            return self._block[start:end]

    def forget(self) -> None:
        """Begin a new block: what is left may be known to another process."""
        self._lock = threading.Lock()
        self._block = b""
        self._next = 0


_entropy = Entropy()
os.register_at_fork(after_in_child=_entropy.forget)
random_bytes = _entropy.take

"""Room for frames that are longer than one read: what has come of one is kept until the rest has come.

Owns the count of their bytes. Its invariant: the frames that have room declare no more than `LIMIT` bytes
together, however many connections begin one. A frame has room until it has ended, or its connection has, for
which there is a deadline. Who finds no room waits for it in line. So a frame that has room can end, and each
that waits has its turn.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

LIMIT = 8 * 1024 * 1024
"""Bytes of long frames that may be arriving at once: 128 of the longest."""

K = TypeVar("K", bound=Hashable)


class LongFrames(Generic[K]):
    """Who has room, and who waits for it."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._free = limit
        self._sizes: dict[K, int] = {}
        self._waiting: dict[K, int] = {}  # in the order in which they came

    def begin(self, key: K, size: int) -> bool:
        """A frame of `size` bytes has begun; whether it has room. This may be asked again until it ends."""
        if key not in self._sizes:
            self._waiting[key] = size
            self._admit()
        return key in self._sizes

    def end(self, key: K) -> list[K]:
        """The frame is over, or there was none; who has room in its place."""
        waited = self._waiting.pop(key, None)
        size = self._sizes.pop(key, 0)
        self._free += size
        return self._admit() if size or waited else []

    def waits(self, key: K) -> bool:
        """Whether the frame has begun and has no room."""
        return key in self._waiting

    def _admit(self) -> list[K]:
        admitted = []
        while self._waiting:
            key, size = next(iter(self._waiting.items()))
            if size > self._free:
                break
            del self._waiting[key]
            self._sizes[key] = size
            self._free -= size
            admitted.append(key)
        return admitted

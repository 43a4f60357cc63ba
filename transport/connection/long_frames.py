"""Limits frames that are longer than one read, because their parts are kept until they are complete.

It owns the count of their bytes. Invariant: all frames that have room declare `LIMIT` bytes at most, however
many connections begin one. A frame keeps its room until it is complete or its connection is closed, for which
there is a deadline. Other frames wait in their order. So each frame with room can end, and each frame that
waits gets room.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

LIMIT = 8 * 1024 * 1024
"""Bytes of long frames that may arrive at the same time: 128 of the longest."""

K = TypeVar("K", bound=Hashable)


class LongFrames(Generic[K]):
    """The connections whose long frames have room, and those that wait for it."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._free = limit
        self._sizes: dict[K, int] = {}
        self._waiting: dict[K, int] = {}  # in the order in which they came

    def begin(self, key: K, size: int) -> bool:
        """A frame of `size` bytes has begun: whether it has room. It may be called again until the end."""
        if key not in self._sizes:
            self._waiting[key] = size
            self._admit()
        return key in self._sizes

    def end(self, key: K) -> list[K]:
        """The frame has ended, if there was one; the connections that get room instead."""
        waited = self._waiting.pop(key, None)
        size = self._sizes.pop(key, 0)
        self._free += size
        return self._admit() if size or waited else []

    def waits(self, key: K) -> bool:
        """Whether a frame of `key` waits for room."""
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

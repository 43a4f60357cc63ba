"""Deadlines as data: a heap that is asked what is due, and never wakes anybody."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Deadlines(Generic[K]):
    """One deadline per key, in seconds of the clock whose reading the caller passes to `due`.

    Setting a key again moves its deadline. A moved or cancelled deadline stays in the heap until its old
    time comes or the heap is mostly such leftovers, so both cost one heap operation at most.
    """

    __slots__ = ("_at", "_heap", "_serial")

    def __init__(self) -> None:
        self._at: dict[K, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._serial = 0

    def __len__(self) -> int:
        return len(self._at)

    def set(self, key: K, at: float) -> None:
        """`key` is due at `at`."""
        self._serial += 1
        self._at[key] = (at, self._serial)
        heapq.heappush(self._heap, (at, self._serial, key))
        if len(self._heap) > 64 and len(self._heap) > 4 * len(self._at):
            self._compact()

    def cancel(self, key: K) -> bool:
        """`key` is no longer due; whether it had a deadline."""
        return self._at.pop(key, None) is not None

    def due(self, now: float, at_most: int = sys.maxsize) -> list[K]:
        """Take out the keys whose deadline is at or before `now`: earliest first, ties as they were set.

        What is beyond `at_most` keys stays due.
        """
        keys: list[K] = []
        while self._heap and self._heap[0][0] <= now and len(keys) < at_most:
            at, serial, key = heapq.heappop(self._heap)
            if self._at.get(key) == (at, serial):
                del self._at[key]
                keys.append(key)
        return keys

    def _compact(self) -> None:
        self._heap = [(at, serial, key) for key, (at, serial) in self._at.items()]
        heapq.heapify(self._heap)

"""Deadlines as data: a heap. The caller asks at intervals what is due; there are no timers."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Deadlines(Generic[K]):
    """One deadline for each key, in seconds of the clock whose time the caller passes to `due`.

    Setting a key again replaces its deadline. A replaced or cancelled deadline stays in the heap until its
    time comes, or until most of the heap is obsolete; so both cost one heap operation at most.
    """

    __slots__ = ("_at", "_heap", "_serial")

    def __init__(self) -> None:
        self._at: dict[K, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._serial = 0

    def __len__(self) -> int:
        return len(self._at)

    def __contains__(self, key: K) -> bool:
        """Whether the key has a deadline."""
        return key in self._at

    def set(self, key: K, at: float) -> None:
        """`key` is due at `at`."""
        self._serial += 1
        self._at[key] = (at, self._serial)
        heapq.heappush(self._heap, (at, self._serial, key))
        if len(self._heap) > 64 and len(self._heap) > 4 * len(self._at):
            self._compact()

    def cancel(self, key: K) -> bool:
        """Remove the deadline of `key`; whether it had one."""
        return self._at.pop(key, None) is not None

    def due(self, now: float, at_most: int = sys.maxsize) -> list[K]:
        """Remove and return the keys whose deadline is at or before `now`: earliest first, ties as they were
        set.

        Keys beyond `at_most` stay due.
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

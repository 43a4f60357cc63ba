"""Deadlines as data. The caller asks at intervals what is due; there are no timers.

The keys of an eighth of a second are in one bucket. Thousands of devices may connect in a second, each with a
deadline that is replaced soon: here that costs the time of a few dictionary operations, and leaves nothing
behind in memory.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

WIDTH: Final = 0.125
"""Seconds of a bucket. A power of two: no time is rounded into the next bucket."""


class Deadlines(Generic[K]):
    """One deadline for each key, in seconds of the clock whose time the caller passes to `due`.

    Setting a key again replaces its deadline. An empty bucket stays until its time comes, or until most
    buckets are empty.
    """

    __slots__ = ("_bucket_of", "_buckets", "_numbers")

    def __init__(self) -> None:
        self._bucket_of: dict[K, dict[K, float]] = {}
        self._buckets: dict[int, dict[K, float]] = {}
        self._numbers: list[int] = []  # of the buckets, as a heap

    def __len__(self) -> int:
        return len(self._bucket_of)

    def __contains__(self, key: K) -> bool:
        """Whether the key has a deadline."""
        return key in self._bucket_of

    def set(self, key: K, at: float) -> None:
        """`key` is due at `at`."""
        self.cancel(key)
        number = int(at / WIDTH)
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._add_bucket(number)
        bucket[key] = at
        self._bucket_of[key] = bucket

    def _add_bucket(self, number: int) -> dict[K, float]:
        if len(self._buckets) > 64 and len(self._buckets) > 2 * len(self):
            self._buckets = {number: bucket for number, bucket in self._buckets.items() if bucket}
            self._numbers = sorted(self._buckets)
        bucket: dict[K, float] = {}
        self._buckets[number] = bucket
        heapq.heappush(self._numbers, number)
        return bucket

    def cancel(self, key: K) -> bool:
        """Remove the deadline of `key`; whether it had one."""
        bucket = self._bucket_of.pop(key, None)
        if bucket is None:
            return False
        del bucket[key]
        return True

    def due(self, now: float, at_most: int = sys.maxsize) -> list[K]:
        """Remove and return the keys whose deadline is at or before `now`: earliest first, ties as they were
        set.

        Keys beyond `at_most` stay due.
        """
        keys: list[K] = []
        while self._numbers and self._numbers[0] * WIDTH <= now and len(keys) < at_most:
            bucket = self._buckets[self._numbers[0]]
            due = sorted((key for key, at in bucket.items() if at <= now), key=bucket.__getitem__)
            for key in due[: at_most - len(keys)]:
                self.cancel(key)
                keys.append(key)
            if bucket:
                break
            del self._buckets[heapq.heappop(self._numbers)]
        return keys

"""Fair queueing: who is read next, when more connections want to be read than there is room for.

The order is that of weighted fair queueing (Demers, Keshav and Shenker, 1989), with virtual time counted in
bytes. A read can start at the virtual time, but not before the connection's last read has finished; it
finishes at its start plus its size. The read that finishes first comes first, and its start is the virtual
time from then on. The size of a read is not known before it, so it is taken to be that of the connection's
last one, and the first one to be small.

What follows: connections that always have more to read get the same number of bytes each. A connection that
sends less than that is served before them, however many they are: a device that reports one record now and
then is not delayed by thousands of connections that send without end.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

SMALLEST = 128
"""Bytes that a shorter read counts as: to read and to store it is work, too."""


@dataclass(slots=True)
class _Flow:
    """What is known of one key: the virtual start of its next read, the size of its last, its entry."""

    start: int
    size: int
    entry: int = 0  # the number of its entry in the heap while it waits


class FairQueue(Generic[K]):
    """The keys that wait for a read; each waits once."""

    def __init__(self) -> None:
        self._now = 0
        self._count = 0  # of two reads that finish together the one that has waited longer comes first
        self._heap: list[tuple[int, int, K]] = []  # with entries of keys that do not wait any more
        self._flows: dict[K, _Flow] = {}
        self._waiting = 0

    def __len__(self) -> int:
        """How many keys wait."""
        return self._waiting

    def __contains__(self, key: K) -> bool:
        """Whether the key waits."""
        flow = self._flows.get(key)
        return flow is not None and flow.entry > 0

    def add(self, key: K) -> None:
        """The key waits, unless it waits already."""
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = _Flow(self._now, SMALLEST)
        if flow.entry:
            return
        self._waiting += 1
        self._count += 1
        flow.entry = self._count
        flow.start = max(flow.start, self._now)
        heapq.heappush(self._heap, (flow.start + flow.size, flow.entry, key))

    def pop(self) -> K:
        """Take out the key that is next.

        Raises:
            IndexError: no key waits.
        """
        while True:
            _, number, key = heapq.heappop(self._heap)
            flow = self._flows.get(key)
            if flow is not None and flow.entry == number:
                flow.entry = 0
                self._waiting -= 1
                self._now = max(self._now, flow.start)
                return key

    def charge(self, key: K, size: int) -> None:
        """The key's read had `size` bytes."""
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = _Flow(self._now, size)
        flow.size = max(size, SMALLEST)
        flow.start += flow.size

    def forget(self, key: K) -> None:
        """The key is gone."""
        flow = self._flows.pop(key, None)
        if flow is not None and flow.entry:
            self._waiting -= 1
            self._shrink()

    def _shrink(self) -> None:
        """Take out what does not wait any more, once it is more than half of the heap."""
        if len(self._heap) > 2 * self._waiting + 100:
            self._heap = [entry for entry in self._heap if self._is_current(entry)]
            heapq.heapify(self._heap)

    def _is_current(self, entry: tuple[int, int, K]) -> bool:
        _, number, key = entry
        flow = self._flows.get(key)
        return flow is not None and flow.entry == number

    def clear(self) -> None:
        """Forget all keys, and who has read how much."""
        self._flows.clear()
        self._heap.clear()
        self._waiting = self._now = 0

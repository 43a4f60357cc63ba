"""A buffer of a `store.client.batch_queue` that keeps the newest value of each key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")


def _newer(older: T, newer: T) -> T:
    return newer


class Latest(Generic[T]):
    """Pairs of a key and a value, of which the newest of each key is sent.

    Args:
        count: the most pairs of a batch.
        capacity: the most pairs that wait; beyond that the oldest are dropped.
        merge: what is sent of an older value that was not sent, and a newer one; without it the newer one.
    """

    def __init__(self, count: int, capacity: int, merge: Callable[[T, T], T] = _newer) -> None:
        self._count = count
        self._capacity = capacity
        self._merge = merge
        self._values: dict[str, T] = {}

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[tuple[str, T]]:
        return iter(self._values.items())

    def put(self, item: tuple[str, T]) -> None:
        """Add a value, in the place of an older one of its key."""
        key, value = item
        older = self._values.get(key)
        self._values[key] = value if older is None else self._merge(older, value)
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        while len(self._values) > self._capacity:
            del self._values[next(iter(self._values))]

    def take(self) -> list[tuple[str, T]]:
        """Take out the pairs that have waited longest, as many as one batch may have."""
        batch = list(islice(self._values.items(), self._count))
        for key, _ in batch:
            del self._values[key]
        return batch

    def put_back(self, items: Iterable[tuple[str, T]]) -> None:
        """Pairs that were taken out wait again, in front of those that have come since."""
        newer, self._values = self._values, dict(items)
        for item in newer.items():
            self.put(item)
        self._drop_oldest()

    def remove(self, item: tuple[str, T]) -> bool:
        """Take out a pair; whether it waited."""
        waited = self._values.get(item[0]) is item[1]
        if waited:
            del self._values[item[0]]
        return waited

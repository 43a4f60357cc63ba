"""A buffer of a `store.client.batch_queue`: first in, first out, in batches of a bounded size."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


def _weightless(_: object) -> int:
    return 0


def _separate(_before: object, _item: object) -> bool:
    return False


class Fifo(Generic[T]):
    """Items in the order they came.

    Args:
        count: the most items of a batch.
        size: the most that the items of a batch weigh together; one item always fits.
        weigh: the weight of an item.
        joins: given two neighbours, whether the second goes into the batch of the first, whatever its size.
        capacity: the most items that wait; beyond that the oldest are dropped.
    """

    def __init__(
        self,
        count: int,
        *,
        size: int = 0,
        weigh: Callable[[T], int] = _weightless,
        joins: Callable[[T, T], bool] = _separate,
        capacity: int | None = None,
    ) -> None:
        self._count = count
        self._size = size
        self._weigh = weigh
        self._joins = joins
        self._capacity = capacity
        self._items: deque[T] = deque()
        self.put: Callable[[T], None] = self._items.append if capacity is None else self._put_within
        """Add an item at the end. Without a bound this is the deque's own method, for its speed."""
        self.dropped = 0
        """Items lost because more than the capacity would have waited."""

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def _put_within(self, item: T) -> None:
        self._items.append(item)
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        while self._capacity is not None and len(self._items) > self._capacity:
            self._items.popleft()
            self.dropped += 1

    def take(self) -> list[T]:
        """Take out the first items, as many as one batch may have."""
        batch: list[T] = []
        size = 0
        for item in self._items:
            size += self._weigh(item)
            full = len(batch) >= self._count or size > self._size
            if batch and full and not self._joins(batch[-1], item):
                break
            batch.append(item)
        for _ in batch:
            self._items.popleft()
        return batch

    def put_back(self, items: Iterable[T]) -> None:
        """Items that were taken out come first again, in their order."""
        self._items.extendleft(reversed(list(items)))
        self._drop_oldest()

    def remove(self, item: T) -> bool:
        """Take out an item wherever it waits; whether it waited."""
        if item not in self._items:
            return False
        self._items.remove(item)
        return True

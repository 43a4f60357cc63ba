"""A queue in front of Redis: items are put synchronously, and one task sends them in batches.

One batch is in flight at a time. What a queue has of its own are its two parts: a buffer, which says how a
batch is taken and how much may wait, and `send`, which says what becomes of a batch. The rest is the same for
all: when the task waits and what wakes it, where a batch goes that was not carried out, the delays between
calls that fail, how the queue stops, and how it is waited for.

Invariant: an item is in the buffer, in the batch in flight, or delayed. `send` takes out of the batch what is
finished; what is left in it, however `send` ends, goes back to where it was in the buffer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import Generic, Protocol, TypeVar

from store.client.delays import Backoff
from store.client.errors import StoreError
from store.client.gathering import Gathering

T = TypeVar("T")


class Buffer(Protocol[T]):
    """Where items wait, and how a batch of them is taken. It is true while any item waits."""

    def __len__(self) -> int:
        """How many items wait."""

    def __iter__(self) -> Iterator[T]:
        """The items, in any order."""

    def put(self, item: T) -> None:
        """Add an item."""

    def take(self) -> Sequence[T]:
        """Take out the items of the next batch: at least one, when any waits."""

    def put_back(self, items: Iterable[T]) -> None:
        """Items that were taken out wait again, in front of those that have come since."""

    def remove(self, item: T) -> bool:
        """Take out an item wherever it waits; whether it waited."""


Send = Callable[[deque[T]], Awaitable[Exception | None]]
"""Carries out a batch, and takes out of it what is finished: carried out, or failed for good.

Returns an error, or raises a `StoreError`, after which the queue waits before the next call. Without an error
what is left in the batch may be sent again at once.
"""


def _ignore(_: Exception) -> None:
    """Errors are not reported."""


class BatchQueue(Generic[T]):
    """Items that wait for Redis.

    Args:
        buffer: how batches are taken, and how many items may wait.
        send: carries out one batch.
        on_error: called with the error of each failed call, after its items are back in the buffer.
        backoff: the delays between calls that fail.
        finishes: after `stop` what waits is sent all the same, until a call fails.
        gathering: when a pause follows a call, in which more items come; without it none does.
    """

    def __init__(
        self,
        buffer: Buffer[T],
        send: Send[T],
        *,
        on_error: Callable[[Exception], None] = _ignore,
        backoff: Backoff | None = None,
        finishes: bool = False,
        gathering: Gathering | None = None,
    ) -> None:
        self._buffer = buffer
        self._add = buffer.put
        self._send = send
        self._on_error = on_error
        self._backoff = backoff or Backoff()
        self._finishes = finishes
        self._gathering = gathering
        self._batch: deque[T] = deque()
        self._delayed = 0
        self._resting = False
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._stop = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()
        self.healthy = True
        """False from a call that failed until a batch is carried out whole."""

    def __iter__(self) -> Iterator[T]:
        """The items in flight, and then those in the buffer."""
        return chain(self._batch, self._buffer)

    @property
    def depth(self) -> int:
        """Items that are not finished."""
        return len(self._buffer) + len(self._batch) + self._delayed

    def put(self, item: T) -> None:
        """Queue an item; returns at once."""
        self._add(item)
        if self._resting:
            self._resting = False
            self._wake.set()

    def put_later(self, items: Collection[T], delay: float) -> None:
        """Queue items after `delay` seconds; until then they count as not finished."""
        self._delayed += len(items)
        asyncio.get_running_loop().call_later(delay, self._put_delayed, items)

    def _put_delayed(self, items: Collection[T]) -> None:
        self._delayed -= len(items)
        for item in items:
            self.put(item)

    def remove(self, item: T) -> bool:
        """Forget an item that is not in flight; whether it waited."""
        removed = self._buffer.remove(item)
        self._check_idle()
        return removed

    def clear(self) -> list[T]:
        """Take out all items, those in flight first."""
        items = list(self)
        self._batch.clear()
        while self._buffer:
            self._buffer.take()
        return items

    async def run(self) -> None:
        """Send batches until `stop`. A second call while one runs waits for its end.

        Raises:
            Exception: `send` raised it, and it is no `StoreError`.
        """
        if not self._ended.is_set():
            await self._ended.wait()
            return
        self._ended.clear()
        try:
            await self._send_batches()
        finally:
            self._ended.set()

    async def _send_batches(self) -> None:
        while not self._stop.is_set() or (self._finishes and self._waiting):
            if not self._waiting:
                await self._rest()
            elif error := await self._attempt():
                self.healthy = False
                self._on_error(error)
                if self._stop.is_set():
                    return
                await self._backoff.wait(self._stop)

    @property
    def _waiting(self) -> bool:
        return bool(self._buffer or self._batch)

    async def _rest(self) -> None:
        """Wait until something is put, or for `stop`."""
        self._wake.clear()
        self._resting = True
        await self._wake.wait()

    async def _attempt(self) -> Exception | None:
        """Send one batch; the error after which a delay follows."""
        if not self._batch:  # or a task that failed could not even give it back
            self._batch.extend(self._buffer.take())
        carried = len(self._batch)
        try:
            error = await self._send(self._batch)
            whole = not self._batch
        except StoreError as failure:
            return failure
        finally:
            self._give_back()
        if error is None and whole:
            self.healthy = True
            self._backoff.reset()
            if self._gathering and not self._stop.is_set():
                await self._gathering.after(carried, self._buffer.__len__)
        return error

    def _give_back(self) -> None:
        """What is left of the batch in flight waits again."""
        if self._batch:
            self._buffer.put_back(self._batch)
            self._batch.clear()
        self._check_idle()

    def _check_idle(self) -> None:
        if not (self._buffer or self._batch or self._delayed):
            self._idle.set()

    def stop(self) -> None:
        """Let `run` end after the batch in flight, or, if the queue finishes, once the buffer is empty."""
        self._stop.set()
        self._wake.set()

    async def flush(self, within: float) -> int:
        """Wait until every item is finished, `within` seconds at most; how many are not."""
        if self._buffer or self._batch or self._delayed:
            self._idle.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(within):
                    await self._idle.wait()
        return self.depth

    async def finish(self, within: float) -> None:
        """Stop, and send what waits, `within` seconds at most; no longer than one call that fails."""
        self.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self.run()

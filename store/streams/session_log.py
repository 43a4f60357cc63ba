"""The log of session events: a bounded queue that nothing waits for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import islice

from fsm.events import SessionEvent
from store.client.client import Calls
from store.client.delays import Backoff
from store.client.errors import StoreError
from store.streams.events import session_fields

CAPACITY = 10_000
PIPELINE = 500

Stamped = tuple[SessionEvent, int]


class SessionLog:
    """Appends session events to a stream, in order.

    The queue is bounded; while Redis is away the oldest events are dropped, which no decision depends on.
    After a lost reply events are appended again; readers recognise them by ``session_id`` and ``seq``.

    Args:
        stream: the key.
        now_ms: epoch ms by the clock of Redis, asked when an event is added.
        on_error: told of every failed call.
    """

    def __init__(
        self,
        client: Calls,
        stream: str,
        *,
        now_ms: Callable[[], int],
        on_error: Callable[[Exception], None],
        capacity: int = CAPACITY,
    ) -> None:
        self._client = client
        self.stream = stream
        self._now_ms = now_ms
        self._on_error = on_error
        self._capacity = capacity
        self._queue: deque[Stamped] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stop = asyncio.Event()
        self._backoff = Backoff()
        self.dropped = 0
        """Events lost because the queue was full."""

    @property
    def depth(self) -> int:
        """Events not yet appended."""
        return len(self._queue)

    def append(self, event: SessionEvent) -> None:
        """Queue an event with the present time; returns at once."""
        if len(self._queue) >= self._capacity:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append((event, self._now_ms()))
        self._idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """Append events until `stop`."""
        while not self._stop.is_set():
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
            elif await self._attempt():
                self._backoff.reset()
            else:
                await self._backoff.wait(self._stop)

    def stop(self) -> None:
        """Let `run` end after the call in flight."""
        self._stop.set()
        self._wake.set()

    async def flush(self, within: float) -> int:
        """Wait until every event is appended, `within` seconds at most; how many are not."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._idle.wait()
        return len(self._queue)

    async def _attempt(self) -> bool:
        """Append the head of the queue; False when something stayed behind."""
        batch = list(islice(self._queue, PIPELINE))
        try:
            appended, error = await self._send(batch)
        except StoreError as failure:
            appended, error = 0, failure
        # The queue may have lost events at its head meanwhile, hence the look at which ones are still there.
        for entry in batch[:appended]:
            if self._queue and self._queue[0] is entry:
                self._queue.popleft()
        if not self._queue:
            self._idle.set()
        if error:
            self._on_error(error)
        return error is None

    async def _send(self, batch: list[Stamped]) -> tuple[int, Exception | None]:
        """How many entries were appended, and what stopped the next one."""
        replies = await self._client.batch([self._arguments(event, at_ms) for event, at_ms in batch])
        for appended, reply in enumerate(replies):
            if isinstance(reply, Exception):
                return appended, reply
        return len(batch), None

    def _arguments(self, event: SessionEvent, at_ms: int) -> list[str]:
        fields = session_fields(event, at_ms)
        return ["XADD", self.stream, "*", *(text for pair in fields.items() for text in pair)]

"""The log of session events: a bounded queue that nothing waits for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from redis.asyncio import Redis

from fsm.events import Note, SessionEvent
from store.client.batch_queue import BatchQueue
from store.client.errors import StoreRefused
from store.client.fifo import Fifo
from store.client.replies import understood
from store.client.script import Script
from store.streams.events import note_fields, rfc3339, session_fields

CAPACITY = 10_000
PIPELINE = 500

Stamped = tuple[SessionEvent | Note, int]


class SessionLog:
    """Appends session events to a stream, in order.

    The queue is bounded; while Redis is away the oldest events are dropped, which no decision depends on.
    After a lost reply events are appended again; readers recognise them by ``session_id`` and ``seq``.

    Args:
        stream: the key.
        index: of the entries that no command asked for, if the stream is the log of commands; else empty.
        on_error: called with the error of every failed call.
    """

    def __init__(
        self,
        client: Redis,
        stream: str,
        index: str = "",
        *,
        on_error: Callable[[Exception], None],
        capacity: int = CAPACITY,
    ) -> None:
        self._client = client
        self.stream = stream
        self._keys = [stream, index] if index else [stream]
        self._script = Script("session_log.lua")
        self._buffer: Fifo[Stamped] = Fifo(PIPELINE, capacity=capacity)
        self._queue = BatchQueue(self._buffer, self._send, on_error=on_error)

    @property
    def dropped(self) -> int:
        """Events lost because the queue was full."""
        return self._buffer.dropped

    @property
    def depth(self) -> int:
        """Events not yet appended."""
        return self._queue.depth

    def append(self, event: SessionEvent | Note, at_ms: int) -> None:
        """Queue an event, or a note about events, of the time `at_ms`: epoch ms of Redis. Returns at once."""
        self._queue.put((event, at_ms))

    async def run(self) -> None:
        """Append events until `stop`."""
        await self._queue.run()

    def stop(self) -> None:
        """Let `run` end after the call in flight."""
        self._queue.stop()

    async def flush(self, within: float) -> int:
        """Wait until every event is appended, `within` seconds at most; how many are not."""
        return await self._queue.flush(within)

    async def _send(self, batch: deque[Stamped]) -> Exception | None:
        """Append a batch; what stopped the first event that was not appended."""
        arguments: list[str | int] = []
        for event, at_ms in batch:
            fields = _fields(event, at_ms)
            arguments += (len(fields), *fields)
        reply = await self._script(self._client, self._keys, arguments)
        stored, error = await understood(self._client, reply, partial(_read, len(batch)))
        for _ in range(stored):
            batch.popleft()
        return error


def _read(asked: int, reply: Any) -> tuple[int, StoreRefused | None]:
    """How many entries of those that were asked for were appended, and what stopped the next.

    Raises:
        ValueError, TypeError, AttributeError: it is no such reply.
    """
    if reply == asked:
        return asked, None
    stored, text = reply
    if type(stored) is not int or not 0 <= stored < asked:
        raise ValueError("not a number of entries")
    return stored, StoreRefused(text.decode(errors="replace"))


def _fields(event: SessionEvent | Note, at_ms: int) -> list[str]:
    if isinstance(event, Note):
        return [*note_fields(event), "at", rfc3339(at_ms)]
    return [text for pair in session_fields(event, at_ms).items() for text in pair]

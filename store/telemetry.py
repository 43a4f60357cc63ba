"""Storing telemetry, the hot path: all that one turn of the loop gathers goes out in one script call."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection

from fsm.telemetry import FRAME, MESSAGE, RECORD, SERIAL, UNDECODABLE, Batch
from store.client import Backoff, NoPermissionError, RedisError, Script, StoreRefused, is_transient
from store.keys import Keys

UNDECODABLE_MAXLEN = 10_000
CALL_ENTRIES = 1000
CALL_BYTES = 1 << 20
OVERHEAD = 400
"""Bytes that a waiting batch takes besides its bodies."""

_FIELDS = {
    **{RECORD: b"data", FRAME: b"frame", UNDECODABLE: b"reason"},
    **{MESSAGE: b"message", SERIAL: b"serial"},
}
_MESSAGES = frozenset((MESSAGE, SERIAL))
_DROPPABLE = _MESSAGES | {UNDECODABLE}


class Telemetry:
    """Stores batches in the order they came, one script call in flight, and confirms each that is whole.

    A batch whose outcome is unknown stays at the head and is stored again, whole: a record may be stored
    twice, never zero times. Records depend on no right to the streams of messages: those keys are named only
    in calls that carry messages, and after such a call was refused messages travel alone. The queue is not
    bounded here: its owner stops reading by `pending_entries` and `pending_bytes`.

    Args:
        client: a client of its own; one connection is kept from it while `run` lasts.
        call_entries, call_bytes: the most that one call carries (one batch always fits).
        on_error: told of every failed call.
        on_refused: given an undecodable frame or messages that Redis refuses for a reason which waiting does
            not cure (an access rule, a key of another type). They are dropped, ``done`` is never called, and
            a connection that waits for it must be closed. Without this hook they wait, and the whole fleet
            behind them.
    """

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        instance_id: str,
        *,
        on_error: Callable[[Exception], None],
        on_refused: Callable[[Batch], None] | None = None,
        call_entries: int = CALL_ENTRIES,
        call_bytes: int = CALL_BYTES,
    ) -> None:
        self._pool: Any = client.connection_pool
        self._connection: AbstractConnection | None = None
        self._names = (keys.telemetry, keys.undecodable)
        self._message_names = (*self._names, keys.messages, keys.serial)
        self._apart = False  # messages travel alone, for a call that carried some was refused as a whole
        self._instance_id = instance_id
        self._on_error = on_error
        self._on_refused = on_refused
        self._call_entries = call_entries
        self._call_bytes = call_bytes
        self._script = Script("telemetry.lua")
        self._queue: deque[Batch] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stop = asyncio.Event()
        self._backoff = Backoff()
        self.healthy = True
        """False from a failed call until one succeeds."""
        self.pending_entries = 0
        """Entries not yet confirmed."""
        self.pending_bytes = 0
        """Bytes not yet confirmed, about."""

    def store(self, batch: Batch) -> None:
        """Queue a batch; returns at once."""
        self.pending_entries += len(batch.bodies)
        self.pending_bytes += _weight(batch)
        if not self._queue:
            self._idle.clear()
            self._wake.set()
        self._queue.append(batch)

    async def run(self) -> None:
        """Store batches until `stop`."""
        try:
            while not self._stop.is_set():
                if self._queue:
                    await self._turn()
                else:
                    self._wake.clear()
                    await self._wake.wait()
        finally:
            if self._connection:
                await self._pool.release(self._connection)
                self._connection = None

    def stop(self) -> None:
        """Let `run` end after the call in flight; what is queued stays unconfirmed."""
        self._stop.set()
        self._wake.set()

    async def flush(self, within: float) -> int:
        """Wait until everything is confirmed, `within` seconds at most; how many entries are not."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._idle.wait()
        return self.pending_entries

    async def _turn(self) -> None:
        """Send one call and confirm what it stored; after an error wait a while."""
        arguments, sent, carries = self._spell()
        try:
            self._connection = self._connection or await self._pool.get_connection()
            stored, error = await self._call(self._connection, arguments, sent, carries)
        except (RedisError, OSError) as failure:
            stored, error = 0, failure
            if carries and isinstance(failure, NoPermissionError):
                if sent > 1:
                    self._apart = True
                    return
                error = StoreRefused(str(failure))
        self._settle(stored)
        if error:
            await self._recover(error)
        else:
            self.healthy = True
            self._apart = self._apart and not carries
            self._backoff.reset()

    async def _call(
        self, connection: AbstractConnection, arguments: list[Any], sent: int, carries: bool
    ) -> tuple[int, Exception | None]:
        """Send the head of the queue; how many of its batches are stored, and what stopped the rest."""
        names = self._message_names if carries else self._names
        reply: Any = await self._script.call_packed(connection, names, arguments)
        if isinstance(reply, int):
            return sent, None
        entries, text = reply
        return self._whole(entries), StoreRefused(text.decode(errors="replace"))

    def _spell(self) -> tuple[list[Any], int, bool]:
        """The arguments of one call, how many batches they hold, and whether messages are among them."""
        arguments: list[Any] = [self._instance_id, UNDECODABLE_MAXLEN]
        entries = size = sent = 0
        carries = False
        for batch in self._queue:
            is_message = batch.kind in _MESSAGES
            if self._apart and sent and (is_message or carries):
                break
            bodies = batch.bodies
            entries += len(bodies)
            size += sum(map(len, bodies))
            if sent and (entries > self._call_entries or size > self._call_bytes):
                break
            stamp = batch.reason if batch.kind == UNDECODABLE else batch.received_at
            carries = carries or is_message
            arguments += (_FIELDS[batch.kind], batch.imei, batch.codec, stamp, len(bodies))
            arguments += bodies
            sent += 1
        return arguments, sent, carries

    def _whole(self, entries: int) -> int:
        """How many batches at the head `entries` entries make whole."""
        for whole, batch in enumerate(self._queue):
            entries -= len(batch.bodies)
            if entries < 0:
                return whole
        return len(self._queue)

    def _settle(self, stored: int) -> None:
        """Confirm the first `stored` batches."""
        for _ in range(stored):
            self._drop_head().done()

    def _drop_head(self) -> Batch:
        batch = self._queue.popleft()
        self.pending_entries -= len(batch.bodies)
        self.pending_bytes -= _weight(batch)
        if not self._queue:
            self._idle.set()
        return batch

    async def _recover(self, error: Exception) -> None:
        """Report a failed call, make room, and wait before the next one."""
        self._on_error(error)
        head = self._queue[0]
        if self._on_refused and head.kind in _DROPPABLE and _is_refusal(error):
            self._drop_head()
            self._on_refused(head)
            return
        self.healthy = False
        self._forget_cancelled()
        await self._backoff.wait(self._stop)

    def _forget_cancelled(self) -> None:
        self._queue = deque(batch for batch in self._queue if not batch.cancelled)
        self.pending_entries = sum(len(batch.bodies) for batch in self._queue)
        self.pending_bytes = sum(map(_weight, self._queue))
        if not self._queue:
            self._idle.set()


def _weight(batch: Batch) -> int:
    """Bytes that a batch costs while it waits, however small its bodies are."""
    return OVERHEAD + sum(map(len, batch.bodies))


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, StoreRefused) and not is_transient(error)

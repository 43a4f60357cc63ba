"""Storing telemetry, the hot path: all that one turn of the loop gathers goes out in one script call.

Owns every frame from the moment a connection hands it over until it is stored or dropped. Frames wait in a
ring of devices (`store.streams.device_ring`), are in flight while a call carries them, and go back to where
they were when the call fails. A frame of a connection that has closed is dropped at once, unless it is in
flight: its device has not read an acknowledgement, and keeps the records.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import takewhile
from typing import Any

from redis.asyncio import Redis

from fsm.backlog import Backlog
from fsm.telemetry import FRAME, MESSAGE, OVERHEAD, RECORD, SERIAL, UNDECODABLE, Batch
from store.client.delays import Backoff
from store.client.errors import StoreError, StoreRefused, is_transient
from store.client.script import KeptConnection, Script
from store.keys import Keys
from store.streams.device_ring import DeviceRing

UNDECODABLE_MAXLEN = 10_000
CALL_ENTRIES = 1000
CALL_BYTES = 1 << 20

_FIELDS = {
    **{RECORD: b"data", FRAME: b"frame", UNDECODABLE: b"reason"},
    **{MESSAGE: b"message", SERIAL: b"serial"},
}
_MESSAGES = frozenset((MESSAGE, SERIAL))
_DROPPABLE = _MESSAGES | {UNDECODABLE}


class Telemetry:
    """Stores frames, of each device in the order they came, and confirms each that is stored whole.

    One script call is in flight at a time. It carries a frame of each device in turn. A frame whose outcome
    is unknown is stored again, whole: a record may be stored twice, never zero times. Records depend on no
    right to the streams of messages: those keys are named only in calls that carry messages, and after such a
    call was refused messages travel alone. The queue is not bounded here: whoever reads from devices asks
    `backlog` first.

    Args:
        client: a client of its own; one connection is kept from it while `run` lasts.
        backlog: the count of what is not stored yet, shared with whatever else is stored for devices.
        call_entries, call_bytes: the most that one call carries (one frame always fits).
        on_error: told of every failed call.
        on_refused: given an undecodable frame or messages that Redis refuses for a reason which waiting does
            not cure (an access rule, a key of another type). They are dropped, ``done`` is never called, and
            a connection that waits for it must be closed. Without this hook they wait, and their device
            behind them.
        on_progress: told after each call that confirmed something.
    """

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        instance_id: str,
        *,
        on_error: Callable[[Exception], None],
        backlog: Backlog | None = None,
        on_refused: Callable[[Batch], None] | None = None,
        on_progress: Callable[[], None] | None = None,
        call_entries: int = CALL_ENTRIES,
        call_bytes: int = CALL_BYTES,
    ) -> None:
        self._kept = KeptConnection(client)
        self._names = (keys.telemetry, keys.undecodable)
        self._message_names = (*self._names, keys.messages, keys.serial)
        self._apart = False  # messages travel alone, for a call that carried some was refused as a whole
        self._instance_id = instance_id
        self._on_error = on_error
        self._on_refused = on_refused
        self._on_progress = on_progress
        self._call_entries = call_entries
        self._call_bytes = call_bytes
        self._script = Script("telemetry.lua")
        self._ring = DeviceRing()
        self._in_flight: deque[Batch] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stop = asyncio.Event()
        self._backoff = Backoff()
        self.healthy = True
        """False from a failed call until one succeeds."""
        self.backlog = backlog or Backlog()
        """Bytes not yet confirmed, about, of this store and of whoever shares it."""
        self.pending_entries = 0
        """Entries not yet confirmed."""
        self.dropped = 0
        """Frames of closed connections that were not stored."""

    def store(self, batch: Batch) -> None:
        """Queue a frame; returns at once."""
        batch.size = sum(map(len, batch.bodies))
        self.pending_entries += len(batch.bodies)
        self.backlog.bytes += OVERHEAD + batch.size
        if not self._ring:
            self._idle.clear()
            self._wake.set()
        self._ring.add(batch)

    def drop(self, batch: Batch) -> None:
        """Forget a frame of a connection that is closed; at once, unless it is being stored."""
        batch.cancelled = True
        if self._ring.remove(batch):
            self._drop(batch)

    def _drop(self, batch: Batch) -> None:
        self.dropped += 1
        self._release(batch)
        batch.bodies = []  # whoever still refers to the batch, and be it the queue of the registrar

    def _release(self, batch: Batch) -> None:
        """The frame is not pending any more."""
        self.pending_entries -= len(batch.bodies)
        self.backlog.bytes -= OVERHEAD + batch.size
        if not self._ring and not self._in_flight:
            self._idle.set()

    async def run(self) -> None:
        """Store batches until `stop`."""
        try:
            while not self._stop.is_set():
                if self._ring:
                    await self._turn()
                else:
                    self._wake.clear()
                    await self._wake.wait()
        finally:
            await self._kept.release()

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
        """Send one call and confirm what it stored; what it did not store waits again, whatever happens."""
        batches = self._next()
        self._in_flight.extend(batches)
        try:
            error = await self._attempt(batches)
            failed = self._in_flight[0] if self._in_flight else None
        finally:
            self._give_back()
        if failed is None:
            self.healthy = True
            self._apart = self._apart and not _carries_messages(batches)
            self._backoff.reset()
        elif error:
            await self._recover(error, failed)

    def _next(self) -> list[Batch]:
        """What the next call carries."""
        batches = self._ring.take(self._call_entries, self._call_bytes)
        if self._apart:
            alike = list(takewhile(lambda batch: batch.kind not in _MESSAGES, batches)) or batches[:1]
            self._ring.put_back(batches[len(alike) :])
            return alike
        return batches

    async def _attempt(self, batches: Sequence[Batch]) -> Exception | None:
        """Send a call and confirm what it stored; what stopped the rest, unless that can go out at once."""
        try:
            stored, error = await self._call(batches)
        except StoreError as failure:
            if not (_carries_messages(batches) and _is_missing_right(failure)):
                return failure
            self._apart = True
            return failure if len(batches) == 1 else None
        self._confirm(stored)
        return error

    async def _call(self, batches: Sequence[Batch]) -> tuple[int, Exception | None]:
        """Send frames; how many of them are stored, and what stopped the rest."""
        names = self._message_names if _carries_messages(batches) else self._names
        found: tuple[int, Exception | None] = await self._kept.call(
            self._script, names, self._spell(batches), partial(_read, batches)
        )
        return found

    def _spell(self, batches: Sequence[Batch]) -> list[Any]:
        """The arguments of one call."""
        arguments: list[Any] = [self._instance_id, UNDECODABLE_MAXLEN]
        for batch in batches:
            bodies = batch.bodies
            stamp = batch.reason if batch.kind == UNDECODABLE else batch.received_at
            arguments += (_FIELDS[batch.kind], batch.imei, batch.codec, stamp, len(bodies))
            arguments += bodies
        return arguments

    def _confirm(self, stored: int) -> None:
        """The first `stored` frames in flight are stored."""
        for _ in range(stored):
            batch = self._in_flight.popleft()
            self._release(batch)
            batch.done()
        if stored and self._on_progress:
            self._on_progress()

    def _give_back(self) -> None:
        """What is still in flight is not stored: it waits again, unless its connection has closed."""
        if self._in_flight:
            batches = list(self._in_flight)
            self._in_flight.clear()
            self._ring.put_back(batch for batch in batches if not batch.cancelled)
            for batch in batches:
                if batch.cancelled:
                    self._drop(batch)

    async def _recover(self, error: Exception, failed: Batch) -> None:
        """Report a failed call, whose first frame that is not stored is `failed`, and wait a while."""
        self._on_error(error)
        if self._on_refused and failed.kind in _DROPPABLE and _is_refusal(error):
            if self._ring.remove(failed):
                self._release(failed)
                self._on_refused(failed)
            return
        self.healthy = False
        await self._backoff.wait(self._stop)


def _carries_messages(batches: Iterable[Batch]) -> bool:
    return any(batch.kind in _MESSAGES for batch in batches)


def _read(batches: Sequence[Batch], reply: Any) -> tuple[int, StoreRefused | None]:
    """How many of the `batches` are stored, and what stopped the rest.

    Raises:
        ValueError, TypeError, AttributeError: it is no reply to them.
    """
    if reply == sum(len(batch.bodies) for batch in batches):
        return len(batches), None
    entries, text = reply
    return _whole(batches, entries), StoreRefused(text.decode(errors="replace"))


def _whole(batches: Sequence[Batch], entries: int) -> int:
    """How many of the first `batches` `entries` entries make whole.

    Raises:
        ValueError: there are not more entries than that.
    """
    for whole, batch in enumerate(batches):
        entries -= len(batch.bodies)
        if entries < 0:
            return whole
    raise ValueError("all of them are stored")


def _is_missing_right(error: StoreError) -> bool:
    return isinstance(error, StoreRefused) and error.code == "NOPERM"


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, StoreRefused) and not is_transient(error)

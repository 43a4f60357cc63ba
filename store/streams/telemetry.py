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
from fsm.telemetry import FRAME, MESSAGE, RECORD, SERIAL, UNDECODABLE, PendingFrame
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
        on_refused: Callable[[PendingFrame], None] | None = None,
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
        self._in_flight: deque[PendingFrame] = deque()
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

    def store(self, frame: PendingFrame) -> None:
        """Queue a frame; returns at once."""
        frame.size = sum(map(len, frame.bodies))
        self.pending_entries += len(frame.bodies)
        self.backlog.bytes += frame.weight
        if not self._ring:
            self._idle.clear()
            self._wake.set()
        self._ring.add(frame)

    def drop(self, frame: PendingFrame) -> None:
        """Forget a frame of a connection that is closed; at once, unless it is being stored."""
        frame.cancelled = True
        if self._ring.remove(frame):
            self._drop(frame)

    def _drop(self, frame: PendingFrame) -> None:
        self.dropped += 1
        self._release(frame)
        frame.bodies = []  # for others may still refer to the frame: the queue of the registrar, for example

    def _release(self, frame: PendingFrame) -> None:
        """The frame is not pending any more."""
        self.pending_entries -= len(frame.bodies)
        self.backlog.bytes -= frame.weight
        if not self._ring and not self._in_flight:
            self._idle.set()

    async def run(self) -> None:
        """Store frames until `stop`."""
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
        frames = self._next()
        self._in_flight.extend(frames)
        try:
            error = await self._attempt(frames)
            failed = self._in_flight[0] if self._in_flight else None
        finally:
            self._give_back()
        if failed is None:
            self.healthy = True
            self._apart = self._apart and not _carries_messages(frames)
            self._backoff.reset()
        elif error:
            await self._recover(error, failed)

    def _next(self) -> list[PendingFrame]:
        """What the next call carries."""
        frames = self._ring.take(self._call_entries, self._call_bytes)
        if self._apart:
            alike = list(takewhile(lambda frame: frame.kind not in _MESSAGES, frames)) or frames[:1]
            self._ring.put_back(frames[len(alike) :])
            return alike
        return frames

    async def _attempt(self, frames: Sequence[PendingFrame]) -> Exception | None:
        """Send a call and confirm what it stored; what stopped the rest, unless that can go out at once."""
        try:
            stored, error = await self._call(frames)
        except StoreError as failure:
            if not (_carries_messages(frames) and _is_missing_right(failure)):
                return failure
            self._apart = True
            return failure if len(frames) == 1 else None
        self._confirm(stored)
        return error

    async def _call(self, frames: Sequence[PendingFrame]) -> tuple[int, Exception | None]:
        """Send frames; how many of them are stored, and what stopped the rest."""
        names = self._message_names if _carries_messages(frames) else self._names
        found: tuple[int, Exception | None] = await self._kept.call(
            self._script, names, self._arguments(frames), partial(_read, frames)
        )
        return found

    def _arguments(self, frames: Sequence[PendingFrame]) -> list[Any]:
        """The arguments of one call."""
        arguments: list[Any] = [self._instance_id, UNDECODABLE_MAXLEN]
        for frame in frames:
            bodies = frame.bodies
            stamp = frame.reason if frame.kind == UNDECODABLE else frame.received_at
            arguments += (_FIELDS[frame.kind], frame.imei, frame.codec, stamp, len(bodies))
            arguments += bodies
        return arguments

    def _confirm(self, stored: int) -> None:
        """The first `stored` frames in flight are stored."""
        for _ in range(stored):
            frame = self._in_flight.popleft()
            self._release(frame)
            frame.done()
        if stored and self._on_progress:
            self._on_progress()

    def _give_back(self) -> None:
        """What is still in flight is not stored: it waits again, unless its connection has closed."""
        if self._in_flight:
            frames = list(self._in_flight)
            self._in_flight.clear()
            self._ring.put_back(frame for frame in frames if not frame.cancelled)
            for frame in frames:
                if frame.cancelled:
                    self._drop(frame)

    async def _recover(self, error: Exception, failed: PendingFrame) -> None:
        """Report a failed call, whose first frame that is not stored is `failed`, and wait a while."""
        self._on_error(error)
        if self._on_refused and failed.kind in _DROPPABLE and _is_refusal(error):
            if self._ring.remove(failed):
                self._release(failed)
                self._on_refused(failed)
            return
        self.healthy = False
        await self._backoff.wait(self._stop)


def _carries_messages(frames: Iterable[PendingFrame]) -> bool:
    return any(frame.kind in _MESSAGES for frame in frames)


def _read(frames: Sequence[PendingFrame], reply: Any) -> tuple[int, StoreRefused | None]:
    """How many of the `frames` are stored, and what stopped the rest.

    Raises:
        ValueError, TypeError, AttributeError: it is no reply to them.
    """
    if reply == sum(len(frame.bodies) for frame in frames):
        return len(frames), None
    entries, text = reply
    return _whole(frames, entries), StoreRefused(text.decode(errors="replace"))


def _whole(frames: Sequence[PendingFrame], entries: int) -> int:
    """How many of the first `frames` the first `entries` entries make whole.

    Raises:
        ValueError: there are not more entries than that.
    """
    for whole, frame in enumerate(frames):
        entries -= len(frame.bodies)
        if entries < 0:
            return whole
    raise ValueError("all of them are stored")


def _is_missing_right(error: StoreError) -> bool:
    return isinstance(error, StoreRefused) and error.code == "NOPERM"


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, StoreRefused) and not is_transient(error)

"""Storing telemetry, the hot path: all that waits goes out in one script call.

Owns every frame from the moment a connection hands it over until it is stored or dropped. Frames wait in a
`store.client.batch_queue` whose buffer is a ring of devices (`store.streams.device_ring`). A frame of a
connection that has closed is dropped at once, unless it is in flight: its device has not read an
acknowledgement, and keeps the records.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable
from functools import partial
from itertools import groupby, islice
from operator import attrgetter
from typing import Any, Protocol

from redis.asyncio import Redis

from fsm.backlog import Backlog
from fsm.telemetry import FRAME, MESSAGE, MESSAGES, RECORD, SERIAL, UNDECODABLE, PendingFrame
from store.client.batch_queue import BatchQueue
from store.client.errors import StoreError, StoreRefused, is_transient
from store.client.gathering import Gathering, Pause
from store.client.resp import Arguments
from store.client.script import KeptConnection, Script
from store.keys import Keys
from store.streams.caps import UNDECODABLE_MAXLEN
from store.streams.device_ring import DeviceRing

CALL_ENTRIES = 1000
CALL_BYTES = 1 << 20

_FIELDS = {
    **{RECORD: b"data", FRAME: b"frame", UNDECODABLE: b"reason"},
    **{MESSAGE: b"message", SERIAL: b"serial"},
}
_DROPPABLE = MESSAGES | {UNDECODABLE}


class Meter(Protocol):
    """Counts what is appended to streams, and makes room in them."""

    @property
    def due(self) -> bool:
        """Whether so much was appended that `settle` has to be called before more is."""

    def add(self, key: str, entries: int, size: int) -> None:
        """Entries were appended whose longest fields have `size` bytes together."""

    async def settle(self) -> None:
        """Make room.

        Raises:
            StoreError: a call failed.
        """


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
        on_error: called with the error of every failed call.
        on_refused: given an undecodable frame or messages that Redis refuses for a reason which waiting does
            not cure (an access rule, a key of another type). They are dropped, ``done`` is never called, and
            a connection that waits for it must be closed. Without this hook they wait, and their device
            behind them.
        on_progress: called after each call that confirmed a frame.
        meter: told of all that is stored; makes room before a call when that is due, or the last call failed.
        pause: how a call waits for more frames, of `store.client.gathering`.
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
        meter: Meter | None = None,
        call_entries: int = CALL_ENTRIES,
        call_bytes: int = CALL_BYTES,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._kept = KeptConnection(client)
        self._names = (keys.telemetry, keys.undecodable)
        self._message_names = (*self._names, keys.messages, keys.serial)
        self._instance_id = instance_id
        self._on_error = on_error
        self._on_refused = on_refused
        self._on_progress = on_progress
        self._meter = meter
        self._stream_of = {
            **dict.fromkeys((RECORD, FRAME), keys.telemetry),
            **dict.fromkeys(MESSAGES, keys.messages),
            UNDECODABLE: keys.undecodable,
        }
        self._script = Script("telemetry.lua")
        self._ring = DeviceRing(call_entries, call_bytes)
        self._queue = BatchQueue(self._ring, self._send, on_error=on_error, gathering=Gathering(pause))
        self.backlog = backlog or Backlog()
        """Bytes not yet confirmed, about, of this store and of whoever shares it."""
        self.pending_entries = 0
        """Entries not yet confirmed."""
        self.dropped = 0
        """Frames of closed connections that were not stored."""

    @property
    def healthy(self) -> bool:
        """False from a failed call until one succeeds."""
        return self._queue.healthy

    def store(self, frame: PendingFrame) -> None:
        """Queue a frame; returns at once."""
        frame.weigh()
        self.pending_entries += len(frame.bodies)
        self.backlog.bytes += frame.weight
        self._queue.put(frame)

    def drop(self, frame: PendingFrame) -> None:
        """Forget a frame of a connection that is closed; at once, unless it is being stored."""
        frame.cancelled = True
        if self._queue.remove(frame):
            self._drop(frame)

    def _drop(self, frame: PendingFrame) -> None:
        self.dropped += 1
        self._release(frame)
        frame.bodies = []  # for others may still refer to the frame: the queue of the registrar, for example

    def _release(self, frame: PendingFrame) -> None:
        """The frame is not pending any more."""
        self.pending_entries -= len(frame.bodies)
        self.backlog.bytes -= frame.weight

    async def run(self) -> None:
        """Store frames until `stop`."""
        try:
            await self._queue.run()
        finally:
            await self._kept.release()

    def stop(self) -> None:
        """Let `run` end after the call in flight; what is queued stays unconfirmed."""
        self._queue.stop()

    async def flush(self, within: float) -> int:
        """Wait until everything is confirmed, `within` seconds at most; how many entries are not."""
        await self._queue.flush(within)
        return self.pending_entries

    async def _send(self, batch: deque[PendingFrame]) -> Exception | None:
        """Send one call and confirm what it stored; frames of closed connections are not sent again."""
        try:
            return await self._make_room() or await self._attempt(batch, messages=_carry_messages(batch))
        finally:
            self._drop_cancelled(batch)

    async def _make_room(self) -> StoreError | None:
        """Trim the streams if that is due; an error that passes with time, after which a call has to wait."""
        if self._meter is None or not (self._meter.due or not self.healthy):
            return None
        try:
            await self._meter.settle()
        except StoreError as error:
            if is_transient(error):
                return error
            self._on_error(error)
        return None

    async def _attempt(self, batch: deque[PendingFrame], *, messages: bool) -> Exception | None:
        """Send one call and confirm what it stored; what stopped the rest, unless that can go out at once."""
        try:
            stored, error = await self._call(batch, messages=messages)
        except StoreError as failure:
            stored, error = 0, failure
            if messages and _is_missing_right(failure):
                self._ring.messages_apart = True
                if len(batch) > 1:
                    return None
        self._confirm(batch, stored)
        if not batch:
            self._ring.messages_apart = self._ring.messages_apart and not messages
        elif error and self._is_refused(batch, error):
            return None
        return error

    async def _call(
        self, frames: Collection[PendingFrame], *, messages: bool
    ) -> tuple[int, StoreError | None]:
        """Send frames; how many of them are stored, and what stopped the rest.

        Raises:
            StoreError: the call failed; its outcome may be unknown.
        """
        names = self._message_names if messages else self._names
        found: tuple[int, StoreError | None] = await self._kept.call(
            self._script, names, self._arguments(frames), partial(_read, frames)
        )
        return found

    def _arguments(self, frames: Iterable[PendingFrame]) -> Arguments:
        """The arguments of one call."""
        arguments = Arguments((self._instance_id, UNDECODABLE_MAXLEN))
        for frame in frames:
            kind, bodies = frame.kind, frame.bodies
            stamp = frame.reason if kind == UNDECODABLE else b"%d" % frame.received_at
            count = b"%d" % len(bodies)
            arguments.add((_FIELDS[kind], frame.imei, frame.codec, frame.session_id, stamp, count))
            arguments.add(bodies)
        return arguments

    def _confirm(self, batch: deque[PendingFrame], stored: int) -> None:
        """The first `stored` frames of the batch are stored."""
        if self._meter is not None:
            self._measure(self._meter, islice(batch, stored))
        for _ in range(stored):
            frame = batch.popleft()
            self._release(frame)
            frame.done()
        if stored and self._on_progress:
            self._on_progress()

    def _measure(self, meter: Meter, frames: Iterable[PendingFrame]) -> None:
        """Tell the meter what was appended to each stream."""
        for kind, alike in groupby(frames, key=attrgetter("kind")):
            entries = size = 0
            for frame in alike:
                entries += len(frame.bodies)
                size += frame.size
            meter.add(self._stream_of[kind], entries, size)

    def _is_refused(self, batch: deque[PendingFrame], error: StoreError) -> bool:
        """Whether Redis refuses the first frame of the batch for good; then it is reported and dropped."""
        frame = batch[0]
        if not (self._on_refused and frame.kind in _DROPPABLE and _is_refusal(error)):
            return False
        self._on_error(error)
        if not frame.cancelled:
            batch.popleft()
            self._release(frame)
            self._on_refused(frame)
        return True

    def _drop_cancelled(self, batch: deque[PendingFrame]) -> None:
        """What was not stored and belongs to a connection that has closed is dropped."""
        cancelled = [frame for frame in batch if frame.cancelled]
        for frame in cancelled:
            batch.remove(frame)
            self._drop(frame)


def _carry_messages(frames: Iterable[PendingFrame]) -> bool:
    return not MESSAGES.isdisjoint(map(attrgetter("kind"), frames))


def _read(frames: Collection[PendingFrame], reply: Any) -> tuple[int, StoreRefused | None]:
    """How many of the `frames` are stored, and what stopped the rest.

    Raises:
        ValueError, TypeError, AttributeError: it is no reply to them.
    """
    if reply == sum(len(frame.bodies) for frame in frames):
        return len(frames), None
    entries, text = reply
    return _whole(frames, entries), StoreRefused(text.decode(errors="replace"))


def _whole(frames: Collection[PendingFrame], entries: int) -> int:
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


def _is_refusal(error: StoreError) -> bool:
    return isinstance(error, StoreRefused) and not is_transient(error)

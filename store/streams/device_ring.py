"""Frames that wait for the store: a line for each device, and which device is next.

Invariant: the frames of a device leave in the order they came.

As long as one call can carry all that waits, devices are served in the order in which they came. When it
cannot, the order is that of weighted fair queueing (Demers, Keshav and Shenker, 1989), with virtual time
counted in bytes: a frame can start at the virtual time, but not before the one in front of it in its line
has finished; it finishes at its start plus its weight; the frame that finishes first is sent first. With each
frame the virtual time grows by the weight that each device that waits has had of it. So all devices that have
much to send get as much of the store, and a device that sends little is not behind them: a record does not
wait for a backlog of megabytes.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from itertools import chain, takewhile

from fsm.telemetry import MESSAGES, PendingFrame


class DeviceRing:
    """Lines of frames by IMEI; no line is empty. A buffer of a `store.client.batch_queue`.

    Args:
        entries: the most entries that the frames of one batch have together.
        size: the most bytes of bodies that they have together. One frame always fits.
    """

    def __init__(self, entries: int, size: int) -> None:
        self._entries = entries
        self._size = size
        # A dict keeps the order of the devices: who came first comes first.
        self._lines: dict[bytes, list[PendingFrame]] = {}
        self._order: _FairOrder | None = None
        self.messages_apart = False
        """Whether messages travel alone: a batch has no message, or one alone."""

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def __iter__(self) -> Iterator[PendingFrame]:
        return chain.from_iterable(self._lines.values())

    def put(self, frame: PendingFrame) -> None:
        """Put a frame at the end of its device's line."""
        line = self._lines.get(frame.imei)
        if line is not None:
            line.append(frame)
            return
        self._lines[frame.imei] = [frame]
        if self._order is not None:
            self._order.begin(frame.imei, frame.weight)

    def take(self) -> list[PendingFrame]:
        """Take out frames: at least one, and no more than fit."""
        frames = self._take_turns() if self._order is None else self._take_fairly(self._order)
        if self.messages_apart:
            alike = list(takewhile(lambda frame: frame.kind not in MESSAGES, frames)) or frames[:1]
            self.put_back(frames[len(alike) :])
            return alike
        return frames

    def _take_turns(self) -> list[PendingFrame]:
        taken: list[PendingFrame] = []
        entries, size = self._entries, self._size
        while self._lines:
            served = []
            for imei, line in self._lines.items():
                entries -= len(line[0].bodies)
                size -= line[0].size
                if taken and (entries < 0 or size < 0):
                    break
                taken.append(line[0])
                served.append(imei)
            if len(served) == len(self._lines):
                self._lines = {imei: line[1:] for imei, line in self._lines.items() if len(line) > 1}
                continue
            for imei in served:
                self._shift(imei)
            if entries < 0 or size < 0:
                break
        if self._lines:
            self._order = _FairOrder(self._lines)
        return taken

    def _take_fairly(self, order: _FairOrder) -> list[PendingFrame]:
        taken: list[PendingFrame] = []
        entries, size = self._entries, self._size
        while self._lines:
            imei = order.next()
            frame = self._lines[imei][0]
            entries -= len(frame.bodies)
            size -= frame.size
            if taken and (entries < 0 or size < 0):
                return taken
            taken.append(frame)
            active = len(self._lines)
            following = self._shift(imei)
            order.served(imei, frame.weight, active, following.weight if following else 0)
        self._order = None
        return taken

    def _shift(self, imei: bytes) -> PendingFrame | None:
        """Take out the first frame of the device, which waits behind the others then; its next frame."""
        line = self._lines.pop(imei)
        if len(line) == 1:
            return None
        del line[0]
        self._lines[imei] = line
        return line[0]

    def put_back(self, frames: Iterable[PendingFrame]) -> None:
        """Frames that were taken out and not stored come first again, in their order."""
        lines: dict[bytes, list[PendingFrame]] = {}
        for frame in frames:
            lines.setdefault(frame.imei, []).append(frame)
        for imei, line in lines.items():
            line += self._lines.pop(imei, ())
        self._lines = lines | self._lines
        if self._order is not None:
            for imei in lines:
                self._order.begin(imei, 0)

    def remove(self, frame: PendingFrame) -> bool:
        """Take out a frame wherever it waits; whether it waited."""
        line = self._lines.get(frame.imei, [])
        if frame not in line:
            return False
        line.remove(frame)
        if not line:
            del self._lines[frame.imei]
            if self._order is not None:
                self._order.end(frame.imei)
        return True


class _FairOrder:
    """Which device is next; see the module.

    Args:
        lines: the devices that wait, with their frames.
    """

    def __init__(self, lines: dict[bytes, list[PendingFrame]]) -> None:
        self._now = 0.0
        self._count = 0  # of two frames that finish together the one that has waited longer comes first
        self._heap: list[tuple[float, int, bytes]] = []  # with entries that do not count any more
        self._current: dict[bytes, int] = {}  # the number of each device's entry
        for imei, line in lines.items():
            self.begin(imei, line[0].weight)

    def begin(self, imei: bytes, weight: int) -> None:
        """The device waits with a frame of this weight in front; an earlier entry does not count any more."""
        self._push(imei, self._now + weight)

    def _push(self, imei: bytes, finish: float) -> None:
        self._count += 1
        self._current[imei] = self._count
        heapq.heappush(self._heap, (finish, self._count, imei))

    def next(self) -> bytes:
        """The device that is next. At least one waits."""
        while True:
            _, number, imei = self._heap[0]
            if self._current.get(imei) == number:
                return imei
            heapq.heappop(self._heap)

    def served(self, imei: bytes, weight: int, active: int, following: int) -> None:
        """The frame of the device that was next is taken out.

        Args:
            weight: of the frame.
            active: how many devices waited, this one included.
            following: the weight of the frame behind it; 0 for none.
        """
        finish, _, _ = heapq.heappop(self._heap)
        self._now += weight / active
        del self._current[imei]
        if following:
            self._push(imei, max(self._now, finish) + following)

    def end(self, imei: bytes) -> None:
        """The device does not wait any more."""
        self._current.pop(imei, None)

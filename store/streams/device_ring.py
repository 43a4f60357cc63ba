"""Frames that wait for the store: a line for each device, and the devices in turn.

Invariants: the frames of a device leave in the order they came; of two devices that wait, none gets a second
frame into a call before the other has its first there. So the backlog of one device makes no other wait.
"""

from __future__ import annotations

from collections.abc import Iterable

from fsm.telemetry import PendingFrame


class DeviceRing:
    """Lines of frames by IMEI; no line is empty."""

    def __init__(self) -> None:
        # A dict keeps the order of the devices: whose turn is next comes first.
        self._lines: dict[bytes, list[PendingFrame]] = {}

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, frame: PendingFrame) -> None:
        """Put a frame at the end of its device's line."""
        line = self._lines.get(frame.imei)
        if line is None:
            self._lines[frame.imei] = [frame]
        else:
            line.append(frame)

    def take(self, entries: int, size: int) -> list[PendingFrame]:
        """Take out frames, one of each device in turn: at least one, and no more than fit.

        Args:
            entries: the most entries that they may have together.
            size: the most bytes of bodies that they may have together.
        """
        taken: list[PendingFrame] = []
        while self._lines:
            served = []
            room = True
            for imei, line in self._lines.items():
                frame = line[0]
                entries -= len(frame.bodies)
                size -= frame.size
                if taken and (entries < 0 or size < 0):
                    room = False
                    break
                taken.append(frame)
                served.append(imei)
            self._turn(served)
            if not room:
                break
        return taken

    def _turn(self, served: Iterable[bytes]) -> None:
        """The first frame of each of these devices is taken out; who has more waits behind the others."""
        lines = self._lines
        for imei in served:
            line = lines.pop(imei)
            if len(line) > 1:
                del line[0]
                lines[imei] = line

    def put_back(self, frames: Iterable[PendingFrame]) -> None:
        """Frames that were taken out and not stored come first again, in their order."""
        lines: dict[bytes, list[PendingFrame]] = {}
        for frame in frames:
            lines.setdefault(frame.imei, []).append(frame)
        for imei, line in lines.items():
            line += self._lines.pop(imei, ())
        self._lines = lines | self._lines

    def remove(self, frame: PendingFrame) -> bool:
        """Take out a frame wherever it waits; whether it waited."""
        line = self._lines.get(frame.imei, [])
        if frame not in line:
            return False
        line.remove(frame)
        if not line:
            del self._lines[frame.imei]
        return True

"""Frames that wait for the store: a line for each device, and the devices in turn.

Invariants: the frames of a device leave in the order they came; of two devices that wait, none gets a second
frame into a call before the other has its first there. So the backlog of one device makes no other wait.
"""

from __future__ import annotations

from collections.abc import Iterable

from fsm.telemetry import Batch


class DeviceRing:
    """Lines of batches by IMEI; no line is empty."""

    def __init__(self) -> None:
        # A dict keeps the order of the devices: whose turn is next comes first.
        self._lines: dict[bytes, list[Batch]] = {}

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, batch: Batch) -> None:
        """Put a batch at the end of its device's line."""
        line = self._lines.get(batch.imei)
        if line is None:
            self._lines[batch.imei] = [batch]
        else:
            line.append(batch)

    def take(self, entries: int, size: int) -> list[Batch]:
        """Take out batches, one of each device in turn: at least one, and no more than fit.

        Args:
            entries: the most entries that they may have together.
            size: the most bytes of bodies that they may have together.
        """
        taken: list[Batch] = []
        while self._lines:
            served = []
            room = True
            for imei, line in self._lines.items():
                batch = line[0]
                entries -= len(batch.bodies)
                size -= batch.size
                if taken and (entries < 0 or size < 0):
                    room = False
                    break
                taken.append(batch)
                served.append(imei)
            self._turn(served)
            if not room:
                break
        return taken

    def _turn(self, served: Iterable[bytes]) -> None:
        """The first batch of each of these devices is taken out; who has more waits behind the others."""
        lines = self._lines
        for imei in served:
            line = lines.pop(imei)
            if len(line) > 1:
                del line[0]
                lines[imei] = line

    def put_back(self, batches: Iterable[Batch]) -> None:
        """Batches that were taken out and not stored come first again, in their order."""
        lines: dict[bytes, list[Batch]] = {}
        for batch in batches:
            lines.setdefault(batch.imei, []).append(batch)
        for imei, line in lines.items():
            line += self._lines.pop(imei, ())
        self._lines = lines | self._lines

    def remove(self, batch: Batch) -> bool:
        """Take out a batch wherever it waits; whether it waited."""
        line = self._lines.get(batch.imei, [])
        if batch not in line:
            return False
        line.remove(batch)
        if not line:
            del self._lines[batch.imei]
        return True

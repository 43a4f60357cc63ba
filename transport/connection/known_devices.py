"""Which devices this process knows: those that had records acknowledged at two times, minutes apart.

Anybody can invent an IMEI and have a record acknowledged for it. What cannot be had at once is a past. So a
device that was acknowledged for the first time is only noted, and becomes known when it is acknowledged
again after `SETTLED` seconds, or when its session ends after having been used for so long. After a start
Redis tells which devices have such a past (`devices:status`); they are recalled as far as there is room.

While a device is connected its connection is the memory: nothing of it is noted here before it leaves. What
is noted and what is known is bounded, each apart. Invented devices push out devices that were noted, never
one that is known: for that they would have to come back, each of them. A device that was known and was pushed
out is a stranger until it is known again: it is served all the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

SETTLED = 600.0
"""Seconds between the first acknowledgement and the one that makes a device known."""
REMEMBERED = 100_000
"""Devices in each of the memories."""


class KnownDevices:
    """Devices that are known, and of those that have left those that may become known, and all others."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, str] = OrderedDict()  # imei -> the source that it was last seen at
        self._met: OrderedDict[str, None] = OrderedDict()
        self._noted: OrderedDict[str, float] = OrderedDict()  # imei -> when it was first acknowledged

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, imei: str) -> bool:
        """Whether the device is known."""
        return imei in self._known

    def at(self, imei: str, source: str) -> bool:
        """Whether the device is known at this source."""
        return self._known.get(imei) == source

    def is_new(self, imei: str) -> bool:
        """Whether no device of this name was here before."""
        return imei not in self._known and imei not in self._noted and imei not in self._met

    def acknowledged(self, imei: str, source: str, now: float) -> None:
        """The device at `source` has had records acknowledged, for the first time in its session."""
        if imei in self._known or now - self._noted.get(imei, now) >= SETTLED:
            self._remember(imei, source)

    def left(self, imei: str, source: str, since: float | None, now: float) -> None:
        """The session of a device at `source` is over.

        Args:
            since: when it had records acknowledged first, monotonic seconds; None if it had none.
            now: when it was heard last.
        """
        if since is None:
            self._meet(imei)
        elif imei in self._known or now - self._noted.setdefault(imei, since) >= SETTLED:
            self._remember(imei, source)
        elif len(self._noted) > REMEMBERED:
            self._noted.popitem(last=False)

    def _meet(self, imei: str) -> None:
        if self.is_new(imei):
            self._met[imei] = None
            if len(self._met) > REMEMBERED:
                self._met.popitem(last=False)

    def registered(self, imeis: Iterable[str]) -> None:
        """The registry names these devices: they were connected before."""
        for imei in imeis:
            self._remember(imei, "")

    def recall(self, imeis: Iterable[str]) -> bool:
        """These devices were known before the start; whether there is room for more. They push out none."""
        for imei in imeis:
            if len(self._known) >= REMEMBERED:
                return False
            if imei not in self._known:
                self._known[imei] = ""
                self._known.move_to_end(imei, last=False)
        return True

    def _remember(self, imei: str, source: str) -> None:
        self._noted.pop(imei, None)
        self._known[imei] = source
        self._known.move_to_end(imei)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

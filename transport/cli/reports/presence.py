"""How many devices were connected, from the session events of the time and from who is connected now.

A session is open from its first event to ``closed``. One that was open before the time began is known by a
later event, or because it is still in the registry. So the count at the begin is known only at the end, and
counts are kept relative to it.

Events may be left out (docs/contract.md, "Sessions"). A session of which only ``closed`` is told was open
before only if the device had none since; else it began meanwhile, and is not counted. Where the log leaves a
session open that the registry does not have, it counts as ended with the last sign of its gateway.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from fsm.session import CLOSED, IDENTIFIED, READY
from store.fleet.devices import Device
from store.streams.messages import SessionEvent

from .span import Span


class Online(NamedTuple):
    """Connected devices in each part of the span: at its end, and the fewest within it."""

    last: list[int]
    least: list[int]


class Presence:
    """Folds session events, the oldest first.

    Attributes:
        events: how many were folded.
    """

    def __init__(self, span: Span) -> None:
        self._span = span
        self.events = 0
        self._before = 0
        self._now = 0
        self._part = 0
        self._open: dict[str, tuple[str, str]] = {}
        self._first: dict[str, str] = {}
        self._sessions: Counter[str] = Counter()
        self._last = span.counts()
        self._least = span.counts()
        self._late = span.counts()

    def add(self, at_ms: int, event: SessionEvent) -> None:
        """Fold an event that was appended at `at_ms`."""
        self.events += 1
        self._go_to(self._span.part(at_ms))
        known = event.session_id in self._open
        if event.state == CLOSED:
            self._close(event, known)
        elif not known:
            self._begin(event)
        self._first.setdefault(event.imei, event.session_id)
        self._last[self._part] = self._now
        self._least[self._part] = min(self._least[self._part], self._now)

    def _go_to(self, part: int) -> None:
        """The count stays as it is until the part of the next event."""
        for passed in range(self._part + 1, part + 1):
            self._last[passed] = self._least[passed] = self._now
        self._part = max(self._part, part)

    def _begin(self, event: SessionEvent) -> None:
        self._open[event.session_id] = (event.imei, event.instance_id)
        self._sessions[event.imei] += 1
        if self._sessions[event.imei] > 1:
            return
        if event.state == IDENTIFIED or (event.state == READY and event.prev == IDENTIFIED):
            self._now += 1
        else:
            self._before += 1

    def _close(self, event: SessionEvent, known: bool) -> None:
        if not known:
            self._close_unseen(event)
            return
        imei, _ = self._open.pop(event.session_id)
        self._sessions[imei] -= 1
        if not self._sessions[imei]:
            del self._sessions[imei]
            self._now -= 1

    def _close_unseen(self, event: SessionEvent) -> None:
        first = self._first.get(event.imei)
        if first is None or first in self._open:  # the first one is a newer connection, which replaces it
            self._before += 1
            self._now -= 1

    def online(self, devices: Iterable[Device], last_sign: Callable[[str], int | None]) -> Online:
        """The counts, in the light of the devices that are known now.

        Args:
            last_sign: when a gateway last wrote an event, epoch ms; None if it is not known.
        """
        self._go_to(self._span.parts - 1)
        connected = {device.imei: device for device in devices if device.online}
        for device in connected.values():
            if device.imei not in self._sessions:
                self._unseen(device)
        left = {imei: by for imei, by in self._open.values() if imei not in connected}
        for instance_id in left.values():
            self._shift(last_sign(instance_id) or self._span.since_ms, -1)
        return Online(self._absolute(self._last), self._absolute(self._least))

    def _unseen(self, device: Device) -> None:
        """A device that is connected, and of whose session there was no event."""
        since = device.since_ms or 0
        if since < self._span.since_ms:
            self._before += 1
        else:
            self._shift(since, +1)

    def _shift(self, at_ms: int, by: int) -> None:
        self._late[self._span.part(at_ms)] += by

    def _absolute(self, relative: list[int]) -> list[int]:
        found, late = [], self._before
        for count, change in zip(relative, self._late, strict=True):
            late += change
            found.append(max(0, late + count))
        return found

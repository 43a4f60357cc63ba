"""What is said of session events that were left out: how many, of how many devices, and of whom most."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

SUMMARY_AFTER = 60.0
"""Seconds from the first event that is left out to the summary."""
DEVICES = 1000
"""Devices that are told apart in one summary; if there are more, it says that it has lost count."""
SOURCES = 1000
"""Addresses whose events are counted in one summary."""


@dataclass(slots=True, frozen=True)
class Summary:
    """Session events that were left out since the last summary.

    Attributes:
        devices: how many devices they were of, at least; `DEVICES` at most.
        source: the address of most of them, `of_source` events; an address is a network /64 of IPv6.
    """

    events: int
    devices: int
    source: str
    of_source: int

    @property
    def sentence(self) -> str:
        """The summary for people."""
        devices = f"{'at least ' * (self.devices >= DEVICES)}{self.devices} devices"
        return f"{self.events} session events of {devices} left out, {self.of_source} of {self.source}"


class LeftOut:
    """Counts session events that are left out. The memory of each count is limited."""

    def __init__(self) -> None:
        self._since = 0.0
        self._clear()

    def _clear(self) -> None:
        self._events = 0
        self._devices: set[str] = set()
        self._sources: Counter[str] = Counter()

    def add(self, imei: str, source: str, now: float) -> None:
        """An event is left out at `now`, monotonic seconds."""
        if not self._events:
            self._since = now
        self._events += 1
        if len(self._devices) < DEVICES:
            self._devices.add(imei)
        if source in self._sources or len(self._sources) < SOURCES:
            self._sources[source] += 1

    def due(self, now: float) -> bool:
        """Whether it is time for a summary."""
        return self._events > 0 and now - self._since >= SUMMARY_AFTER

    def take(self) -> Summary | None:
        """The summary of what was added since the last one; None if nothing was."""
        if not self._events:
            return None
        [(source, most)] = self._sources.most_common(1)
        summary = Summary(self._events, len(self._devices), source, most)
        self._clear()
        return summary

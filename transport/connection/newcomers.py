"""Connections that have not named their device, and which of them gives way when all places are taken.

Anybody can open such connections. So they share their places fairly by source, which is one address of IPv4
or a network /64 of IPv6. A new connection takes the place of another source that has at least two more, the
oldest one of that source. If no source has so many, it takes the place of a connection that has had `GRACE`
seconds to name its device. So silent connections from a few addresses keep nobody out, however many they
are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

GRACE = 1.0
"""Seconds that a connection has at least, unless its source has more connections than others."""
UNKNOWN = ""
"""The source of a connection whose address is not known yet."""
SOURCES_A_LOOK = 16
"""Sources that are compared for one new connection, on average."""


def _nothing() -> None:
    """The connection cannot be closed yet."""


@dataclass(slots=True, eq=False)
class Place:
    """What a connection holds from its accept to its end, and what decides whether it gives way.

    Attributes:
        since: when it was accepted, then when it named its device; monotonic seconds.
        source: what its address counts as: an address of IPv4, or a network /64 of IPv6.
        known: whether its device was known when it was named.
        proven_at: when something of its device was stored on it first; None for not yet.
        paid_at: when all that the device has sent is paid for (`transport.connection.device_rate`).
        charged: whether it counts for the budgets of its source.
    """

    since: float
    source: str = UNKNOWN
    known: bool = False
    proven_at: float | None = None
    charged: bool = False
    paid_at: float = 0.0


class Newcomers:
    """These connections by source, each in the order in which they came. Every method is O(1) on average."""

    def __init__(self) -> None:
        self._all: dict[Place, Callable[[], object]] = {}  # what closes each connection soon
        self._by_source: dict[str, dict[Place, None]] = {}
        self._largest: Mapping[Place, None] = {}  # as it was found by the last look
        self._to_look_at = 0

    def __len__(self) -> int:
        return len(self._all)

    def of(self, source: str) -> int:
        """How many connections the source has."""
        return len(self._by_source.get(source, ()))

    def add(self, place: Place) -> None:
        """A connection was accepted."""
        self._all[place] = _nothing
        self._by_source.setdefault(place.source, {})[place] = None

    def give_way_by(self, place: Place, close: Callable[[], object]) -> None:
        """`close` closes the connection soon; it is called only as long as that has not named its device."""
        if place in self._all:
            self._all[place] = close

    def move(self, place: Place, source: str) -> None:
        """The address of the connection became known."""
        self._leave_source(place)
        place.source = source
        self._by_source.setdefault(source, {})[place] = None

    def remove(self, place: Place) -> None:
        """The connection has named its device, has given way, or is closed. It may be removed twice."""
        if self._all.pop(place, None):
            self._leave_source(place)

    def _leave_source(self, place: Place) -> None:
        places = self._by_source[place.source]
        del places[place]
        if not places:
            del self._by_source[place.source]

    def give_way(self, source: str, now: float) -> Place | None:
        """Close a connection to make place for a new one of `source`; its place, if there was one."""
        crowd = self._crowd(self.of(source) + 2)
        place = next(iter(crowd or self._all), None)
        if place is None or not (crowd or now - place.since >= GRACE):
            return None
        close = self._all[place]
        self.remove(place)
        close()
        return place

    def _crowd(self, least: int) -> Mapping[Place, None]:
        """The connections of a source that has so many; none if there is none, or if it is not looked for."""
        if len(self._largest) < least:
            self._to_look_at += SOURCES_A_LOOK
            if self._to_look_at >= len(self._by_source):
                self._to_look_at = 0
                self._largest = max(self._by_source.values(), key=len, default={})
        return self._largest if len(self._largest) >= least else {}

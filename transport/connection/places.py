"""Places for devices when there are not enough: who gives way to whom.

Of the connections that the limits allow, a part is kept for connections that have not named their device
yet (`transport.connection.newcomers`); the other places are for devices. If these are taken, one device
gives way to another. A stranger is a device that is not known.

To a known device gives way, in this order:

1. a stranger of which nothing was stored yet;
2. another stranger;
3. a known device that was silent for `ASLEEP` seconds.

To a stranger only strangers give way, in the same order, and only after some time (`PATIENCE`), which is
short if the source of the one has at least two strangers more than the source of the other. A source is an
address of IPv4 or a network /64 of IPv6. Among those of one rank the source that has most strangers comes
first, and then who was silent longest.

What follows: silent connections from a few addresses keep nobody out, whether they had records stored or
not, and do not push out the devices of others when they come again and again. A known device finds a place
as long as there is a stranger. A device that gave way loses nothing: it keeps its records, and connects
again.

With an allow-list, or with client certificates, every device that may connect is known. Otherwise a device
is known as `transport.connection.known_devices` says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from heapq import nsmallest

from fsm.reasons import NO_PLACE
from transport.connection.ports import SessionConnection

ASLEEP = 600.0
_UNPROVEN, _STRANGER, _KNOWN = range(3)
PATIENCE = {
    (_UNPROVEN, True): 0.0,
    (_UNPROVEN, False): 10.0,
    (_STRANGER, True): 5.0,
    (_STRANGER, False): 60.0,
}
"""Seconds after which a stranger gives way to another, by rank and by whether its source has more of them.
They run from the handshake as long as nothing is stored, and then from the last bytes."""
KEPT = 500
"""The most places that are kept for connections that have not named their device, ..."""
SHARE = 20
"""... and the part of all places that is kept for them."""
CANDIDATES = 64
"""Connections that one look over all of them finds."""
LOOK_AGAIN = 1.0
"""Seconds after a look that found nobody."""


class Places:
    """The places of devices.

    Args:
        room: connections that the limits allow.
        devices: the connection of each device, by imei.
        on_taken: called when a device has lost its place, with its source and the time.
    """

    def __init__(
        self,
        room: int,
        devices: Mapping[str, SessionConnection],
        on_taken: Callable[[str, float], None],
    ) -> None:
        self._room = room - min(room // SHARE, KEPT)
        self._devices = devices
        self._on_taken = on_taken
        self._strangers: Counter[str] = Counter()  # by source
        self._line: list[SessionConnection] = []  # who gives way next is the last
        self._look_at: dict[tuple[bool, int], float] = {}  # by the kind of the newcomer

    def enter(self, connection: SessionConnection) -> None:
        """A device takes a place."""
        if not connection.place.known:
            self._strangers[connection.place.source] += 1

    def leave(self, connection: SessionConnection) -> None:
        """A device leaves its place."""
        if not connection.place.known:
            self._strangers[connection.place.source] -= 1
            if not self._strangers[connection.place.source]:
                del self._strangers[connection.place.source]

    def vouch(self, connection: SessionConnection) -> None:
        """The device of a connection turns out to be known."""
        self.leave(connection)
        connection.place.known = True

    def make(self, newcomer: SessionConnection, imei: str, now: float) -> bool:
        """Whether there is a place for a device; another may have given way, with the reason `no_place`.

        Args:
            newcomer: the connection that has just named the device.
            now: monotonic seconds.
        """
        if len(self._devices) < self._room or imei in self._devices:
            return True
        other = self._next(newcomer, now)
        if other is None:
            return False
        self._on_taken(other.place.source, now)
        other.close(NO_PLACE)
        return True

    def _next(self, newcomer: SessionConnection, now: float) -> SessionConnection | None:
        """Who gives way to the newcomer.

        A look that finds nobody counts for all newcomers whose sources have about as many strangers.
        """
        found = self._take(newcomer, now)
        kind = newcomer.place.known, self._strangers[newcomer.place.source].bit_length()
        if found is None and now >= self._look_at.get(kind, now):
            self._look(newcomer, now)
            found = self._take(newcomer, now)
            if found is None:
                self._look_at[kind] = now + LOOK_AGAIN
        return found

    def _take(self, newcomer: SessionConnection, now: float) -> SessionConnection | None:
        for at in reversed(range(len(self._line))):
            connection = self._line[at]
            if self._devices.get(connection.imei) is not connection:
                del self._line[at]
            elif self._gives_way(connection, newcomer, now):
                del self._line[at]
                return connection
        return None

    def _look(self, newcomer: SessionConnection, now: float) -> None:
        found = (one for one in self._devices.values() if self._gives_way(one, newcomer, now))
        self._line = nsmallest(CANDIDATES, found, key=self._order)
        self._line.reverse()

    def _order(self, connection: SessionConnection) -> tuple[int, int, float]:
        rank = _rank(connection)
        return rank, 0 if rank == _KNOWN else -self._strangers[connection.place.source], _since(connection)

    def _gives_way(self, connection: SessionConnection, newcomer: SessionConnection, now: float) -> bool:
        rank, silent = _rank(connection), now - _since(connection)
        if newcomer.place.known:
            return rank != _KNOWN or silent >= ASLEEP
        if rank == _KNOWN:
            return False
        more = self._strangers[connection.place.source] >= self._strangers[newcomer.place.source] + 2
        return silent >= PATIENCE[rank, more]


def _rank(connection: SessionConnection) -> int:
    if connection.place.known:
        return _KNOWN
    return _UNPROVEN if connection.place.proven_at is None else _STRANGER


def _since(connection: SessionConnection) -> float:
    return connection.place.since if _rank(connection) == _UNPROVEN else connection.last_read

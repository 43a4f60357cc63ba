"""Who may connect: how many connections at once, in all and from one address.

A connection takes a place of the gateway from its accept to its end. It takes a place of its address only
until it has said which device it is. So a fleet behind one address (a carrier's NAT, a balancer) is not cut,
and whoever connects and says nothing holds no more than the places of one address, each for the handshake
time-out at most.
"""

from __future__ import annotations

from collections import Counter

import structlog

from transport.connection.tcp import has_spare_descriptor, raise_descriptor_limit
from transport.log_throttle import LogThrottle, Tally
from transport.metrics import Metrics
from transport.settings import Settings

log = structlog.get_logger("telgw.sessions")

FEW = 500
"""Connections below which a limit of open files is worth a line at the start."""

_TOTAL, _FILES, _ADDRESS = "max-connections", "open-files", "max-connections-per-ip"
_ADVICE = {
    _TOTAL: "raise --max-connections",
    _FILES: "raise the limit of open files (LimitNOFILE, ulimit -n)",
    _ADDRESS: "raise --max-connections-per-ip if these are devices; it counts connections that named none",
}


class Admission:
    """The places, and who has been turned away for want of one.

    Attributes:
        connected: sockets open, those that have not said anything yet included.
        refusing: set when the gateway stops; nobody is admitted from then on.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.connected = 0
        self.refusing = False
        self._metrics = metrics
        files = raise_descriptor_limit()
        self._room = min(settings.max_connections or files, files)
        self._limited_by = _TOTAL if self._room == settings.max_connections else _FILES
        self._wanted = settings.max_connections or FEW
        self._scarcity = LogThrottle()
        self._per_host = settings.max_connections_per_ip
        self._unidentified: Counter[str] = Counter()
        self._turned_away: Tally[tuple[str, str]] = Tally()

    def enter(self, host: str | None, now: float) -> bool:
        """Count a new connection, unless it would be one too many.

        Args:
            host: its address; None for one whose address is not known yet, which `claim` is asked for later.
            now: monotonic seconds.
        """
        if self.refusing:
            self._metrics.turned_away.inc()
            return False
        if self.connected >= self._room:
            self._refuse(host or "", self._limited_by, now)
            return False
        if host is not None and not self.claim(host, now):
            return False
        self.connected += 1
        self._metrics.connections.inc()
        return True

    def claim(self, host: str, now: float) -> bool:
        """Take a place of the address for a connection that has not said which device it is."""
        if self._per_host and self._unidentified[host] >= self._per_host:
            self._refuse(host, _ADDRESS, now)
            return False
        self._unidentified[host] += 1
        return True

    def release(self, host: str) -> None:
        """Give the place of the address back: the connection has named its device, or is gone."""
        self._unidentified[host] -= 1
        if self._unidentified[host] <= 0:
            del self._unidentified[host]

    def leave(self, host: str | None) -> None:
        """A connection is gone; `host` is the address of which it still had a place."""
        self.connected -= 1
        if host is not None:
            self.release(host)

    def foresee(self) -> None:
        """Tell if the limit of open files leaves room for few devices, or for fewer than are allowed."""
        if self._room < self._wanted:
            log.warning("open_files_low", connections=self._room, advice=_ADVICE[_FILES])

    def _refuse(self, host: str, limit: str, now: float) -> None:
        self._metrics.turned_away.inc()
        what = (host if limit == _ADDRESS else "", limit)
        if self._turned_away.add(what, now):
            self._tell(host, limit, 1)

    def look(self, now: float) -> None:
        """Tell of those who were turned away since the last line about their address, and of scarcity."""
        if not has_spare_descriptor() and self._scarcity.allow(_FILES, now):
            log.warning("open_files_exhausted", connections=self.connected, advice=_ADVICE[_FILES])
        for (host, limit), count in self._turned_away.due(now):
            self._tell(host, limit, count)

    def _tell(self, host: str, limit: str, count: int) -> None:
        allowed = self._per_host if limit == _ADDRESS else self._room
        log.warning(
            "turned_away", address=host, limit=limit, allowed=allowed, count=count, advice=_ADVICE[limit]
        )

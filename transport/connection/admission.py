"""Admission: limits the number of connections, in total and for each address.

An address is one of IPv4, or a network /64 of IPv6: who has one address of it has all of them (RFC 6177).

A connection counts for the total from its accept to its end. It counts for its address only until its device
is identified. So a fleet behind one address (the NAT of a carrier, a load balancer) is not limited, but a
peer that connects and sends nothing can use only the limit of one address, until the handshake time-out. When
the total is reached, one that was not identified gives way to a new one (`transport.connection.newcomers`).
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address

import structlog

from transport.connection.newcomers import UNKNOWN, Newcomers, Place
from transport.connection.source_budgets import CONNECTIONS, HANDSHAKES, SourceBudgets
from transport.connection.tcp import has_spare_descriptor, raise_descriptor_limit
from transport.log_throttle import CountingThrottle, LogThrottle
from transport.metrics import Metrics
from transport.settings import Settings

log = structlog.get_logger("telgw.sessions")

FEW = 500
"""If the limit of open files allows fewer connections than this, that is logged at the start."""

_TOTAL, _FILES, _ADDRESS = "max-connections", "open-files", "max-connections-per-ip"
_ADVICE = {
    _TOTAL: "raise --max-connections",
    _FILES: "raise the limit of open files (LimitNOFILE, ulimit -n)",
    _ADDRESS: "raise --max-connections-per-ip if these are devices; it counts connections that sent no IMEI",
}


@lru_cache(maxsize=4096)
def network_of(host: str) -> str:
    """What counts as one address: `host`, or the network /64 that it is in; what is no address as it is."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    mapped = address.ipv4_mapped
    return str(mapped) if mapped else str(IPv6Network((int(address) >> 64 << 64, 64)))


def _budgets(secure: bool) -> tuple[str, ...]:
    return (CONNECTIONS, HANDSHAKES) if secure else (CONNECTIONS,)


class Admission:
    """Counts connections, and logs those that were refused.

    Attributes:
        budgets: of the sources.
        connected: open sockets, those without an IMEI, too.
        newcomers: those that have not named their device.
        room: connections that the limits allow.
        refusing: set when the gateway stops; from then on all connections are refused.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.budgets = SourceBudgets(settings, metrics)
        self.connected = 0
        self.refusing = False
        self._metrics = metrics
        files = raise_descriptor_limit()
        self.newcomers = Newcomers()
        self.room = min(settings.max_connections or files, files)
        self._limited_by = _TOTAL if self.room == settings.max_connections else _FILES
        self._wanted = settings.max_connections or FEW
        self._scarcity = LogThrottle()
        self._per_host = settings.max_connections_per_ip
        self._turned_away: CountingThrottle[tuple[str, str]] = CountingThrottle()

    def enter(self, host: str | None, now: float, *, secure: bool = False) -> Place | None:
        """Count a new connection, unless a limit is reached: its place.

        Args:
            host: its address; None if it is not known yet: then call `claim` later.
            now: monotonic seconds.
            secure: whether a TLS handshake comes next.
        """
        if self.refusing:
            self._metrics.turned_away.inc()
            return None
        source = UNKNOWN if host is None else network_of(host)
        if self._is_over(source, now, secure):
            return None
        if self.connected >= self.room:
            taken = self.newcomers.give_way(source, now)
            self.no_place(taken.source if taken else "", now)
            if taken is None:
                return None
        place = Place(now, source)
        self.newcomers.add(place)
        self._charge(place, now, secure)
        self.connected += 1
        self._metrics.connections.inc()
        return place

    def claim(self, place: Place, host: str, now: float, *, secure: bool = False) -> bool:
        """Count an unidentified connection for its address, unless the limit is reached."""
        source = network_of(host)
        if self._is_over(source, now, secure):
            return False
        self.newcomers.move(place, source)
        self._charge(place, now, secure)
        return True

    def _is_over(self, source: str, now: float, secure: bool) -> bool:
        """Whether the source has too many unidentified connections, or comes too often."""
        if source == UNKNOWN:
            return False
        if self._per_host and self.newcomers.of(source) >= self._per_host:
            self._refuse(source, _ADDRESS, now)
            return True
        if all(self.budgets.covers(name, source, now) for name in _budgets(secure)):
            return False
        self._metrics.turned_away.inc()
        return True

    def _charge(self, place: Place, now: float, secure: bool) -> None:
        if place.source != UNKNOWN:
            for name in _budgets(secure):
                self.budgets.take(name, place.source, now)
            place.charged = True

    def give_back(self, place: Place, secure: bool) -> None:
        """The connection is one of a device that reports: it costs its source nothing."""
        if place.charged:
            for name in _budgets(secure):
                self.budgets.give_back(name, place.source)
            place.charged = False

    def release(self, place: Place) -> None:
        """Stop counting a connection for its address: it was identified, or is closed."""
        self.newcomers.remove(place)

    def leave(self, place: Place) -> None:
        """A connection is closed."""
        self.connected -= 1
        self.release(place)

    def no_place(self, source: str, now: float) -> None:
        """All places are taken: one of `source` is closed for a new one, or a new one is refused (empty)."""
        self._refuse(source, self._limited_by, now)

    def warn_if_few(self) -> None:
        """Log a warning if the limit of open files allows only few devices, or fewer than configured."""
        if self.room < self._wanted:
            log.warning("open_files_low", connections=self.room, advice=_ADVICE[_FILES])

    def _refuse(self, host: str, limit: str, now: float) -> None:
        self._metrics.turned_away.inc()
        if self._turned_away.add((host, limit), now):
            self._log(host, limit, 1)

    def log_refused(self, now: float) -> None:
        """Log refused connections, by address and with their number, and a lack of file descriptors."""
        if not has_spare_descriptor() and self._scarcity.allow(_FILES, now):
            log.warning("open_files_exhausted", connections=self.connected, advice=_ADVICE[_FILES])
        self.budgets.log_due(now)
        for (host, limit), count in self._turned_away.due(now):
            self._log(host, limit, count)

    def _log(self, host: str, limit: str, count: int) -> None:
        allowed = self._per_host if limit == _ADDRESS else self.room
        log.warning(
            "turned_away", address=host, limit=limit, allowed=allowed, count=count, advice=_ADVICE[limit]
        )

"""Devices that connect again and again while they are connected, always as the same peer.

The rule of take-overs (`fsm.takeover`) does not see two devices with one IMEI behind one address, nor two
with copies of one certificate: each of them is the same device as the other, as far as can be known. But they
take the connection from each other without end. So does a device whose connections break without a word, if
seldom so often. Nothing is refused or held back for this: it is said.
"""

from __future__ import annotations

import structlog
from cachetools import TTLCache

from transport.connection.ports import SessionConnection
from transport.log_throttle import LogThrottle

log = structlog.get_logger("telgw.sessions")

WINDOW = 600.0
"""Seconds without a take-over after which a device is forgotten."""
MANY = 10
"""Take-overs from which on a device is told of, at most once a minute."""
REMEMBERED = 10_000
"""Devices that are remembered; the one whose last take-over is the oldest is forgotten first."""


class RepeatedTakeovers:
    """Tells which devices take their connection from themselves too often."""

    def __init__(self) -> None:
        self._now = 0.0
        self._told = LogThrottle()
        self._counts: TTLCache[str, int] = TTLCache(REMEMBERED, WINDOW, lambda: self._now)

    def note(self, connection: SessionConnection, now: float) -> None:
        """`connection` has taken the device from the same peer, at `now` (monotonic seconds)."""
        self._now = now
        count = self._counts.pop(connection.imei, 0) + 1
        self._counts[connection.imei] = count
        if count >= MANY and self._told.allow(connection.imei, now):
            log.warning(
                "takeovers_repeated",
                imei=connection.imei,
                peer=connection.peer,
                auth=connection.auth,
                count=count,
                meaning="it connects again and again while it is connected: two devices with one IMEI or one "
                "certificate, or one whose connections break",
            )

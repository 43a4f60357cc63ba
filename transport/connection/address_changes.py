"""Detects devices whose address changes too often: one of the peers may be another device with its IMEI."""

from __future__ import annotations

import structlog
from cachetools import TTLCache

from transport.metrics import Metrics

log = structlog.get_logger("telgw.sessions")

WINDOW = 600.0
CHANGES = 3
"""Changes of address within the window that are too many for one device."""
REMEMBERED = 10_000
"""Devices that are remembered; the one seen longest ago is forgotten first."""


class AddressChangeMonitor:
    """Logs devices whose address changes too often. It refuses no connection."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._now = 0.0
        # imei -> address, and when it changed
        self._seen: TTLCache[str, tuple[str, tuple[float, ...]]] = TTLCache(
            REMEMBERED, WINDOW, lambda: self._now
        )

    def note(self, imei: str, host: str, now: float) -> None:
        """The device has identified itself from `host`, at `now` (monotonic seconds)."""
        self._now = now
        before, changes = self._seen.get(imei, (host, ()))
        changes = tuple(at for at in changes if now - at < WINDOW)
        if host != before:
            changes = (*changes, now)
        if len(changes) >= CHANGES:
            self._metrics.takeovers_suspicious.inc()
            log.warning("takeovers_suspicious", imei=imei, address=host, before=before, changes=len(changes))
            changes = ()
        self._seen[imei] = (host, changes)

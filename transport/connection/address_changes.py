"""Detects devices whose address changes too often: one of the peers may be another device with its IMEI."""

from __future__ import annotations

import structlog

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
        # imei -> address, when it was last seen, when it changed address; the longest unseen first
        self._seen: dict[str, tuple[str, float, tuple[float, ...]]] = {}

    def note(self, imei: str, host: str, now: float) -> None:
        """The device has identified itself from `host`."""
        self._forget(now)
        before, _, changes = self._seen.pop(imei, (host, now, ()))
        changes = tuple(at for at in changes if now - at < WINDOW)
        if host != before:
            changes = (*changes, now)
        if len(changes) >= CHANGES:
            self._metrics.takeovers_suspicious.inc()
            log.warning("takeovers_suspicious", imei=imei, address=host, before=before, changes=len(changes))
            changes = ()
        self._seen[imei] = (host, now, changes)

    def _forget(self, now: float) -> None:
        while self._seen:
            imei, (_, seen, _) = next(iter(self._seen.items()))
            if len(self._seen) < REMEMBERED and now - seen < WINDOW:
                return
            del self._seen[imei]

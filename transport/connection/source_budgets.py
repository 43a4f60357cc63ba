"""What one source may do in a second: an address of IPv4, or a network /64 of IPv6.

| budget | what it counts | what happens beyond it |
|---|---|---|
| connections | accepted connections | closed at the accept |
| handshakes | accepted connections with TLS | closed at the accept |
| new devices | IMEIs that this process has not met | closed after the IMEI, without an answer |
| refusals | IMEIs that were answered with `00` | closed after the IMEI: no answer, no look at the list |

A reconnect storm is no attack: thousands of devices may share one address, the NAT of a carrier or a
balancer, and all come at once after a restart. So a source may do much at once, and a device that reports
costs its address nothing: the connection is given back when the device is known, or when something of it is
stored. A device that was met is new only once. With an allow-list or client certificates no device is new. A
known device of the same source is heard even if there were too many refusals, so strangers behind the NAT of
a fleet do not shut it out.
"""

from __future__ import annotations

import structlog

from transport.connection.rate_limit import RateLimit
from transport.log_throttle import CountingThrottle
from transport.metrics import Metrics
from transport.settings import Settings

log = structlog.get_logger("telgw.sessions")

CONNECTIONS, HANDSHAKES = "connection-rate", "handshake-rate"
NEW_DEVICES, REFUSALS = "new-device-rate", "refusal-rate"
AHEAD = {CONNECTIONS: 100.0, HANDSHAKES: 250.0, NEW_DEVICES: 1000.0, REFUSALS: 300.0}
"""Seconds in which a source saves up what it may do at once."""


class SourceBudgets:
    """The four budgets of every source, by the name of their option."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        rates = {
            CONNECTIONS: settings.connection_rate,
            HANDSHAKES: settings.handshake_rate,
            NEW_DEVICES: settings.new_device_rate,
            REFUSALS: settings.refusal_rate,
        }
        self._limits = {name: RateLimit(rate, AHEAD[name]) for name, rate in rates.items()}
        self._metrics = metrics
        for name in rates:
            metrics.over_budget.labels(name)  # from 0 on, because a rate begins with a second sample
        self._over: CountingThrottle[tuple[str, str]] = CountingThrottle()

    def covers(self, name: str, source: str, now: float) -> bool:
        """Whether the budget of the source has something left; if not, that is counted and logged."""
        if self._limits[name].covers(source, now):
            return True
        self._metrics.over_budget.labels(name).inc()
        if self._over.add((name, source), now):
            self._log(name, source, 1)
        return False

    def take(self, name: str, source: str, now: float) -> None:
        """The source uses one of what the budget has."""
        self._limits[name].take(source, now)

    def give_back(self, name: str, source: str) -> None:
        """What the source has used does not count."""
        self._limits[name].give_back(source)

    def log_due(self, now: float) -> None:
        """Log the sources that went on to be over a budget, with the number of times."""
        for (name, source), count in self._over.due(now):
            self._log(name, source, count)

    def _log(self, name: str, source: str, count: int) -> None:
        log.warning(
            "over_budget",
            address=source,
            limit=name,
            allowed=self._limits[name].rate,
            count=count,
            advice=f"raise --{name} if these are devices, or block the address",
        )

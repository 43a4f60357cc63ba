"""Networks that connections may come from. The address is the only thing that is looked at.

The look-up is two shifts and a comparison for each network, before anything else is done for a connection, so
a peer from elsewhere costs an accept and a close.
"""

from __future__ import annotations

import structlog

from fsm.networks import Network, is_within
from transport.connection.admission import network_of
from transport.log_throttle import LogThrottle
from transport.metrics import Metrics

log = structlog.get_logger("telgw.sessions")


class SourceNetworks:
    """The networks from which devices may connect to one listener.

    Args:
        networks: empty for any.
    """

    def __init__(self, networks: tuple[Network, ...], metrics: Metrics) -> None:
        self._networks = networks
        self._metrics = metrics
        self._throttle = LogThrottle()

    def __bool__(self) -> bool:
        """Whether there is a limit at all."""
        return bool(self._networks)

    def admits(self, host: str, now: float) -> bool:
        """Whether a connection may come from `host`; if not, it is counted, and logged once a minute.

        Args:
            now: monotonic seconds.
        """
        if not self._networks or is_within(host, self._networks):
            return True
        self._metrics.from_elsewhere.inc()
        network = network_of(host)
        if self._throttle.allow(network, now):
            log.warning(
                "source_refused",
                address=network,
                advice="add it to --allow-from if a device connects from it",
            )
        return False

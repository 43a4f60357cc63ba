"""The gateway's metrics on HTTP."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from transport.daemon.gateway import Gateway

log = structlog.get_logger("telgw")


def expose(gateway: Gateway) -> Callable[[], None] | None:
    """Serve the metrics and return how to stop; None when they are off, or their port is in use.

    A port in use is no reason not to serve devices.
    """
    address = gateway.settings.metrics
    if address is None:
        return None
    metrics, hub, dispatcher, backend = (
        gateway.metrics,
        gateway.hub,
        gateway.dispatcher,
        gateway.backend,
    )
    metrics.gauge("sessions", "Devices connected", lambda: len(hub.sessions))
    metrics.gauge("open_connections", "TCP connections open", lambda: hub.connected)
    metrics.gauge("commands_held", "Commands in hand", lambda: len(dispatcher.flights))
    metrics.gauge("ledger_depth", "Moves waiting for Redis", lambda: backend.ledger.depth)
    metrics.gauge(
        "telemetry_pending_bytes", "Telemetry not yet confirmed", lambda: backend.telemetry.pending_bytes
    )
    metrics.reading("frames_total", "AVL frames acknowledged", lambda: hub.frames)
    metrics.reading("records_total", "AVL records acknowledged", lambda: hub.records)
    try:
        return metrics.serve(*address)
    except OSError as error:
        log.warning("metrics_unavailable", address=f"{address[0]}:{address[1]}", error=error.strerror)
        return None

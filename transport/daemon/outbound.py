"""The outbound stream of this gateway: who reads it, and who looks for its faults."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from store.streams.outbound import OutboundReader
from store.streams.outbound_faults import OutboundFaults
from transport.clock import Clock
from transport.commands.dispatcher import Dispatcher
from transport.daemon.backend import Backend
from transport.metrics import Metrics
from transport.settings import Settings

log = structlog.get_logger("telgw.commands")


def outbound(
    settings: Settings,
    backend: Backend,
    dispatcher: Dispatcher,
    clock: Clock,
    metrics: Metrics,
    owns: Callable[[], Awaitable[bool]],
) -> tuple[OutboundReader, OutboundFaults]:
    """The reader of the stream, which hands entries to the dispatcher, and the search for its faults."""

    def lost(entries: int) -> None:
        metrics.outbound_lost.inc(entries)
        log.warning("outbound_entries_lost", entries=entries)

    client, keys = backend.clients["reader"], backend.keys
    reader = OutboundReader(
        client,
        keys,
        settings.instance_id,
        on_entries=dispatcher.receive,
        may_read=dispatcher.may_read,
        on_error=lambda error: backend.report("reader", error),
        owns=owns,
        on_lost=lost,
        on_caught_up=dispatcher.caught_up,
        shared_for=backend.heartbeat.shared_for,
    )
    faults = OutboundFaults(client, keys, settings.instance_id, now_ms=clock.now_ms, on_lost=lost)
    return reader, faults

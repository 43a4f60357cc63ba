"""The metrics and the state of the gateway over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path

from store.streams.telemetry import Telemetry
from transport.daemon.gateway import Gateway
from transport.daemon.http_pages import CONTENT_TYPE, NOT_LISTENING, Page, PageServer
from transport.logs import lines_dropped
from transport.metrics import Metrics


async def expose(gateway: Gateway) -> PageServer | None:
    """Serve the pages of the gateway; None if they are off.

    ``/metrics`` is for Prometheus. ``/healthz`` says that the event loop runs: without an answer the process
    may be restarted. ``/readyz`` says whether devices and commands are served; while Redis is away it says
    no, and a restart would not help.

    Raises:
        CannotServeMetrics: the address is in use, or is not an address of this host.
    """
    address = gateway.settings.metrics
    if address is None:
        return None
    _read(gateway)
    server = PageServer(
        {
            "/metrics": lambda: Page(HTTPStatus.OK, gateway.metrics.page(), CONTENT_TYPE),
            "/healthz": lambda: Page(HTTPStatus.OK, b"ok\n"),
            "/readyz": lambda: readiness(obstacles(gateway)),
        }
    )
    if isinstance(address, Path):
        await server.start_unix(address)
        gateway.pages_at = ""  # they are on the page of the supervisor
        return server
    await server.start(*address)
    gateway.pages_at = server.address
    return server


def obstacles(gateway: Gateway) -> list[str]:
    """What keeps the gateway from serving devices and commands, as sentences; empty if it is ready."""
    found = {
        "The gateway is stopping.": gateway.stopping,
        NOT_LISTENING: not gateway.listening,
        "The instance id is not taken yet.": not gateway.backend.heartbeat.taken,
        "Redis does not answer.": not gateway.backend.redis_up,
    }
    return [sentence for sentence, true in found.items() if true]


def state(gateway: Gateway) -> str:
    """What the gateway does, in one line."""
    devices, commands = len(gateway.sessions.by_imei), len(gateway.dispatcher.entries)
    return " ".join([*obstacles(gateway), f"Devices: {devices}. Commands in progress: {commands}."])


def readiness(obstacles: Sequence[str]) -> Page:
    """The page that says whether the gateway is ready, or why it is not."""
    if not obstacles:
        return Page(HTTPStatus.OK, b"ready\n")
    return Page(HTTPStatus.SERVICE_UNAVAILABLE, "".join(f"{text}\n" for text in obstacles).encode("ascii"))


def _read(gateway: Gateway) -> None:
    """Register the values that are read at a scrape."""
    gauge, reading = gateway.metrics.gauge, gateway.metrics.reading
    connections, sessions, backend = gateway.connections, gateway.sessions, gateway.backend
    commands, clock = gateway.dispatcher.entries, gateway.clock
    stores = backend.stores
    gateway.metrics.build(version("teltonika-gateway"))
    gauge("redis_up", "Whether Redis answers: 1 or 0", lambda: float(backend.redis_up))
    gauge("ready", "Whether devices and commands are served: 1 or 0", lambda: float(not obstacles(gateway)))
    gauge("sessions", "Devices connected", lambda: len(sessions.by_imei))
    gauge("open_connections", "TCP connections open", lambda: sessions.connected)
    gauge("commands_held", "Commands in progress", lambda: len(commands))
    dispatcher, takeovers = gateway.dispatcher, connections.takeovers
    gauge("sessions_held", "Devices without commands after a take-over", lambda: len(takeovers.held))
    gauge(
        "commands_held_back",
        "Commands that wait because of a take-over",
        lambda: sum(dispatcher.waiting(one.imei) for one in takeovers.held),
    )
    gauge("commands_pending", "Outbound entries pending at the last heartbeat", lambda: gateway.pending)
    gauge("parked_devices", "Devices that parked commands wait for", lambda: backend.parked.devices)
    gauge("ledger_depth", "Moves waiting for Redis", lambda: backend.ledger.depth)
    gauge(
        "telemetry_pending_bytes", "Telemetry not confirmed", lambda: sum(one.backlog.bytes for one in stores)
    )
    for number, shard in enumerate(backend.shards):
        _read_shard(gateway.metrics, str(number), shard)
    gauge(
        "heartbeat_age_seconds", "Since the last heartbeat", lambda: clock.monotonic() - gateway.heartbeat_at
    )
    gauge("oldest_queued_seconds", "Age of the oldest queued command", lambda: _age(gateway))
    if gateway.files.tls_ends() is not None:
        text = "Epoch seconds when the first of certificate, CA and revocation lists expires"
        gauge("tls_expiry_timestamp_seconds", text, lambda: gateway.files.tls_ends() or 0.0)
    reading("frames_total", "AVL frames acknowledged", lambda: sum(one.frames for one in connections.serving))
    reading(
        "records_total", "AVL records acknowledged", lambda: sum(one.records for one in connections.serving)
    )
    reading(
        "telemetry_dropped_frames_total",
        "Frames not stored because their connection closed first",
        lambda: sum(one.dropped for one in stores),
    )
    reading("log_lines_dropped_total", "Log lines that could not be written", lines_dropped)
    gauge(
        "session_events_waiting",
        "Session events over the rate, to be published",
        lambda: sessions.share.waiting,
    )
    log_ = backend.session_log
    reading("session_events_dropped_total", "Session events lost", lambda: log_.dropped if log_ else 0)


def _read_shard(metrics: Metrics, number: str, shard: Telemetry) -> None:
    metrics.shard_up.labels(number).set_function(lambda: float(shard.healthy))
    metrics.shard_pending.labels(number).set_function(lambda: shard.backlog.bytes)


def _age(gateway: Gateway) -> float:
    oldest = gateway.dispatcher.entries.oldest_queued
    return 0.0 if oldest is None else max(0.0, (gateway.clock.now_ms() - oldest) / 1000)

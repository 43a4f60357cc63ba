"""Counters and gauges for Prometheus. An IMEI is never a label."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from fsm.events import CommandEvent
from fsm.moves import Status

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second line for each counter, which nobody reads


class _Reading(Collector):
    def __init__(self, name: str, text: str, read: Callable[[], float]) -> None:
        self._name, self._text, self._read = name, text, read

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(self._name, self._text, value=self._read())


class Metrics:
    """The metrics of one gateway process, in their own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"teltonika_{name}", text, labels, registry=self.registry)

        self.connections = counter("connections_total", "TCP connections accepted")
        self.turned_away = counter("connections_turned_away_total", "TCP connections beyond a limit")
        self.from_elsewhere = counter(
            "connections_from_elsewhere_total", "Connections from outside the networks of --allow-from"
        )
        self.over_budget = counter(
            "over_budget_total", "Connections closed because their address is over a budget", "budget"
        )
        self.devices_slowed = counter(
            "devices_slowed_total", "Times that a device was read later because it sent too much"
        )
        self.proxy_refused = counter(
            "proxy_refused_total", "Connections to a PROXY listener without a valid, trusted header", "reason"
        )
        self.tls_failures = counter("tls_failures_total", "TLS handshakes that failed")
        self.closed = counter("sessions_closed_total", "Sessions closed", "reason")
        self.plain_refused = counter(
            "plain_refused_total", "Connections without TLS for a device that is connected with TLS"
        )
        self.refused = counter(
            "devices_refused_total",
            "Connections of devices that the list or their certificate does not admit",
            "reason",
        )
        self.takeovers = counter(
            "takeovers_total", "Devices that connected while another session of them was registered", "kind"
        )
        self.disputes = counter("disputes_total", "Devices that two peers have claimed by turns")
        self.session_events_left_out = counter(
            "session_events_left_out_total", "Session events that were not published, because of their number"
        )
        self.bad_frames = counter("bad_frames_total", "Frames whose checksum is wrong")
        self.frames_too_long = counter("frames_too_long_total", "Frames that declare more bytes than allowed")
        self.undecodable = counter("undecodable_frames_total", "CRC-valid frames stored raw")
        self.messages = counter(
            "device_messages_total", "Messages of devices that are neither records nor answers", "codec"
        )
        self.messages_lost = counter(
            "device_messages_lost_total", "Messages that Redis refused; the device does not send them again"
        )
        self.pings = counter("pings_total", "Empty codec 12 frames, a network ping")
        self.commands = counter("command_events_total", "Events of commands", "state", "reason", "delivery")
        self.parked = counter("commands_parked_total", "Commands that this gateway has parked")
        self.rtt = Histogram(
            "teltonika_command_response_seconds",
            "From the write of a command to its answer",
            buckets=(0.1, 0.5, 1, 2, 5, 10, 15, 30, 60, 300),
            registry=self.registry,
        )
        self.notes = counter("command_notes_total", "Notes about commands", "note")
        self.notes_suppressed = counter(
            "command_notes_suppressed_total",
            "Notes that were not published, because there were too many",
            "note",
        )
        self.deadletters = counter("deadletters_total", "Outbound entries moved to the dead-letter stream")
        self.outbound_lost = counter(
            "outbound_entries_lost_total",
            "Outbound entries that were removed before their commands had ended",
        )
        self.registry_failures = counter("registry_failures_total", "Registrations that failed")
        self.store_errors = counter("store_errors_total", "Failed calls to Redis", "part", "error")
        self.redis_calls = Histogram(
            "teltonika_redis_call_seconds",
            "From a call to Redis to its reply, of calls that do not wait there for anything",
            ("part",),
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1),
            registry=self.registry,
        )
        self.task_failures = counter("task_failures_total", "Unexpected errors of tasks", "task")
        self.adoptions = counter("adoptions_total", "Commands of dead instances that were ended or moved")
        self.instances_lost = counter(
            "instances_lost_total", "Gateways that were found dead and had not been stopped in order"
        )
        self.trimmed_unread = counter(
            "responses_trimmed_unread_total", "Entries of the log trimmed before every group had read them"
        )
        self.session_events_trimmed = counter(
            "session_events_trimmed_unread_total",
            "Session events and other entries that no command asked for, trimmed before they were read",
        )
        self.telemetry_trimmed_unread = counter(
            "telemetry_trimmed_unread_total", "Telemetry entries trimmed before every group had read them"
        )
        self.overruled = counter("ledger_refusals_total", "Moves that the ledger refused", "status")
        for status in (Status.CONFLICT, Status.FENCED):
            self.overruled.labels(status)  # from 0 on, because a rate begins with a second sample
        self.taints = counter("taints_total", "Connections that owe an answer to a command that has ended")
        self.stream_bytes = Gauge(
            "teltonika_stream_bytes", "Bytes of a stream, about", ("stream",), registry=self.registry
        )
        self.shard_up = Gauge(
            "teltonika_shard_up", "Whether a shard stores records: 1 or 0", ("shard",), registry=self.registry
        )
        self.shard_pending = Gauge(
            "teltonika_shard_pending_bytes",
            "Telemetry of a shard not confirmed",
            ("shard",),
            registry=self.registry,
        )
        self.loop_stall = Gauge(
            "teltonika_loop_stall_seconds", "Delay of the last sweep", registry=self.registry
        )
        self._by_event: dict[tuple[str, str, str], Counter] = {}

    def reading(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A counter whose value is kept elsewhere and read at each scrape."""
        self.registry.register(_Reading(f"teltonika_{name}", text, read))

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A gauge that is read at each scrape."""
        Gauge(f"teltonika_{name}", text, registry=self.registry).set_function(read)

    def build(self, version: str) -> None:
        """Say which version this is."""
        info = Gauge("teltonika_build_info", "The version, as a label", ("version",), registry=self.registry)
        info.labels(version).set(1)

    def command(self, event: CommandEvent) -> None:
        """Count a committed event."""
        key = (event.state, event.reason, event.delivery)
        counter = self._by_event.get(key)
        if counter is None:
            counter = self._by_event[key] = self.commands.labels(*key)
        counter.inc()
        if event.rtt_ms is not None:
            self.rtt.observe(event.rtt_ms / 1000)

    def page(self) -> bytes:
        """All metrics, in the text format of Prometheus."""
        return generate_latest(self.registry)

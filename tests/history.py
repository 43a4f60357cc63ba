"""What happened in a run, as seen from outside the gateways: the input of `tests.checker`."""

from __future__ import annotations

from dataclasses import dataclass, field

Fields = dict[str, str]


@dataclass(frozen=True)
class Bytes:
    """Bytes that passed between a gateway and a device, and when (epoch ms): see `History.from_gateways`."""

    at: float
    connection: str
    up: bool
    data: bytes


@dataclass(frozen=True)
class Produced:
    """An entry that a producer appended."""

    instance: str
    entry: str
    fields: Fields

    @property
    def command_id(self) -> str:
        """Whose entry it is."""
        return self.fields.get("command_id", "")

    @property
    def is_command(self) -> bool:
        """Whether it asks for a command, rather than for its end."""
        return self.fields.get("type", "command") == "command"

    def expires_at(self, ttl: float) -> float:
        """Epoch ms from which on it must not be written."""
        return float(self.fields.get("expires_at") or int(self.entry.partition("-")[0]) + ttl * 1000)


@dataclass
class History:
    """Everything a checker may look at. Lists are in the order of truth.

    Attributes:
        connections: connection -> imei of its device.
        traffic: the bytes of all connections.
        responses: the log, as (entry id, fields).
        ledgers: command_id -> ledger.
        registry: imei -> instance; tokens: imei -> session.
        live: imei -> (instance, session) of the sessions that are open.
        telemetry: entries of the telemetry stream.
        acked: (imei, timestamp) of every record that a device saw acknowledged.
        received: command texts that devices received, by imei.
        left, pending: instance -> ids of entries in its stream, and in its pending list.
        held: commands still in the hands of a living gateway.
        contested: instances in whose name two processes ran at a time; between them there is no order.
        ttl: seconds that a command without a time lives.
        from_gateways: traffic is as the gateways read and wrote it. As devices see it, a command may cross a
            report, and a connection whose session is not known has a name that begins with ``?``.
        clock_error: milliseconds by which the times of traffic may be wrong about the clock of Redis.
        late_acks: what was to be acknowledged at once and was not, as sentences.
    """

    connections: dict[str, str] = field(default_factory=dict)
    traffic: list[Bytes] = field(default_factory=list)
    produced: list[Produced] = field(default_factory=list)
    responses: list[tuple[str, Fields]] = field(default_factory=list)
    ledgers: dict[str, Fields] = field(default_factory=dict)
    registry: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    live: dict[str, tuple[str, str]] = field(default_factory=dict)
    telemetry: list[Fields] = field(default_factory=list)
    acked: list[tuple[str, int]] = field(default_factory=list)
    received: set[tuple[str, str]] = field(default_factory=set)
    left: dict[str, list[str]] = field(default_factory=dict)
    pending: dict[str, list[str]] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)
    contested: set[str] = field(default_factory=set)
    late_acks: list[str] = field(default_factory=list)
    from_gateways: bool = True
    clock_error: float = 5.0
    ttl: float = 300.0

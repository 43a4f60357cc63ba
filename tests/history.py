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

    @property
    def waits(self) -> bool:
        """Whether it may be parked for its device."""
        return self.fields.get("offline") == "wait"

    @property
    def at(self) -> float:
        """When Redis took it, epoch ms."""
        return float(self.entry.partition("-")[0])

    def expires_at(self, ttl: float) -> float:
        """Epoch ms from which on it must not be written."""
        return float(self.fields.get("expires_at") or self.at + ttl * 1000)


@dataclass(frozen=True)
class Loss:
    """Redis came back at `at` with what it had at `kept`; 0 when that was nothing (epoch ms)."""

    kept: float
    at: float


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
        telemetry: entries of the telemetry stream; ``frame`` in hex.
        messages: entries of the stream of messages.
        messages_apart: messages and records are stored independently, as they are where there are shards.
        acked: (imei, timestamp) of every record that a device saw acknowledged.
        received: command texts that devices received, by imei.
        left, pending: instance -> ids of entries in its stream, and in its pending list.
        held: commands still in the hands of a living gateway.
        contested: instances in whose name two processes ran at a time; between them there is no order.
        ttl: seconds that a command without a time lives.
        from_gateways: traffic is as the gateways read and wrote it. As devices see it, a command may cross a
            report, and a connection whose session is not known has a name that begins with ``?``.
        hold: milliseconds for which a device that has changed hands gets no command, where no gateway can ask
            the older connection; 0 if they can.
        clock_error: milliseconds by which the times of traffic may be wrong about the clock of Redis.
        late_acks: what was to be acknowledged at once and was not, as sentences.
        losses: when Redis came back without what it had confirmed. The log and the records are all there ever
            were, lost ones too; everything else is as it was in the end.
        deaths: process, as the names of its sessions begin -> when it ended (epoch ms).
        kept: commands in the hands of a process when Redis last lost something, if the process lives on.
        ready_grace: seconds after the handshake in which nothing is written to a device that has had no ack;
            0 when that is not known.
        response_timeout: seconds that a command waits for its answer unless it says otherwise.
        calm_at: from when on there were no faults (epoch ms); None when there always were.
        recovery: seconds after that in which every gateway has found back to Redis.
        parked: seconds after which a parked command that has expired has ended.
        adoption: seconds after which a dead instance has been adopted.
        lost: instances that were dead when it became calm, and stayed so.
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
    messages: list[Fields] = field(default_factory=list)
    messages_apart: bool = False
    acked: list[tuple[str, int]] = field(default_factory=list)
    received: set[tuple[str, str]] = field(default_factory=set)
    left: dict[str, list[str]] = field(default_factory=dict)
    pending: dict[str, list[str]] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)
    contested: set[str] = field(default_factory=set)
    late_acks: list[str] = field(default_factory=list)
    from_gateways: bool = True
    clock_error: float = 5.0
    hold: float = 0.0
    ttl: float = 300.0
    losses: list[Loss] = field(default_factory=list)
    deaths: dict[str, float] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    ready_grace: float = 0.0
    response_timeout: float = 30.0
    calm_at: float | None = None
    recovery: float = 0.0
    parked: float = 0.0
    adoption: float = 0.0
    lost: set[str] = field(default_factory=set)

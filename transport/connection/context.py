"""What connections of one process use: settings, the clock, limits, and the ports to the rest.

Where telemetry has shards there is a context for each of them, with its own store, backlog and back-pressure,
so that a shard that is away pauses its own devices only. All else is shared. A connection begins with the
first context, which reads handshakes whatever the stores do, and gets that of its shard with its IMEI.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from fsm.backlog import Backlog
from fsm.deadlines import Deadlines
from fsm.shards import shard_of
from transport.clock import Clock
from transport.connection.access import AccessControl
from transport.connection.admission import Admission
from transport.connection.allow_list import AllowListPort
from transport.connection.backpressure import FIRST_READ, READ_SIZE, Backpressure
from transport.connection.device_rate import DeviceRate
from transport.connection.long_frames import LIMIT as LONG_FRAMES
from transport.connection.peer_log import PeerLog
from transport.connection.ports import Acknowledging, SessionConnection
from transport.connection.session_share import SessionShare
from transport.connection.sessions import Sessions
from transport.connection.status_board import StatusBoard
from transport.connection.takeovers import Takeovers
from transport.connection.tap import Tap
from transport.connection.traffic_log import TrafficLog
from transport.metrics import Metrics
from transport.ports import CommandsPort, StorePorts, TelemetryPort
from transport.settings import Settings
from transport.teltonika.io_names import IoNames
from transport.teltonika.stream import StreamSettings
from transport.teltonika.streams import Streams

LEAST_ROOM = 1024 * 1024
"""Bytes of long frames that may arrive at the same time from the devices of a shard, at least."""


Buffer = Callable[[int], memoryview]
"""What an event loop calls for the buffer of a read: the size of it limits what is read at once."""


def _read_buffer() -> memoryview:
    return memoryview(bytearray(READ_SIZE))


def _giving(buffer: memoryview) -> Buffer:
    return lambda sizehint: buffer


@dataclass(slots=True, eq=False)
class ConnectionContext:
    """One object for all connections of a shard, so that each of them keeps one reference.

    Attributes:
        streams: of all devices.
        sessions: who is connected.
        takeovers: which sessions are held back.
        access: the allow-list.
        io_names: names IO values; None without ``--io-names``.
        telemetry: stores what is acknowledged.
        messages: stores what is not; the same where there is one shard.
        shards: the contexts of the shards; none where there is one.
        backlog: how much is read and not stored.
        backpressure: which connections are read.
        traffic: logs each frame; None unless lines at debug are wanted.
        tap: the devices of which somebody watches the bytes.
        deadlines: one for each connection that waits for something; `Timeouts` handles them.
        now: the monotonic second of the last sweep, or of the end of a stall: precise enough for idle times
            and throttles, and cheap to read.
        read_buffer: of every read; its content is copied in the same turn of the loop.
        first_reads, reads: give it before a device has named itself, and then.
        frames, records: AVL frames and records acknowledged since the start.
        stored: the connections of frames that are stored, in their order, until they are acknowledged.
    """

    settings: Settings
    streams: Streams
    clock: Clock
    metrics: Metrics
    peer_log: PeerLog
    sessions: Sessions
    takeovers: Takeovers
    commands: CommandsPort
    telemetry: TelemetryPort
    messages: TelemetryPort
    access: AccessControl
    backlog: Backlog
    backpressure: Backpressure
    tap: Tap
    now: float
    io_names: IoNames | None = None
    traffic: TrafficLog | None = None
    deadlines: Deadlines[SessionConnection] = field(default_factory=Deadlines)
    read_buffer: memoryview = field(default_factory=_read_buffer)
    frames: int = 0
    records: int = 0
    stored: list[Acknowledging] = field(default_factory=list)
    shards: tuple[ConnectionContext, ...] = ()
    first_reads: Buffer = field(init=False)
    reads: Buffer = field(init=False)

    def __post_init__(self) -> None:
        self.first_reads = _giving(self.read_buffer[:FIRST_READ])
        self.reads = _giving(self.read_buffer)

    @property
    def serving(self) -> tuple[ConnectionContext, ...]:
        """The contexts of identified devices."""
        return self.shards or (self,)

    def of(self, imei: str) -> ConnectionContext:
        """The context of a device."""
        return self.shards[shard_of(imei.encode(), len(self.shards))] if self.shards else self

    def set_time(self, now: float) -> None:
        """It is `now`, for this context and those of the shards."""
        self.now = now
        for shard in self.shards:
            shard.now = now

    @property
    def healthy(self) -> bool:
        """Whether the last call to each store of records succeeded."""
        return all(one.telemetry.healthy for one in self.serving)

    def progress(self) -> None:
        """Frames are stored: acknowledge them, and read on where there is room."""
        self.acknowledge()
        self.backpressure.progress()

    def acknowledge(self) -> None:
        """Acknowledge the frames that are stored.

        The acknowledgements are written one right after the other, and all else is done before or after. The
        code of the kernel stays in the cache of the processor then, which saves a tenth of a frame's cost.
        """
        stored, self.stored = self.stored, []
        acks = [connection.take_ack() for connection in stored]
        for transport, ack in filter(None, acks):
            if not transport.is_closing():  # uvloop would raise
                transport.write(ack)
        for connection in stored:
            connection.after_ack()

    def holds(self, connection: SessionConnection) -> bool:
        """Whether the connection is not to be read for now."""
        return self.of(connection.imei).backpressure.holds(connection)

    def resume_reading(self, now: float) -> None:
        """Read connections again that sent too fast and have waited, and those for which there is room."""
        for connection in self.backpressure.device_rate.due(now):
            self.of(connection.imei).backpressure.read_again(connection)
        for one in self.serving:
            one.backpressure.progress()

    def stop_reading(self) -> None:
        """Stop reading all connections."""
        for one in {id(one): one for one in (*self.serving, self)}.values():
            one.backpressure.stop()


def connection_context(
    settings: Settings,
    boot_id: str,
    clock: Clock,
    metrics: Metrics,
    commands: CommandsPort,
    store: StorePorts,
    allow_list: AllowListPort | None = None,
    io_names: IoNames | None = None,
) -> ConnectionContext:
    """The context of a process that has no connections yet."""
    admission = Admission(settings, metrics)
    device_rate = DeviceRate(settings.device_rate, metrics)
    share = SessionShare(settings, boot_id, clock, metrics, store.session_log)
    # Before a device has said who it is nothing of it is stored: then no backlog concerns it.
    backlog = Backlog() if store.shards else store.telemetry.backlog
    board = StatusBoard(settings.instance_id, clock, store.device_status)
    takeovers = Takeovers(settings, clock, metrics, commands, store.registrar, board)
    sessions = Sessions(boot_id, admission, takeovers, device_rate, commands, store.registrar, share, board)
    stream_settings = StreamSettings(
        handshake_timeout=settings.handshake_timeout,
        ready_grace=settings.ready_grace,
        max_frame=settings.max_frame,
        decode=settings.payload != "raw",
    )
    context = ConnectionContext(
        settings=settings,
        streams=Streams(stream_settings),
        clock=clock,
        metrics=metrics,
        peer_log=PeerLog(metrics),
        sessions=sessions,
        takeovers=takeovers,
        commands=commands,
        telemetry=store.telemetry,
        messages=store.telemetry,
        access=AccessControl(
            allow_list,
            metrics,
            when_unavailable=settings.allow_list_when_unavailable == "open",
            binding=settings.tls_bind_imei,
        ),
        backlog=backlog,
        backpressure=Backpressure(backlog, sessions.all_open, device_rate),
        tap=Tap(clock, store.trace),
        now=clock.monotonic(),
        io_names=io_names,
        traffic=TrafficLog() if settings.log_level == "debug" else None,
    )
    context.shards = tuple(
        _of_shard(context, number, len(store.shards), telemetry)
        for number, telemetry in enumerate(store.shards)
    )
    return context


def _of_shard(
    context: ConnectionContext, number: int, shards: int, telemetry: TelemetryPort
) -> ConnectionContext:
    """The context of one of several shards."""
    everyone = partial(_devices_of, context, number)
    device_rate, room = context.backpressure.device_rate, max(LEAST_ROOM, LONG_FRAMES // shards)
    backpressure = Backpressure(telemetry.backlog, everyone, device_rate, room)
    shard = replace(context, telemetry=telemetry, backlog=telemetry.backlog, backpressure=backpressure)
    shard.stored = []
    return shard


def _devices_of(context: ConnectionContext, number: int) -> Iterator[SessionConnection]:
    """The connections of the devices of a shard."""
    for connection in context.sessions.all_open():
        if connection.imei and context.of(connection.imei) is context.shards[number]:
            yield connection

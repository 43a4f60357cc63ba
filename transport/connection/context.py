"""What all connections of one process use: settings, the clock, limits, and the ports to the rest."""

from __future__ import annotations

from dataclasses import dataclass, field

from fsm.backlog import Backlog
from fsm.deadlines import Deadlines
from transport.clock import Clock
from transport.connection.access import AccessControl
from transport.connection.admission import Admission
from transport.connection.allow_list import AllowListPort
from transport.connection.backpressure import READ_SIZE, Backpressure
from transport.connection.device_rate import DeviceRate
from transport.connection.peer_log import PeerLog
from transport.connection.ports import SessionConnection
from transport.connection.session_share import SessionShare
from transport.connection.sessions import Sessions
from transport.connection.status_board import StatusBoard
from transport.connection.takeovers import Takeovers
from transport.connection.tap import Tap
from transport.metrics import Metrics
from transport.ports import CommandsPort, StorePorts, TelemetryPort
from transport.settings import Settings
from transport.teltonika.io_names import IoNames
from transport.teltonika.stream import StreamSettings


def _read_buffer() -> memoryview:
    return memoryview(bytearray(READ_SIZE))


@dataclass(slots=True, eq=False)
class ConnectionContext:
    """One object for all connections, so that each of them keeps one reference.

    Attributes:
        stream_settings: of the streams of all devices.
        sessions: who is connected.
        takeovers: which sessions are held back.
        access: the allow-list.
        io_names: names IO values; None without ``--io-names``.
        backlog: how much is read and not stored.
        backpressure: which connections are read.
        tap: the devices of which somebody watches the bytes.
        deadlines: one for each connection that waits for something; `Timeouts` handles them.
        now: the monotonic second of the last sweep, or of the end of a stall: precise enough for idle times
            and throttles, and cheap to read.
        read_buffer: the buffer of every read; its content is copied in the same turn of the loop.
        frames, records: AVL frames and records acknowledged since the start.
    """

    settings: Settings
    stream_settings: StreamSettings
    clock: Clock
    metrics: Metrics
    peer_log: PeerLog
    sessions: Sessions
    takeovers: Takeovers
    commands: CommandsPort
    telemetry: TelemetryPort
    access: AccessControl
    backlog: Backlog
    backpressure: Backpressure
    tap: Tap
    now: float
    io_names: IoNames | None = None
    deadlines: Deadlines[SessionConnection] = field(default_factory=Deadlines)
    read_buffer: memoryview = field(default_factory=_read_buffer)
    frames: int = 0
    records: int = 0


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
    board = StatusBoard(settings.instance_id, clock, store.device_status)
    takeovers = Takeovers(settings, clock, metrics, commands, store.registrar, board)
    sessions = Sessions(boot_id, admission, takeovers, device_rate, commands, store.registrar, share, board)
    return ConnectionContext(
        settings=settings,
        stream_settings=StreamSettings(
            handshake_timeout=settings.handshake_timeout,
            ready_grace=settings.ready_grace,
            max_frame=settings.max_frame,
            decode=settings.payload != "raw",
        ),
        clock=clock,
        metrics=metrics,
        peer_log=PeerLog(metrics),
        sessions=sessions,
        takeovers=takeovers,
        commands=commands,
        telemetry=store.telemetry,
        access=AccessControl(
            allow_list,
            metrics,
            when_unavailable=settings.allow_list_when_unavailable == "open",
            binding=settings.tls_bind_imei,
        ),
        backlog=store.telemetry.backlog,
        backpressure=Backpressure(store.telemetry.backlog, sessions.all_open, device_rate),
        tap=Tap(clock, store.trace),
        now=clock.monotonic(),
        io_names=io_names,
    )

"""Connections whose sockets are lists of bytes, on the frozen clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

from freezegun.api import FrozenDateTimeFactory

from fsm.backlog import Backlog
from fsm.device_status import DeviceStatus
from fsm.events import Note, SessionEvent
from fsm.registration import Registered, RegisterResult
from fsm.takeover import Claimant
from fsm.telemetry import PendingFrame
from fsm.trace import Chunk
from tests.transport.command_rig import IMEI, START, CommandRig
from tests.transport.fake_ledger import BOOT
from transport.connection.context import connection_context
from transport.connection.protocol import DeviceConnection
from transport.connection.timeouts import Timeouts
from transport.teltonika.avl import Record, encode_avl
from transport.teltonika.frame import CODEC_8
from transport.teltonika.handshake import encode_handshake

RECORD = Record.of(timestamp=1_767_225_600_000, longitude=25.2797, latitude=54.6872, satellites=9)
FRAME = encode_avl(CODEC_8, [RECORD])


class FakeTransport(asyncio.Transport):
    """A socket that keeps what is written to it. Closing takes effect at once.

    ``unread`` is how many bytes the device leaves unread.
    """

    def __init__(self) -> None:
        super().__init__({"peername": ("10.0.0.1", 40_000)})
        self.written: list[bytes] = []
        self.unread = 0
        self.closing = self.aborted = self.paused = False
        self.protocol: DeviceConnection | None = None
        self.longest_read = 0
        self._high = 0

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Only now uvloop asks the protocol how much it reads at once."""
        self.longest_read = len(cast(DeviceConnection, protocol).get_buffer(-1))

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))
        if self.unread > self._high and self.protocol:
            self.protocol.pause_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high or 0

    def set_read_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """A TLS transport has these."""

    def get_write_buffer_size(self) -> int:
        return self.unread

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True


class FakeTelemetry:
    """Stores a frame when it is told to, or in the next turn of the loop where `at_once` is set."""

    def __init__(self) -> None:
        self.batches: list[PendingFrame] = []
        self.healthy = True
        self.backlog = Backlog()
        self.on_stored: Callable[[], object] = list
        self.at_once = False

    def store(self, batch: PendingFrame) -> None:
        batch.weigh()
        self.backlog.bytes += batch.weight
        self.batches.append(batch)
        if self.at_once:
            asyncio.get_running_loop().call_soon(self.confirm)

    def drop(self, batch: PendingFrame) -> None:
        if not batch.cancelled:
            batch.cancelled = True
            self.backlog.bytes -= batch.weight

    def confirm(self) -> None:
        """The oldest frame is stored."""
        self.confirm_all(1)

    def confirm_all(self, count: int) -> None:
        """So many of the oldest frames are stored, in one call."""
        for _ in range(count):
            batch = self.batches.pop(0)
            if not batch.cancelled:
                self.backlog.bytes -= batch.weight
            batch.done()
        self.on_stored()


class FakeRegistrar:
    """Keeps the registrations it is asked for."""

    def __init__(self) -> None:
        self.registered: list[tuple[str, str]] = []
        self.unregistered: list[tuple[str, str]] = []
        self.settled: list[tuple[str, str]] = []
        self.vouched: list[tuple[str, str, Claimant]] = []
        self.confirmed: list[tuple[str, str, Callable[[RegisterResult], None]]] = []

    def register(
        self, imei: str, session_id: str, claimant: Claimant, done: Callable[[RegisterResult], None]
    ) -> None:
        self.registered.append((imei, session_id))

    def confirm(
        self, imei: str, session_id: str, claimant: Claimant, done: Callable[[RegisterResult], None]
    ) -> None:
        self.confirmed.append((imei, session_id, done))

    def vouch(self, imei: str, session_id: str, claimant: Claimant) -> None:
        self.vouched.append((imei, session_id, claimant))

    def settle(self, imei: str, session_id: str) -> None:
        self.settled.append((imei, session_id))

    def unregister(self, imei: str, session_id: str) -> None:
        self.unregistered.append((imei, session_id))


class SessionLog(list[SessionEvent]):
    """`SessionLogPort`: a list of the events, and one of the notes."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[Note] = []

    def append(self, event: SessionEvent | Note, at_ms: int = 0) -> None:
        if isinstance(event, Note):
            self.notes.append(event)
        else:
            super().append(event)

    @property
    def states(self) -> list[str]:
        """The states the sessions came to, in order."""
        return [event.state for event in self]


class FakeDeviceStatus(dict[str, DeviceStatus]):
    """`DeviceStatusPort`: the newest status of each device, with its last record, as Redis keeps them."""

    def put(self, imei: str, status: DeviceStatus) -> None:
        """Keep it."""
        older = self.get(imei)
        self[imei] = replace(status, last=status.last or (older.last if older else None))


class FakeTrace(list[Chunk]):
    """`TracePort`: a list."""

    def put(self, chunk: Chunk) -> None:
        """Keep it."""
        self.append(chunk)


class ConnectionRig:
    """The connections of one instance without sockets, and the command side behind them."""

    def __init__(self, frozen: FrozenDateTimeFactory, shards: int = 0, **given: Any) -> None:
        self.commands = CommandRig(frozen, **given)
        self.telemetry = FakeTelemetry()
        self.shards = [FakeTelemetry() for _ in range(shards)]
        self.registrar = FakeRegistrar()
        self.session_log = SessionLog()
        self.device_status = FakeDeviceStatus()
        self.trace = FakeTrace()
        self._frozen = frozen
        commands = self.commands
        self.context = connection_context(
            commands.settings, BOOT, commands.clock, commands.metrics, commands.dispatcher, self
        )
        self.telemetry.on_stored = self.context.acknowledge
        for fake, shard in zip(self.shards, self.context.shards, strict=True):
            fake.on_stored = shard.acknowledge
        self.sessions = self.context.sessions
        self.timeouts = Timeouts(self.context)

    def at(self, seconds: float) -> None:
        """It is `seconds` after the start, and what is due is done."""
        self._frozen.move_to(START + timedelta(seconds=seconds))
        self.timeouts.sweep(self.commands.clock.monotonic())
        self.commands.sweep()

    def accept(self) -> tuple[DeviceConnection, FakeTransport]:
        """Somebody connects."""
        connection, transport = DeviceConnection(self.context), FakeTransport()
        transport.protocol = connection
        connection.connection_made(transport)
        return connection, transport

    def identify(self, imei: str = IMEI) -> tuple[DeviceConnection, FakeTransport]:
        """A device connects and names itself."""
        connection, transport = self.accept()
        connection.received(encode_handshake(imei))
        return connection, transport

    def welcome(self, imei: str = IMEI) -> tuple[DeviceConnection, FakeTransport]:
        """A device has named itself, and the registry has answered."""
        connection, transport = self.identify(imei)
        connection.registered(RegisterResult(Registered.REGISTERED))
        connection.resume()  # as the next turn of the loop does
        transport.written.clear()
        return connection, transport

    def ready(self, imei: str = IMEI) -> tuple[DeviceConnection, FakeTransport]:
        """A device has had its first frame acknowledged."""
        connection, transport = self.welcome(imei)
        connection.received(FRAME)
        self.telemetry.confirm()
        transport.written.clear()
        return connection, transport

    def accept_from(self, host: str) -> tuple[DeviceConnection, FakeTransport]:
        """A device connects from the address `host`."""
        connection, transport = DeviceConnection(self.context), FakeTransport()
        transport._extra = {"peername": (host, 40_000)}  # type: ignore[attr-defined]
        connection.connection_made(transport)
        return connection, transport


MakeConnections = Callable[..., ConnectionRig]

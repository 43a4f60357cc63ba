"""Protocols between transport and store, and between connections and commands: neither imports the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from fsm.backlog import Backlog
from fsm.device_status import DeviceStatus
from fsm.events import Note, Origin, SessionEvent
from fsm.moves import Move
from fsm.registration import RegisterResult
from fsm.takeover import Claimant
from fsm.telemetry import PendingFrame
from fsm.trace import Chunk
from transport.teltonika.command import Message


class LedgerPort(Protocol):
    """Applies moves to the ledger; see `fsm.moves`."""

    @property
    def healthy(self) -> bool:
        """Whether the last call to the ledger succeeded."""

    @property
    def depth(self) -> int:
        """Moves that are not applied yet."""

    def submit(self, *moves: Move) -> None:
        """Queue moves. The ``done`` of each is called with its result."""

    async def read(self, command_id: str) -> dict[str, str]:
        """The ledger of a command; empty if there is none."""

    async def parked(self, imei: str) -> list[tuple[str, dict[bytes, bytes]]]:
        """The entries that are parked for a device, in their order."""


class RegistryPort(Protocol):
    """Says which instance holds which device."""

    async def holders(self, imeis: list[str]) -> dict[str, str]:
        """imei -> instance_id, for the devices that an instance holds."""


class SessionLogPort(Protocol):
    """Publishes session events; never blocks."""

    def append(self, event: SessionEvent | Note, at_ms: int) -> None:
        """Queue an event, or a note about events, of the time `at_ms`: epoch ms of Redis."""


class Link(Protocol):
    """The connection of a device, as the command side sees it."""

    imei: str
    session_id: str
    speaks: bool
    """Whether the device is known to send serial-port data."""
    disputed: bool
    """Whether two peers claim the device by turns: its commands end."""

    @property
    def origin(self) -> Origin:
        """The connection as evidence, at this time."""

    @property
    def writable(self) -> bool:
        """Whether it is ready and between frames: every AVL frame that began to arrive is acknowledged."""

    @property
    def closed(self) -> bool:
        """Whether the connection is closed or closing."""

    def send(self, frame: bytes) -> int:
        """Write one frame; the number of bytes written on this connection, with this frame."""

    def acknowledged(self, offset: int) -> bool:
        """Whether the TCP of the device has acknowledged the first `offset` bytes of the connection."""

    def taint(self) -> None:
        """Mark that the device owes an answer to a command that has ended."""

    def clear(self) -> None:
        """Mark that the owed answer has come."""

    def close(self, reason: str) -> None:
        """Close the connection for `reason`."""

    def recheck(self) -> None:
        """The registry may name another holder of the device: ask it."""


class CommandsPort(Protocol):
    """The command side, as connections see it."""

    @property
    def links(self) -> Mapping[str, Link]:
        """The newest connection of each device, by imei."""

    def arrived(self, link: Link) -> None:
        """A device is connected: its waiting commands move to the queue of `link`."""

    def parked(self, link: Link) -> None:
        """Commands are parked for the device: they are taken up, and come first."""

    def left(self, link: Link, reason: str) -> None:
        """A connection is closed."""

    def quiet(self, link: Link) -> None:
        """The connection is between frames and all is acknowledged: a command may be written now."""

    def tell(self, note: str, imei: str, link: Link, detail: str) -> None:
        """Publish a note about a peer of `link` that says to be the device."""

    def answer(self, link: Link, message: Message) -> bool:
        """The device sent a message: whether it was an answer or a ping, which is handled now."""


class TelemetryPort(Protocol):
    """Stores frames and reports when they are stored."""

    @property
    def backlog(self) -> Backlog:
        """What is accepted but not confirmed yet."""

    @property
    def healthy(self) -> bool:
        """Whether the last call to the store succeeded."""

    def store(self, frame: PendingFrame) -> None:
        """Queue one frame. Its ``done`` is called when it is stored completely."""

    def drop(self, frame: PendingFrame) -> None:
        """Drop a frame of a closed connection; at once, unless it is being stored."""


class RegistrarPort(Protocol):
    """Registers devices; never blocks."""

    def register(
        self, imei: str, session_id: str, claimant: Claimant, done: Callable[[RegisterResult], None]
    ) -> None:
        """Register a session for the first time. A session without TLS does not replace one with TLS,
        and a device that had a certificate before is not registered without one."""

    def confirm(
        self, imei: str, session_id: str, claimant: Claimant, done: Callable[[RegisterResult], None]
    ) -> None:
        """Register a session again; a live holder elsewhere stays."""

    def vouch(self, imei: str, session_id: str, claimant: Claimant) -> None:
        """Say that the session had lost the device when its peer was dead."""

    def settle(self, imei: str, session_id: str) -> None:
        """Forget who else has claimed the device, if the registration names this session."""

    def unregister(self, imei: str, session_id: str) -> None:
        """Remove the registration of the device if it names this session."""


class DeviceStatusPort(Protocol):
    """Keeps what is known of devices; never blocks."""

    def put(self, imei: str, status: DeviceStatus) -> None:
        """Queue the status of a device."""


class TracePort(Protocol):
    """Publishes the bytes of devices that somebody watches; never blocks."""

    def put(self, chunk: Chunk) -> None:
        """Queue the bytes of one read or write."""


class StorePorts(Protocol):
    """What connections need of the store."""

    @property
    def trace(self) -> TracePort:
        """Publishes the bytes of devices that somebody watches."""

    @property
    def device_status(self) -> DeviceStatusPort:
        """Keeps what is known of devices."""

    @property
    def telemetry(self) -> TelemetryPort:
        """Stores frames; where there are shards, only those that are not acknowledged."""

    @property
    def shards(self) -> Sequence[TelemetryPort]:
        """The stores of the shards of telemetry, in their order; none where there is one shard."""

    @property
    def registrar(self) -> RegistrarPort:
        """Registers devices."""

    @property
    def session_log(self) -> SessionLogPort | None:
        """Takes session events; None where they are not published."""

"""What the transport needs of the store and of a connection, as protocols: neither side imports the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from fsm.backlog import Backlog
from fsm.events import SessionEvent
from fsm.moves import Move
from fsm.registration import RegisterResult
from fsm.telemetry import PendingFrame
from transport.teltonika.command import Message


class LedgerPort(Protocol):
    """Carries out moves; see `fsm.moves`."""

    healthy: bool

    @property
    def depth(self) -> int:
        """Moves not yet carried out."""

    def submit(self, *moves: Move) -> None:
        """Queue moves; each one's ``done`` is called with its result."""

    async def read(self, command_id: str) -> dict[str, str]:
        """The ledger of a command; empty when there is none."""


class RegistryPort(Protocol):
    """Who holds which device."""

    async def holders(self, imeis: list[str]) -> dict[str, str]:
        """imei -> instance_id, for those that anybody holds."""


class SessionLogPort(Protocol):
    """Takes session events, never blocks."""

    def append(self, event: SessionEvent) -> None:
        """Queue an event."""


class Link(Protocol):
    """A device's connection, as the command side sees it."""

    imei: str
    session_id: str
    speaks: bool
    """The device is known to speak by itself, through a serial port."""

    @property
    def writable(self) -> bool:
        """Ready, and between frames: every AVL frame that has begun to arrive is acknowledged."""

    @property
    def closed(self) -> bool:
        """Whether the connection is closed or closing."""

    def send(self, frame: bytes) -> int:
        """Write one frame; the count of bytes written on this connection so far, this frame included."""

    def acknowledged(self, offset: int) -> bool:
        """Whether the device's TCP has acknowledged the connection's first `offset` bytes."""

    def taint(self) -> None:
        """An answer is owed to a command that already has its verdict."""

    def clear(self) -> None:
        """The owed answer has come."""

    def close(self, reason: str) -> None:
        """Close the connection for `reason`."""


class CommandsPort(Protocol):
    """The command side, as connections see it."""

    @property
    def links(self) -> Mapping[str, Link]:
        """The newest connection of each device, by imei."""

    def arrived(self, link: Link) -> None:
        """A device is here; the commands that wait for it get in line."""

    def left(self, link: Link, reason: str) -> None:
        """A connection is gone."""

    def quiet(self, link: Link) -> None:
        """The connection is between frames, with everything acknowledged: the moment to write."""

    def answer(self, link: Link, message: Message) -> bool:
        """The device sent a message. Whether that was an answer or a ping, and has been dealt with."""


class TelemetryPort(Protocol):
    """Stores frames and tells when they are stored."""

    @property
    def backlog(self) -> Backlog:
        """How much is taken and not yet confirmed."""

    @property
    def healthy(self) -> bool:
        """Whether the last call to the store succeeded."""

    def store(self, frame: PendingFrame) -> None:
        """Take one frame; its ``done`` is called when it is stored whole."""

    def drop(self, frame: PendingFrame) -> None:
        """Forget a frame of a connection that is closed; at once, unless it is being stored."""


class RegistrarPort(Protocol):
    """Takes registrations, never blocks."""

    def register(self, imei: str, session_id: str, done: Callable[[RegisterResult], None]) -> None:
        """The session's first registration, which wins unless a session with TLS lives and this has none."""

    def unregister(self, imei: str, session_id: str) -> None:
        """Remove the device's entry if it is this session's."""

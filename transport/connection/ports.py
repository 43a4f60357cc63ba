"""A connection as the parts around it see it, as protocols: it imports them, and they do not import it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from fsm.device_status import HoldStatus
from fsm.registration import RegisterResult
from fsm.takeover import Claimant
from fsm.telemetry import PendingFrame
from transport.connection.liveness import Probe
from transport.connection.newcomers import Place
from transport.connection.tally import Tally
from transport.ports import Link


class Acknowledging(Protocol):
    """A connection with frames that are stored, for `transport.connection.context`."""

    def take_ack(self) -> tuple[asyncio.Transport, bytes] | None:
        """The acknowledgement of its oldest frame, to be written now, and where; None if there is none."""

    def after_ack(self) -> None:
        """The acknowledgement is written."""


class Readable(Protocol):
    """A connection that is read or not, for `transport.connection.backpressure`."""

    def __hash__(self) -> int: ...

    imei: str
    last_read: float
    """When the device was last heard, monotonic seconds."""
    over_share: bool
    """It is not read until its own frames are stored."""

    @property
    def closed(self) -> bool:
        """Whether the connection is closed or closing."""

    place: Place
    """Its place among all connections."""

    @property
    def congested(self) -> bool:
        """Whether so much of it waits for the store that no more should be read."""

    def pause(self) -> None:
        """Read no more for now."""

    def resume(self) -> None:
        """Read again after a pause, unless there is a reason not to."""

    def extend_frame(self) -> None:
        """There is room for the long frame that has begun: its time runs from now."""


class SessionConnection(Link, Readable, Protocol):
    """A connection with its session, for `transport.connection.sessions`."""

    seq: int
    """Of the newest event of its session."""
    state: str
    """Of its session."""
    tally: Tally
    """What was acknowledged on it, and what was told of that."""
    unacked_since: float
    """Since when a frame waits for its acknowledgement, monotonic seconds; 0 for none."""

    held: bool
    """No command is written to it: it is not known yet whether it may have taken the device from another."""
    hold: HoldStatus | None
    """What is told of that, once it is known that it has."""

    @property
    def closed(self) -> bool:
        """Whether the connection is closed or closing."""

    @property
    def claimant(self) -> Claimant:
        """Who says to be the device."""

    def close(self, reason: str, *, linger: bool = False) -> None:
        """Close the connection; with `linger` its socket stays open and unread until `abort`."""

    def probe(self, now: float, patience: float) -> Probe | None:
        """Ask the peer whether it is there; None where that cannot be asked."""

    @property
    def host(self) -> str:
        """The device's address."""

    @property
    def peer(self) -> str:
        """The device's end of the connection, ``host:port``."""

    @property
    def auth(self) -> str:
        """How the device has proved who it is, see `transport.connection.authentication`."""

    @property
    def secure(self) -> bool:
        """Whether the device speaks TLS."""

    def registered(self, result: RegisterResult) -> None:
        """The registry answered this session's registration."""

    def awaits(self, frame: PendingFrame) -> bool:
        """Whether `frame` is a frame of this connection that is not acknowledged."""

    def overdue(self) -> None:
        """The connection's deadline has come."""

    def drain(self, reason: str) -> None:
        """Begin nothing new on this connection."""

    def abort(self) -> None:
        """Close at once, whatever is still to be written."""

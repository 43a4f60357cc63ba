"""The lowest layer of a connection: the socket, the session state machine, and the command side's view.

`DeviceLink` opens and closes the session and writes to the socket; `HandshakeConnection` adds the handshake,
and `DeviceConnection` the frames. Each life-cycle change is one event of the session machine (`advance`);
single frames are none. A peer that does not read is never waited for: its connection is aborted.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import structlog

from fsm import session
from fsm.reasons import DEVICE_CLOSED, PROTOCOL_ERROR, REJECTED, SHUTDOWN, WRITE_OVERFLOW
from fsm.registration import RegisterResult, is_secure
from fsm.session import READY, SESSION, TAINTED, Session
from fsm.states import SessionTrigger
from fsm.telemetry import PendingFrame
from transport.connection.sessions import Sessions
from transport.connection.tcp import close_reason, unacknowledged
from transport.settings import Address, as_text

log = structlog.get_logger("telgw.sessions")

WRITE_LIMIT = 64 * 1024
"""Bytes that a device may leave unread before its connection is closed: acks and commands are small."""

_FLUSHED = (SHUTDOWN, PROTOCOL_ERROR, REJECTED)
"""Reasons of a close after which written bytes are still sent: acks at shutdown, a refused handshake."""


class DeviceLink(asyncio.BufferedProtocol):
    """The socket, the session machine on it, and the command side's view (`transport.ports.Link`)."""

    __slots__ = (
        "_host",
        "_port",
        "_sent",
        "_sessions",
        "_transport",
        "close_reason",
        "closed",
        "half_closed",
        "imei",
        "last_read",
        "over_share",
        "session",
        "session_id",
        "speaks",
        "unacked_since",
    )

    def __init__(self, sessions: Sessions, *, secure: bool = False) -> None:
        self._sessions = sessions
        self._host = ""
        self._sent = 0
        self.closed = False
        self.half_closed = False  # the device sends no more, and still has acknowledgements to get
        self.close_reason = DEVICE_CLOSED
        self.imei = ""
        self.speaks = False  # known to speak by itself, through a serial port
        self.over_share = False  # not read until its own frames are stored
        self.last_read = sessions.now
        self._port = 0
        self.session_id = sessions.new_session_id(secure)
        self.session = Session(self.session_id)
        self.unacked_since = 0.0

    # The socket

    @property
    def host(self) -> str:
        """The device's address."""
        return self._host

    @property
    def place(self) -> str | None:
        """The address of which the connection has a place: until it has named its device."""
        return None if self.imei else self._host

    @property
    def secure(self) -> bool:
        """Whether the device speaks TLS."""
        return is_secure(self.session_id)

    @property
    def peer(self) -> str:
        """The device's end of the connection, ``HOST:PORT``."""
        return as_text((self._host, self._port))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._host:
            self._come_from(transport.get_extra_info("peername") or ("", 0))
        if not self._admitted():
            self.closed = True
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=WRITE_LIMIT)
        self.advance("accept")
        self._due_in(self._sessions.settings.handshake_timeout)
        if self._sessions.flow.in_turns:
            self._sessions.flow.wait(self)

    def _due_in(self, seconds: float) -> None:
        """Set the connection's deadline; see `overdue`."""
        self._sessions.deadlines.set(self, self._sessions.clock.monotonic() + seconds)

    def get_buffer(self, sizehint: int) -> memoryview:
        """The buffer of the next read; its size limits what one connection gets of one turn of the loop."""
        return self._sessions.read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self._sessions.read_buffer[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """The device has sent `data`."""
        raise NotImplementedError

    def _come_from(self, address: Address) -> None:
        # Thousands of devices may share the address of one carrier: keep the string once.
        self._host, self._port = sys.intern(address[0]), address[1]

    def _admitted(self) -> bool:
        """Whether there is room for the connection; if so it is counted."""
        return self._sessions.admit(self, self._host)

    def pause_writing(self) -> None:
        self.close(WRITE_OVERFLOW)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.session.state == session.NEW:
            return
        self._leave(close_reason(exc))
        self.advance("close", self.close_reason)
        self._sessions.discharge(self)
        self._sessions.metrics.closed.labels(self.close_reason).inc()
        if self.imei:
            log.info("session_closed", imei=self.imei, session_id=self.session_id, reason=self.close_reason)

    def _write(self, data: bytes) -> None:
        self._sent += len(data)
        self._transport.write(data)

    # The session's life

    def advance(self, trigger: SessionTrigger, reason: str = "") -> None:
        """Move the session along `trigger` and publish the event, once the device is known.

        Raises:
            IllegalTransition: the table has no such edge.
        """
        event = session.decide(
            self.session,
            trigger,
            reason=reason,
            imei=self.imei,
            peer=self.peer,
            instance_id=self._sessions.instance_id,
        )
        self.session = session.evolve(self.session, event)
        if self.imei:
            self._sessions.publish(event)

    def _advance_if_allowed(self, trigger: SessionTrigger, reason: str = "") -> None:
        if SESSION.allows(self.session.state, trigger):
            self.advance(trigger, reason)

    def drain(self, reason: str) -> None:
        """Begin nothing new on this connection."""
        self._advance_if_allowed("drain", reason)

    def close(self, reason: str) -> None:
        """Close the connection for `reason`. A peer that does not read is not waited for."""
        if self.closed:
            return
        self.drain(reason)
        self._leave(reason)
        self._sessions.closing.add(self)
        if reason in _FLUSHED or not self._transport.get_write_buffer_size():
            self._transport.close()
        else:
            self._transport.abort()

    def pause(self) -> None:
        """Read no more for now."""
        if not self.closed:
            self._transport.pause_reading()

    def abort(self) -> None:
        """Close at once, whatever is still to be written."""
        self._transport.abort()

    def _leave(self, reason: str) -> None:
        if self.closed:
            return
        self.closed = True
        self.close_reason = reason
        if self.imei:
            self._sessions.left(self, reason)

    # What the read path adds

    def registered(self, result: RegisterResult) -> None:
        """The registry answered this session's registration."""
        raise NotImplementedError

    @property
    def proven(self) -> bool:
        """Whether the device has been acknowledged something, or has at least stayed for the ready grace."""
        return self.session.state in (READY, TAINTED)

    @property
    def congested(self) -> bool:
        """Whether so much of it waits for the store that no more should be read."""
        raise NotImplementedError

    def awaits(self, frame: PendingFrame) -> bool:
        """Whether `frame` is a frame of this connection that is not acknowledged."""
        raise NotImplementedError

    def overdue(self) -> None:
        """The connection's deadline has come."""
        raise NotImplementedError

    def extend_frame(self) -> None:
        """The time of the frame that has begun begins anew: it was not read."""
        raise NotImplementedError

    def resume(self) -> None:
        """Read again after a pause."""
        raise NotImplementedError

    # Commands

    @property
    def writable(self) -> bool:
        """Ready, and between frames."""
        raise NotImplementedError

    def send(self, frame: bytes) -> int:
        """Write one frame; the count of bytes written on this connection so far."""
        self._write(frame)
        return self._sent

    def acknowledged(self, offset: int) -> bool:
        """Whether the device's TCP has the first `offset` bytes; False where it cannot be told."""
        queued = None if self.closed else unacknowledged(self._transport)
        return queued is not None and self._sent - queued >= offset

    def taint(self) -> None:
        """An answer is owed to a command that already has its verdict."""
        self._sessions.metrics.taints.inc()
        self._advance_if_allowed("taint")

    def clear(self) -> None:
        """The owed answer has come."""
        self._advance_if_allowed("clear")

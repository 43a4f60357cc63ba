"""One device's TCP connection: bytes in, acknowledgements out.

Nothing in the read path waits: a frame is handed to the telemetry store, and its acknowledgement is written
when the store confirms it. Acknowledgements are positional, so they go out in the order of the frames.
"""

from __future__ import annotations

import structlog

from fsm import session
from fsm.reasons import DEVICE_CLOSED, HANDSHAKE_TIMEOUT, PROTOCOL_ERROR
from fsm.session import READY
from fsm.telemetry import FRAME, MESSAGE, RECORD, SERIAL, UNDECODABLE, PendingFrame
from transport.connection.handshake import HandshakeConnection
from transport.connection.sessions import Sessions
from transport.teltonika.avl import decode_avl, encode_ack
from transport.teltonika.command import Message, decode_messages
from transport.teltonika.errors import FramingLost, Undecodable
from transport.teltonika.frame import (
    AVL_CODECS,
    CODEC_8,
    CODEC_8E,
    CODEC_16,
    MESSAGE_CODECS,
    BadFrame,
    FrameReader,
)
from transport.teltonika.message_json import CODEC_NAMES, message_bodies
from transport.teltonika.record_json import record_json

log = structlog.get_logger("telgw.sessions")

BAD_FRAMES_LIMIT = 8
"""Bad checksums in a row after which the position in the stream counts as lost."""
FRAME_DEADLINE = 30.0
"""Seconds from the first byte of a frame to its last."""
HALF_CLOSED_PATIENCE = 30.0
"""Seconds that a half-closed connection stays open for its acknowledgements."""

_CODEC_NAMES = {
    **{CODEC_8: b"8", CODEC_8E: b"8E", CODEC_16: b"16"},
    **{codec: name.encode() for codec, name in CODEC_NAMES.items()},
}


class DeviceConnection(HandshakeConnection):
    """The read path of a device session."""

    __slots__ = (
        "_bad",
        "_reader",
        "_unacked",
        "_unstored",
    )

    def __init__(self, sessions: Sessions, *, secure: bool = False) -> None:
        super().__init__(sessions, secure=secure)
        self._unacked: list[tuple[int, PendingFrame]] | None = None  # no list while idle, to save memory
        self._unstored: list[PendingFrame] | None = (
            None  # frames for which the device expects no acknowledgement
        )
        self._bad = 0
        self._reader = FrameReader(sessions.settings.max_frame)

    @property
    def writable(self) -> bool:
        """Ready, and between frames: every AVL frame that has begun to arrive is acknowledged."""
        return (
            self.session.state == READY and not self.closed and not self._unacked and not self._reader.partial
        )

    def overdue(self) -> None:
        """The connection's deadline has come; which one it is follows from the state of the connection."""
        if self.half_closed:
            self._transport.abort()
        elif self._handshake is not None:
            self._sessions.no_device(self, HANDSHAKE_TIMEOUT)
            self.close(HANDSHAKE_TIMEOUT)
        elif self._reader.partial:
            self._frame_overdue()
        elif self.session.state == session.IDENTIFIED and not self._unacked:
            self._open()

    def _frame_overdue(self) -> None:
        """A frame has not ended in time: close the connection, unless it was not read meanwhile."""
        if self._sessions.flow.holds(self):
            self.extend_frame()
        else:
            self.close(PROTOCOL_ERROR)

    def extend_frame(self) -> None:
        self._watch_frame(begun=True)

    def _open(self) -> None:
        self._greet()  # `01` comes before anything else that is written
        self.advance("open")
        if not self._reader.partial:
            self._sessions.deadlines.cancel(self)
        self._sessions.dispatcher.quiet(self)

    def _read(self, data: bytes) -> None:
        reader = self._reader
        was_partial = reader.partial
        bodies = reader.feed(data)
        for body in bodies:
            if isinstance(body, BadFrame):
                self._bad_frame(body)
            else:
                self._bad = 0
                self._frame(body)
            if self.closed:
                return
        if reader.fault is not None:
            self._framing_lost(reader.fault)
        elif was_partial or reader.partial:
            self._piece_read(was_partial, ended=bool(bodies))
        self._sessions.flow.after_read(self, len(data))

    def _piece_read(self, was_partial: bool, *, ended: bool) -> None:
        """Handle the begin, middle or end of a frame that takes more than one read."""
        reader = self._reader
        if ended or reader.partial != was_partial:
            self._watch_frame(reader.partial)
        self._sessions.flow.arriving(self, reader.expected, ended=ended)

    def _framing_lost(self, fault: FramingLost) -> None:
        if fault.length:
            self._sessions.too_long(self, fault.length)
        else:
            log.info("framing_lost", imei=self.imei, peer=self.peer, reason=fault.reason)
        self.close(PROTOCOL_ERROR)

    def _watch_frame(self, begun: bool) -> None:
        """A frame that has begun must end in time."""
        if begun:
            self._due_in(FRAME_DEADLINE)
        elif self.session.state == session.IDENTIFIED:
            self._due_in(self._sessions.settings.ready_grace)
        else:
            self._sessions.deadlines.cancel(self)
            self._sessions.dispatcher.quiet(self)

    def _bad_frame(self, frame: BadFrame) -> None:
        self._sessions.metrics.bad_frames.inc()
        self._bad += 1
        log.debug("bad_frame", imei=self.imei, reason=frame.reason, length=frame.length)
        if self._bad >= BAD_FRAMES_LIMIT:
            self.close(PROTOCOL_ERROR)

    def _frame(self, body: bytes) -> None:
        codec = body[0]
        if codec in AVL_CODECS:
            self._avl(codec, body)
        elif codec in MESSAGE_CODECS:
            self._messages(body)
        else:
            self._keep_raw(body, b"codec")

    def _messages(self, body: bytes) -> None:
        """A frame of messages is never acknowledged: a device would take the four bytes for a broken frame.

        It is not repeated either, so all of it that is no answer is stored, as it is read.
        """
        try:
            messages = decode_messages(body)
        except Undecodable as error:
            self._keep_raw(body, error.reason.encode(), owed=False)
            return
        answer = self._sessions.dispatcher.answer
        unasked = [message for message in messages if not answer(self, message)]
        if unasked:
            self._keep_messages(body[0], unasked)

    def _keep_messages(self, codec: int, messages: list[Message]) -> None:
        self._sessions.metrics.messages.labels(CODEC_NAMES[codec]).inc(len(messages))
        kind = SERIAL if messages[0].serial else MESSAGE
        self._keep(self._pending_frame(codec, message_bodies(messages), kind, owed=False))

    def _avl(self, codec: int, body: bytes) -> None:
        if self._sessions.settings.payload == "raw":
            self._store(body[1], self._pending_frame(codec, [body], FRAME))
            return
        try:
            bodies = [record_json(record) for record in decode_avl(body)]
        except Undecodable as error:
            self._keep_raw(body, error.reason.encode())
            return
        self._store(len(bodies), self._pending_frame(codec, bodies))

    def _pending_frame(
        self, codec: int, bodies: list[bytes], kind: str = RECORD, reason: bytes = b"", owed: bool = True
    ) -> PendingFrame:
        name = _CODEC_NAMES.get(codec) or b"%02X" % codec
        imei, now_ms = self.imei.encode("ascii"), self._sessions.clock.now_ms()
        done = self._stored if owed else self._kept
        return PendingFrame(imei, name, now_ms, bodies, done, kind, reason, owed)

    def _keep_raw(self, body: bytes, reason: bytes, owed: bool = True) -> None:
        """Store a frame that cannot be decoded as it is.

        It is acknowledged if the device expects that, or the device would repeat it for ever.
        """
        self._sessions.metrics.undecodable.inc()
        log.debug("frame_undecodable", imei=self.imei, reason=reason.decode())
        frame = self._pending_frame(body[0], [body], UNDECODABLE, reason, owed)
        if owed:
            self._store(body[1], frame)
        else:
            self._keep(frame)

    def _keep(self, frame: PendingFrame) -> None:
        """Store a frame without an acknowledgement; commands may be written meanwhile."""
        self._unstored = self._unstored or []
        self._unstored.append(frame)
        self._sessions.telemetry.store(frame)

    def _kept(self) -> None:
        assert self._unstored
        del self._unstored[0]
        self._unstored = self._unstored or None
        if self.over_share:
            self._sessions.flow.after_store(self)

    def _store(self, count: int, frame: PendingFrame) -> None:
        sessions = self._sessions
        if self._unacked is None:
            self._unacked = []
            self.unacked_since = sessions.now
        self._unacked.append((count, frame))
        sessions.telemetry.store(frame)

    def _stored(self) -> None:
        """The oldest unacknowledged frame is stored whole."""
        assert self._unacked
        count, _ = self._unacked.pop(0)
        self._unacked = self._unacked or None
        sessions = self._sessions
        self.unacked_since = sessions.now if self._unacked else 0.0
        sessions.records += count
        sessions.frames += 1
        if self.over_share:
            sessions.flow.after_store(self)
        if self.closed and not self.half_closed:
            return
        self._write(encode_ack(count))
        if self.half_closed:
            self._finish()
        elif self.session.state == session.IDENTIFIED:
            self._open()
        elif not self._unacked:
            sessions.dispatcher.quiet(self)

    def eof_received(self) -> bool:
        """The device has closed its side; whether the connection stays open for what is left to be written.

        It may still read: it gets its greeting and the acknowledgements of all that it has sent, and no
        command. With TLS no event loop can close one side only.
        """
        if self.closed or self._handshake is not None or self.secure:
            return self.half_closed
        if self._greeted and not self._unacked:
            return False
        self.half_closed = True
        self.drain(DEVICE_CLOSED)
        self._leave(DEVICE_CLOSED)
        self._sessions.closing.add(self)
        self._due_in(HALF_CLOSED_PATIENCE)
        return True

    def _finish(self) -> None:
        if self.half_closed and not self._unacked:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget()

    def _leave(self, reason: str) -> None:
        super()._leave(reason)
        if not self.half_closed:
            self._forget()

    def _forget(self) -> None:
        """Drop the frames that are not stored yet: the device keeps what is not acknowledged."""
        for _, frame in self._unacked or ():
            self._sessions.telemetry.drop(frame)

    @property
    def congested(self) -> bool:
        """Whether so much of this connection waits for the store that it is not read."""
        unacked, unstored = self._unacked, self._unstored
        if unstored is None and (unacked is None or len(unacked) == 1):
            return False  # the common case, kept cheap
        return self._sessions.flow.is_too_much([frame for _, frame in unacked or ()] + (unstored or []))

    def awaits(self, frame: PendingFrame) -> bool:
        """Whether `frame` is a frame of this connection that is not acknowledged."""
        return any(waiting is frame for _, waiting in self._unacked or ())

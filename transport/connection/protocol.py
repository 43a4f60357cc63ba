"""One device's TCP connection: it carries out what the stream of its device says.

Bytes go into a `DeviceStream` (`transport.teltonika.stream`), which says what they are and what is waited
for. The connection owns the socket, the session machine, and the frames that are not stored yet. It hands
records and messages to the telemetry store, writes acknowledgements, and is the `transport.ports.Link` of the
command side.

* Nothing here waits. A frame is handed to the store, and its acknowledgement is written when the store
  confirms it. Acknowledgements are positional, so they go out in the order of the frames.
* The device is in the registry when it reads `01`, if Redis answers in time. Before `01` is written nothing
  else is, and no frame is read.
* Each life-cycle change is one event of the session machine (`advance`); single frames are none.
* A peer that does not read is never waited for: its connection is aborted.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import Any, cast

import structlog

from fsm import session
from fsm.device_status import HoldStatus
from fsm.events import Origin
from fsm.reasons import (
    DEVICE_CLOSED,
    HANDSHAKE_TIMEOUT,
    NETWORK_TIMEOUT,
    NO_PLACE,
    PROTOCOL_ERROR,
    REJECTED,
    SHUTDOWN,
    WRITE_OVERFLOW,
)
from fsm.registration import Registered, RegisterResult, is_secure
from fsm.session import IDENTIFIED, NEW, READY, SESSION, Session
from fsm.states import SessionTrigger
from fsm.takeover import Claimant
from fsm.telemetry import PendingFrame
from transport.connection.authentication import PLAIN, TLS, authentication
from transport.connection.backpressure import TLS_BUFFER
from transport.connection.context import Buffer, ConnectionContext
from transport.connection.liveness import Liveness, Probe, ask
from transport.connection.newcomers import Place
from transport.connection.pending import pending_messages, pending_raw, pending_records
from transport.connection.ports import SessionConnection
from transport.connection.tally import Tally
from transport.connection.tcp import WRITE_LIMIT, close_reason, unacknowledged
from transport.connection.timeouts import HALF_CLOSED_TIMEOUT
from transport.settings import Address, as_text
from transport.teltonika.avl import encode_ack
from transport.teltonika.errors import FramingLost
from transport.teltonika.frame import BadFrame
from transport.teltonika.handshake import ACCEPT, REJECT
from transport.teltonika.message_json import CODEC_NAMES
from transport.teltonika.stream import (
    Awaited,
    Identity,
    Item,
    MessagesFrame,
    RawFrame,
    RecordsFrame,
)

log = structlog.get_logger("telgw.sessions")

ACCEPT_DELAY = 0.05
"""Seconds that `01` waits for the registration. So a device that has received it is in the registry, and a
device that another instance holds with TLS is rejected before anything is read. Devices wait for seconds;
while Redis is slow or away they are accepted all the same."""

_FLUSHED = (SHUTDOWN, PROTOCOL_ERROR, REJECTED)
"""Reasons of a close after which written bytes are still sent: acks at shutdown, a refused handshake."""


class DeviceConnection(asyncio.BufferedProtocol):
    """The connection of one device.

    Args:
        secure: whether the device speaks TLS.
        address: of the device, if it is not that of the socket.
        place: if the connection was counted at its accept; otherwise it is counted when it is made.
        accepted_at: monotonic seconds; None for now. The time for the handshake runs from then.

    Attributes:
        auth: how the device proves who it is, as in `fsm.events.Origin`.
        closed: closed or closing, for `close_reason`.
        disputed, held, hold: as `transport.connection.ports.SessionConnection` has them.
        half_closed: the device sends no more, and still has acknowledgements to get.
        host: the device's address.
        imei: empty until the device is identified and accepted.
        last_read: when the device was last heard, monotonic seconds.
        over_share: not read until its own frames are stored.
        place: what it holds among all connections.
        seq: of the newest event of the session.
        speaks: known to speak by itself, through a serial port.
        state: of the session.
        tally: what was acknowledged.
        unacked_since: since when a frame waits for its acknowledgement, monotonic seconds; 0 for none.
    """

    __slots__ = (
        "_accepted_at",
        "_context",
        "_port",
        "_sent",
        "_stream",
        "_transport",
        "_unacked",
        "_unstored",
        "auth",
        "close_reason",
        "closed",
        "disputed",
        "half_closed",
        "held",
        "hold",
        "host",
        "imei",
        "last_read",
        "over_share",
        "place",
        "seq",
        "session_id",
        "speaks",
        "state",
        "tally",
        "unacked_since",
    )

    def __init__(
        self,
        context: ConnectionContext,
        *,
        secure: bool = False,
        address: Address | None = None,
        place: Place | None = None,
        accepted_at: float | None = None,
    ) -> None:
        self._context = context
        self._accepted_at = now = context.clock.monotonic() if accepted_at is None else accepted_at
        self._stream = context.streams.begin(now)
        self._unacked: list[tuple[int, PendingFrame]] | None = None  # no list while idle, to save memory
        self._unstored: list[PendingFrame] | None = None  # frames for which no acknowledgement is expected
        self.auth = TLS if secure else PLAIN
        self.host, self._port, self._sent = "", 0, 0  # no port: the socket knows it
        self.closed = self.half_closed = False
        self.close_reason = DEVICE_CLOSED
        self.imei = ""
        self.speaks = self.over_share = False
        self.state, self.seq = NEW, 0
        self.place = place or Place(now)
        self.held = self.disputed = False
        self.hold: HoldStatus | None = None
        self.last_read = context.now
        self.session_id = context.sessions.new_session_id(secure)
        self.tally = Tally()
        self.unacked_since = 0.0
        if address is not None:
            self.host, self._port = sys.intern(address[0]), address[1]  # a carrier's address is kept once

    # The socket

    @property
    def secure(self) -> bool:
        """Whether the device speaks TLS."""
        return is_secure(self.session_id)

    @property
    def peer(self) -> str:
        """The device's end of the connection, ``HOST:PORT``."""
        return as_text((self.host, self._port or self._peer_name[1]))

    @property
    def _peer_name(self) -> Address:
        return self._transport.get_extra_info("peername") or ("", 0)

    @property
    def claimant(self) -> Claimant:
        """Who says to be the device."""
        return Claimant(self.host, self.auth)

    @property
    def origin(self) -> Origin:
        """The connection as evidence, at this time."""
        age = self._context.clock.monotonic() - self._accepted_at
        return Origin(self.peer, self.auth, round(age * 1000))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ready to be used; with TLS its handshake is done."""
        self._transport = cast(asyncio.Transport, transport)
        if not self._admitted():
            self.closed = True
            self._transport.abort()
            return
        if self.secure:
            self.auth = authentication(self._transport)
            # What has come and is not decrypted, because the connection is not read, is kept up to this size.
            cast(Any, transport).set_read_buffer_limits(high=TLS_BUFFER)
        self._transport.set_write_buffer_limits(high=WRITE_LIMIT)
        self.advance("accept")
        self._schedule()
        if self._context.backpressure.in_turns:
            self._context.backpressure.wait(self)

    def _admitted(self) -> bool:
        """Whether there is room for the connection; if so it is counted, unless it was at its accept."""
        if not self.host:
            self.host = sys.intern(self._peer_name[0])
        return self._context.sessions.admit(self, self._context.now)

    def pause(self) -> None:
        """Read no more for now."""
        if not self.closed:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on, unless there is a reason not to."""
        if self.closed or self._stream.held or self._context.backpressure.holds(self):
            return
        self._transport.resume_reading()
        if self._stream.early:
            self.received(self._stream.take_early())

    def pause_writing(self) -> None:
        """The device does not read."""
        self.close(WRITE_OVERFLOW)

    def _write(self, data: bytes) -> None:
        """Write bytes, unless a write has failed already and `connection_lost` is about to be called."""
        if not self._transport.is_closing():  # uvloop would raise
            self._transport.write(data)
        self._count_written(data)

    def _count_written(self, data: bytes) -> None:
        self._sent += len(data)
        if self._context.traffic is not None:
            self._context.traffic.sent(self, data)
        if self.imei in self._context.tap:
            self._context.tap.sent(self, data)

    def eof_received(self) -> bool:
        """The device has closed its side; whether the connection stays open for what is left to be written.

        It may still read: it gets `01` and the acknowledgements of all that it has sent, and no
        command. With TLS no event loop can close one side only.
        """
        if self.closed or not self.imei or self.secure:
            return self.half_closed
        if self._stream.started and not self._unacked:
            return False
        self.half_closed = True
        self.drain(DEVICE_CLOSED)
        self._end(DEVICE_CLOSED)
        self._context.sessions.closing.add(self)
        self._context.deadlines.set(self, self._context.clock.monotonic() + HALF_CLOSED_TIMEOUT)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        if self.state == NEW:
            return
        self._end(close_reason(exc))
        self.advance("close", self.close_reason)
        self._context.deadlines.cancel(self)
        self._context.backpressure.forget(self)
        self._context.sessions.socket_closed(self)
        self._context.metrics.closed.labels(self.close_reason).inc()
        self._drop_unstored()

    # The life of the session

    def advance(self, trigger: SessionTrigger, reason: str = "") -> None:
        """Move the session along `trigger` and publish the event, once the device is known.

        Raises:
            IllegalTransition: the table has no such edge.
        """
        before = Session(self.session_id, self.state, self.seq)  # not kept, to save memory
        event = session.decide(
            before,
            trigger,
            reason=reason,
            imei=self.imei,
            peer=self.peer,
            auth=self.auth,
            instance_id=self._context.settings.instance_id,
        )
        after = session.evolve(before, event)
        self.state, self.seq = after.state, after.seq
        if self.imei:
            self._context.sessions.changed(self, event)

    def _advance_if_allowed(self, trigger: SessionTrigger, reason: str = "") -> None:
        if SESSION.allows(self.state, trigger):
            self.advance(trigger, reason)

    def drain(self, reason: str) -> None:
        """Begin nothing new on this connection."""
        self._advance_if_allowed("drain", reason)

    def close(self, reason: str, *, linger: bool = False) -> None:
        """Close the connection for `reason`. A peer that does not read is not waited for.

        Args:
            linger: end the session, and leave the socket open and unread until `abort`.
        """
        if self.closed:
            return
        self.drain(reason)
        self._end(reason)
        self._context.sessions.closing.add(self)
        if linger:
            self._transport.pause_reading()
        elif reason in _FLUSHED or (reason != NO_PLACE and not self._transport.get_write_buffer_size()):
            self._transport.close()
        else:
            self._transport.abort()

    def abort(self) -> None:
        """Close at once, whatever is still to be written."""
        self._transport.abort()

    def probe(self, now: float, patience: float) -> Probe | None:
        """Ask the peer whether it is there; None where that cannot be asked."""
        return ask(self._transport, self.host, now, patience)

    def recheck(self) -> None:
        """The registry may name another holder of the device: ask it."""
        if not self.closed:
            self._context.sessions.recheck(self)

    def _end(self, reason: str) -> None:
        if not self.closed:
            self.closed = True
            self.close_reason = reason
            if self.imei:
                self._context.sessions.ended(self, reason)
        if not self.half_closed:
            self._drop_unstored()

    # Time

    def _schedule(self) -> None:
        """Enter the deadline of the stream in the table of all deadlines."""
        deadline = self._stream.deadline
        if deadline is None:
            self._context.deadlines.cancel(self)
        else:
            self._context.deadlines.set(self, deadline)

    def overdue(self) -> None:
        """The connection's deadline has come."""
        awaited = self._stream.awaited
        if self.half_closed:
            self._transport.abort()
        elif awaited is Awaited.HANDSHAKE:
            self._context.peer_log.handshake_refused(self, HANDSHAKE_TIMEOUT, self._context.now)
            self.close(HANDSHAKE_TIMEOUT)
        elif awaited is Awaited.FRAME_END:
            if self._context.backpressure.holds(self):
                self.extend_frame()
            else:
                self.close(PROTOCOL_ERROR)
        elif self.state == IDENTIFIED and not self._unacked:
            self._open()

    def extend_frame(self) -> None:
        """The time of the frame that has begun begins anew: it was not read."""
        self._stream.extend(self._context.clock.monotonic())
        self._schedule()

    # What is read

    @property
    def get_buffer(self) -> Buffer:
        """What gives the buffer of a read, which limits its size. uvloop keeps it until `set_protocol`."""
        return self._context.reads if self.imei else self._context.first_reads

    @property
    def buffer_updated(self) -> DeviceConnection:
        """What is called after each read: the connection itself, because uvloop would keep a bound method."""
        return self

    def __call__(self, nbytes: int) -> None:
        """A read has filled the first `nbytes` of the buffer."""
        self.received(data := bytes(self._context.read_buffer[:nbytes]))
        if self.imei in self._context.tap:
            self._context.tap.received(self, data)

    def received(self, data: bytes) -> None:
        """The device has sent `data`. (uvloop would keep a method called `data_received` for each.)"""
        if self.closed:
            return
        context = self._context
        backpressure = context.backpressure
        self.last_read = context.now
        if backpressure.in_turns and (backpressure.holds(self) or context.backlog.full):
            self._stream = context.streams.own(self._stream)
            self._stream.keep(data)
            backpressure.wait(self)
        elif (frame := self._stream.whole(data)) is not None:
            self._handle(frame)
            if not self.closed:
                backpressure.after_read(self, len(data))
        elif self._stream.started:
            self._read_frames(data)
        else:
            self._read_handshake(data)

    def _read_handshake(self, data: bytes) -> None:
        for item in self._stream.feed(data, self._context.clock.monotonic()):
            self._handle(item)
        if self._stream.held:
            self.pause()  # while the allow-list and an older session are asked, and until `01` is written

    def _read_frames(self, data: bytes) -> None:
        context = self._context
        stream = self._stream = context.streams.own(self._stream)
        was_partial, deadline = stream.partial, stream.deadline
        items = stream.feed(data, context.clock.monotonic())
        for item in items:
            self._handle(item)
            if self.closed:
                return
        if was_partial or stream.partial:
            if stream.deadline != deadline:
                self._schedule()
            if not stream.partial:
                context.commands.quiet(self)
            context.backpressure.arriving(self, stream.expected, ended=bool(items))
        self._stream = context.streams.shared(stream)
        context.backpressure.after_read(self, len(data))

    def _handle(self, item: Item) -> None:
        if self._context.traffic is not None:
            self._context.traffic.received(self, item)
        if isinstance(item, RecordsFrame):
            now_ms, names = self._context.clock.now_ms(), self._context.io_names
            self._store(len(item.records), pending_records(item, self, now_ms, self._stored, names))
        elif isinstance(item, MessagesFrame):
            self._handle_messages(item)
        elif isinstance(item, RawFrame):
            self._handle_raw(item)
        elif isinstance(item, BadFrame):
            self._context.metrics.bad_frames.inc()
        elif isinstance(item, FramingLost):
            self._framing_lost(item)
        elif isinstance(item, Identity):
            self._named(item.imei)
        else:
            self._context.peer_log.handshake_refused(self, item.reason, self._context.now)
            self._reject(PROTOCOL_ERROR)

    def _framing_lost(self, fault: FramingLost) -> None:
        context = self._context
        context.peer_log.framing_lost(self, fault, context.settings.max_frame, context.now)
        self.close(PROTOCOL_ERROR)

    def _handle_messages(self, frame: MessagesFrame) -> None:
        """A frame of messages is never acknowledged: a device would take the four bytes for a broken frame.

        It is not repeated either, so all of it that is no answer is stored, as it is read.
        """
        answer = self._context.commands.answer
        unasked = [message for message in frame.messages if not answer(self, message)]
        if unasked:
            self._context.metrics.messages.labels(CODEC_NAMES[frame.codec]).inc(len(unasked))
            now_ms = self._context.clock.now_ms()
            self._keep(pending_messages(unasked, self, now_ms, self._kept))

    def _handle_raw(self, frame: RawFrame) -> None:
        """Store a frame as it came: a device repeats one that is not acknowledged for ever."""
        if frame.reason:
            self._context.metrics.undecodable.inc()
            log.debug("frame_undecodable", imei=self.imei, reason=frame.reason)
        now_ms = self._context.clock.now_ms()
        if frame.owed:
            self._store(frame.count, pending_raw(frame, self, now_ms, self._stored))
        else:
            self._keep(pending_raw(frame, self, now_ms, self._kept))

    # Who the device is

    def _named(self, imei: str) -> None:
        """The device has named itself: accept or reject it, or ask the allow-list first."""
        if not self._context.sessions.may_ask(self, imei, self._context.now):
            self.close(REJECTED)  # its address was refused too often
            return
        refusal = self._context.access.refusal(imei, self, self._transport)
        if refusal is None:
            self._context.access.ask(imei, self, partial(self._allow_list_answered, imei))
        else:
            self._accept_or_reject(imei, refusal)

    def _allow_list_answered(self, imei: str, refusal: str) -> None:
        if not self.closed:
            self._accept_or_reject(imei, refusal)

    def _accept_or_reject(self, imei: str, refusal: str) -> None:
        context = self._context
        if refusal:
            context.access.refused(imei, self.peer, refusal, context.now)
            self._reject(REJECTED)
        elif not self.secure and (holder := context.sessions.secure_peer(imei)):
            self._refuse_plain(imei, holder)
            self._reject(REJECTED)
        elif self._waits_for_older(imei):
            return  # until that is asked
        elif not context.sessions.has_place(self, imei, context.access.vouches(self), context.now):
            self.close(NO_PLACE)
        else:
            self._identify(imei)

    def _refuse_plain(self, imei: str, holder: str) -> None:
        self._context.peer_log.plain_refused(imei, self.peer, holder, self._context.now)
        self._context.takeovers.tell_of_refusal(self, imei, holder)

    def _waits_for_older(self, imei: str) -> bool:
        """Whether another session of the device is asked first if it is alive."""
        takeovers, older = self._context.takeovers, self._context.sessions.by_imei.get(imei)
        if older is None or not takeovers.contested(self, older):
            return False
        return takeovers.ask(older, partial(self._older_answered, imei, older))

    def _older_answered(self, imei: str, older: SessionConnection, answer: Liveness) -> None:
        if self.closed:
            return
        if answer is Liveness.ALIVE:
            self._context.takeovers.refused(self, imei, older)
            self._reject(REJECTED)
        else:
            older.close(NETWORK_TIMEOUT)
            self._accept_or_reject(imei, "")

    def _reject(self, reason: str) -> None:
        self._context.sessions.refused(self, reason, self._context.now)
        self._transport.write(REJECT)
        self.close(reason)

    def _identify(self, imei: str) -> None:
        self.imei = imei
        self._join(self._context.of(imei))
        self.advance("identify")
        self._stream.admit(self._context.clock.monotonic())
        self._schedule()
        self._context.sessions.identified(self, self._context.now)
        asyncio.get_running_loop().call_later(ACCEPT_DELAY, self._accept)

    def _join(self, context: ConnectionContext) -> None:
        """From now on the store and the back-pressure are those of the device's shard."""
        if context is not self._context and context.backpressure.in_turns:
            context.backpressure.wait(self)
        self._context = context

    def registered(self, result: RegisterResult) -> None:
        """The registry answered this session's registration."""
        self.speaks = self.speaks or result.speaks
        if result.status in (Registered.INSECURE, Registered.UNPROVED):
            self._reject_late(result)
        else:
            self._context.takeovers.registered(self, result)
            self._accept()
            if result.parked:
                self._context.commands.parked(self)

    def _reject_late(self, result: RegisterResult) -> None:
        """The registry does not take the session. `01` may have been written before that was known."""
        if self.closed and not self.half_closed:
            return
        if result.status is Registered.INSECURE:
            self._refuse_plain(self.imei, result.holder)
        else:
            self._context.peer_log.certificate_missing(self, self._context.now)
        if not self._stream.started:
            self._stream.start()
            self._transport.write(REJECT)
        self.close(REJECTED)
        self._transport.close()  # of one that is half closed

    def _accept(self) -> None:
        """Write `01`, unless it is written, and read what comes after the handshake."""
        if not self._stream.started and (self.half_closed or not self.closed):
            self._stream.start()
            self._stream = self._context.streams.shared(self._stream)
            self._write(ACCEPT)
            self._transport.set_protocol(self)  # its reads are longer from now on
            asyncio.get_running_loop().call_soon(self.resume)
        self._finish()

    def _open(self) -> None:
        self._accept()  # `01` comes before anything else that is written
        self._stream = self._context.streams.opened(self._stream)
        self.advance("open")
        self._schedule()
        self._stream = self._context.streams.shared(self._stream)
        self._context.commands.quiet(self)

    # What is stored and acknowledged

    def _keep(self, frame: PendingFrame) -> None:
        """Store a frame without an acknowledgement; commands may be written meanwhile."""
        self._unstored = self._unstored or []
        self._unstored.append(frame)
        self._context.backpressure.to_store(self, len(frame.bodies))
        self._context.messages.store(frame)

    def _kept(self) -> None:
        assert self._unstored
        del self._unstored[0]
        self._unstored = self._unstored or None
        if self.place.proven_at is None and not self.closed:
            self._context.sessions.proved(self, self._context.now)
        if self.over_share:
            self._context.backpressure.after_store(self)

    def _store(self, count: int, frame: PendingFrame) -> None:
        context = self._context
        if self._unacked is None:
            self._unacked = []
            self.unacked_since = context.now
        self._unacked.append((count, frame))
        context.backpressure.to_store(self, len(frame.bodies))
        context.telemetry.store(frame)

    def _stored(self) -> None:
        """The oldest unacknowledged frame is stored whole; it is acknowledged with those of other devices."""
        self._context.stored.append(self)

    def take_ack(self) -> tuple[asyncio.Transport, bytes] | None:
        """The acknowledgement of the oldest frame, to be written now, and where; None if it is closed."""
        assert self._unacked
        count, frame = self._unacked.pop(0)
        self._unacked = self._unacked or None
        context = self._context
        self.unacked_since = context.now if self._unacked else 0.0
        self.tally.add(count, frame)
        context.records += count
        context.frames += 1
        if self.closed and not self.half_closed:
            return None
        self._count_written(ack := encode_ack(count))
        return self._transport, ack

    def after_ack(self) -> None:
        """The acknowledgement is written, and so are those of other devices."""
        context = self._context
        if self.over_share:
            context.backpressure.after_store(self)
        if self.closed and not self.half_closed:
            return
        if self.place.proven_at is None:
            context.sessions.proved(self, context.now)
        if self.half_closed:
            self._finish()
        elif self.state == IDENTIFIED:
            self._open()
        elif not self._unacked:
            context.commands.quiet(self)

    def _finish(self) -> None:
        """Close a half-closed connection once everything is acknowledged."""
        if self.half_closed and not self._unacked:
            self._transport.close()

    def _drop_unstored(self) -> None:
        """Drop the frames that are not stored yet: the device keeps what is not acknowledged."""
        for _, frame in self._unacked or ():
            self._context.telemetry.drop(frame)

    def awaits(self, frame: PendingFrame) -> bool:
        """Whether `frame` is a frame of this connection that is not acknowledged."""
        return any(waiting is frame for _, waiting in self._unacked or ())

    @property
    def congested(self) -> bool:
        """Whether so much of this connection waits for the store that it is not read."""
        unacked, unstored = self._unacked, self._unstored
        if unstored is None and (unacked is None or len(unacked) == 1):
            return False  # the common case, kept cheap
        context = self._context
        if unstored and context.messages is not context.telemetry and context.messages.backlog.full:
            return True
        return context.backpressure.is_too_much([frame for _, frame in unacked or ()] + (unstored or []))

    # Commands

    @property
    def writable(self) -> bool:
        """Ready, not held, and between frames: every AVL frame that has begun to arrive is acknowledged."""
        ready = self.state == READY and not self.held and not self.closed
        return ready and not self._unacked and not self._stream.partial

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
        self._context.metrics.taints.inc()
        self._advance_if_allowed("taint")

    def clear(self) -> None:
        """The owed answer has come."""
        self._advance_if_allowed("clear")

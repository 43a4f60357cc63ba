"""The commands of one connection: when the next one is begun, written, answered or given up."""

from __future__ import annotations

from typing import Any, Protocol

from fsm.command import Answer
from fsm.reasons import EXPIRED, GATEWAY_SHUTDOWN, NACK, SUPERSEDED, TAINTED, failure_for, withdrawal_for
from fsm.serial import CERTAIN, UNCERTAIN, attribution, codec_for
from fsm.write_queue import WriteQueue
from transport.clock import Clock
from transport.commands.in_flight_command import Flight, insert
from transport.ports import Link
from transport.teltonika.command import TYPE_ANSWER, TYPE_NACK, Message, encode_command
from transport.teltonika.frame import CODEC_12, CODEC_14
from transport.teltonika.message_json import CODEC_NAMES, as_text

ANSWER_LIMIT = 8192
"""Bytes of an answer that are published; the rest is cut."""

CODEC_IDS = {"12": CODEC_12, "14": CODEC_14}


class Desk(Protocol):
    """What a lane needs of the dispatcher."""

    clock: Clock
    stopping: bool

    def propose(self, flight: Flight, trigger: str, **facts: Any) -> None:
        """Something happened to a command."""

    def wrote(self, lane: Lane, flight: Flight) -> None:
        """The command of `lane` was handed to the socket."""

    def late_answer(self, flight: Flight, answer: Answer) -> None:
        """The device answered a command that already has its verdict."""


def published(payload: bytes, codec: str, attributed: str = CERTAIN) -> Answer:
    """A device's answer as it is published: text when printable ASCII (with line breaks), else hex."""
    kept = payload[:ANSWER_LIMIT]
    truncated = len(payload) > ANSWER_LIMIT
    text = as_text(kept)
    return Answer(text, kept.hex() if text is None else None, truncated, codec, attributed)


def answers(message: Message, codec: str, imei: str) -> bool:
    """Whether `message` can be the answer to a command of `codec` sent to `imei`.

    Codec 12: type 06 with a text. Codec 14: type 06 with the device's own IMEI, or type 11 (nACK) whose
    IMEI says nothing. An answer repeats the quantity of the command, which is 1: several messages in one
    frame are packets of a serial port. (Teltonika Data Sending Protocols, Codec 12 and Codec 14.)
    """
    if CODEC_NAMES.get(message.codec) != codec or message.quantity != 1:
        return False
    if codec == "12":
        return message.type == TYPE_ANSWER and len(message.payload) > 0
    return message.type == TYPE_NACK or (message.type == TYPE_ANSWER and message.imei == imei)


class Lane:
    """The write queue of one connection, and its hand on the socket.

    A command's `sent` is committed before it is written, and it is written in the same synchronous step in
    which the connection is found writable. Between commit and write it is `unwritten`.
    """

    __slots__ = ("_close_reason", "_desk", "link", "queue", "tainted_at", "unwritten")

    def __init__(self, desk: Desk, link: Link) -> None:
        self._desk = desk
        self.link = link
        self.queue: WriteQueue[Flight] = WriteQueue()
        self.unwritten = False
        self.tainted_at = 0.0
        self._close_reason = ""

    @property
    def idle(self) -> bool:
        """Whether nothing waits, is out, or is owed."""
        return self.queue.free and not self.queue.waiting

    def join(self, flight: Flight) -> None:
        """Queue a command where the stream has it: behind all others, unless it comes back from elsewhere."""
        flight.lane = self
        insert(self.queue.waiting, flight)

    def pump(self) -> None:
        """Write the committed command or begin the next one, if this is the moment."""
        if not self.link.writable:
            return
        if self.unwritten:
            self._write()
        elif self._desk.stopping:
            return
        elif self.queue.free and self.queue.waiting and self.queue.waiting[0].pending is None:
            flight = self.queue.begin()
            codec = codec_for(flight.request.codec, self.link.speaks)
            self._desk.propose(flight, "send", session_id=self.link.session_id, codec=codec)

    def committed(self, flight: Flight) -> None:
        """`sent` is in the log: write now, or as soon as the connection is between frames."""
        self.unwritten = True
        if self.link.closed:
            self._desk.propose(flight, "withdraw", reason=withdrawal_for(self._close_reason))
        elif self._desk.stopping:
            self._desk.propose(flight, "withdraw", reason=GATEWAY_SHUTDOWN)
        elif self._expired(flight):
            self._desk.propose(flight, "withdraw", reason=EXPIRED)
        else:
            self.pump()

    def _expired(self, flight: Flight) -> bool:
        return self._desk.clock.now_ms() >= flight.request.expires_at

    def _write(self) -> None:
        flight = self.queue.slot
        if flight is None or flight.pending is not None:
            return
        if self._expired(flight):
            self._desk.propose(flight, "withdraw", reason=EXPIRED)
            return
        request = flight.request
        frame = encode_command(CODEC_IDS[flight.command.codec], request.imei, request.payload)
        self.unwritten = False
        self.queue.written()
        flight.written, flight.written_at = True, self._desk.clock.monotonic()
        self._desk.wrote(self, flight)
        flight.offset = self.link.send(frame)  # may close the connection, if too much is unread

    def leave(self, flight: Flight) -> None:
        """A verdict on `flight` was given: it gives up its place, and may leave the lane tainted."""
        was_tainted = self.queue.tainted
        if self.queue.slot is flight:
            self.unwritten = False
        self.queue.leave(flight)
        if self.queue.tainted and not was_tainted and not self.link.closed:
            self.tainted_at = self._desk.clock.monotonic()
            self.link.taint()

    def put_back(self) -> list[Flight]:
        """The command in the slot was not committed: it waits again.

        Returns the commands that have to wait elsewhere: all of them if the connection is closed.
        """
        self.queue.put_back()
        return self.close(SUPERSEDED) if self.link.closed else []

    def answer(self, message: Message) -> bool:
        """A message was read; whether it is the answer that is owed.

        Of a device that speaks by itself nobody can say on codec 12 which message is the late answer: none
        is, and the connection stays tainted.
        """
        owed = self.queue.owed
        if owed is None or not answers(message, owed.command.codec, self.link.imei):
            return False
        attributed = attribution(owed.command.codec, self.link.speaks)
        if self.queue.tainted and attributed == UNCERTAIN:
            return False
        taken = self.queue.answered()
        assert taken is not None
        flight, late = taken
        answer = published(message.payload, owed.command.codec, attributed)
        if late:
            self.link.clear()
            self._desk.late_answer(flight, answer)
        else:
            self._verdict(flight, message, answer)
        self.pump()
        return True

    def _verdict(self, flight: Flight, message: Message, answer: Answer) -> None:
        rtt_ms = round((self._desk.clock.monotonic() - flight.written_at) * 1000)
        nack = message.type == TYPE_NACK
        self._desk.propose(
            flight,
            "reject" if nack else "respond",
            reason=NACK if nack else "",
            answer=answer,
            rtt_ms=rtt_ms,
        )

    def sample(self) -> None:
        """Ask the kernel whether the device's TCP has the whole command that is out."""
        flight = self.queue.slot
        if flight is None or not flight.offset or flight.received or flight.decided:
            return
        if self.link.acknowledged(flight.offset):
            flight.received = True
            if not flight.request.expect_response:
                self._desk.propose(flight, "deliver")

    def drain_overdue(self, now: float, drain_timeout: float) -> None:
        """Give up a tainted connection when a command has waited for the owed answer long enough."""
        if self.queue.tainted and self.queue.waiting and now - self.tainted_at >= drain_timeout:
            self.link.shut(TAINTED)

    def close(self, reason: str) -> list[Flight]:
        """The connection is gone: what was out gets its verdict, what waited is returned."""
        self._close_reason = reason
        flight = self.queue.slot
        if flight is not None and not flight.decided:
            if flight.written:
                self._desk.propose(flight, "fail", reason=failure_for(reason), acknowledged=flight.received)
            elif self.unwritten:
                self._desk.propose(flight, "withdraw", reason=withdrawal_for(reason))
        waiting = list(self.queue.waiting)
        self.queue.waiting.clear()
        return waiting

"""The queue of commands of one connection: when the next one is begun, written, answered or given up.

Which command is waiting, which is out, and whether an answer is still owed is the state of a
`fsm.write_queue.WriteQueue`; this module connects it to the socket.

Invariants: one command is out at a time. Its `sent` is committed before it is written, so a crash can leave a
`sent` that was never written, and never a write that nobody knows of. Just before the write everything that
could forbid it is checked again: expiry, shutdown, a closed connection. After a time-out the connection is
tainted: the next answer belongs to the command that timed out, and nothing is written until it has come.
"""

from __future__ import annotations

from typing import Protocol, Unpack

from fsm.command import Answer, Facts
from fsm.reasons import EXPIRED, GATEWAY_SHUTDOWN, NACK, SUPERSEDED, TAINTED, failure_for, withdrawal_for
from fsm.serial import CERTAIN, UNCERTAIN, attribution, codec_for
from fsm.states import CommandTrigger
from fsm.write_queue import WriteQueue
from transport.clock import Clock
from transport.commands.in_flight_command import InFlightCommand, insert
from transport.ports import Link
from transport.teltonika.command import TYPE_ANSWER, TYPE_NACK, Message, encode_command
from transport.teltonika.frame import CODEC_12, CODEC_14
from transport.teltonika.message_json import CODEC_NAMES, as_text

ANSWER_LIMIT = 8192
"""Bytes of an answer that are published; the rest is cut."""

CODEC_IDS = {"12": CODEC_12, "14": CODEC_14}


class QueueOwner(Protocol):
    """What a device queue needs of the dispatcher."""

    clock: Clock
    stopping: bool

    def propose(self, in_flight: InFlightCommand, trigger: CommandTrigger, **facts: Unpack[Facts]) -> None:
        """Something happened to a command."""

    def wrote(self, queue: DeviceQueue, in_flight: InFlightCommand) -> None:
        """The command of `queue` was handed to the socket."""

    def late_answer(self, in_flight: InFlightCommand, answer: Answer) -> None:
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


class DeviceQueue:
    """The commands of one connection.

    Attributes:
        writes: the commands that wait, and the one that is out or was out last.
        unwritten: the `sent` of the command in the slot is committed, and it is not written yet.
        tainted_at: monotonic second at which an answer became overdue.
    """

    __slots__ = ("_close_reason", "_owner", "link", "tainted_at", "unwritten", "writes")

    def __init__(self, owner: QueueOwner, link: Link) -> None:
        self._owner = owner
        self.link = link
        self.writes: WriteQueue[InFlightCommand] = WriteQueue()
        self.unwritten = False
        self.tainted_at = 0.0
        self._close_reason = ""

    @property
    def idle(self) -> bool:
        """Whether no command waits or is out, and no answer is owed."""
        return self.writes.free and not self.writes.waiting

    def join(self, in_flight: InFlightCommand) -> None:
        """Queue a command in the order of the stream: last, unless it was put back or handed over."""
        in_flight.queue = self
        insert(self.writes.waiting, in_flight)

    def pump(self) -> None:
        """Write the committed command, or begin the next one, if the connection is writable."""
        if not self.link.writable:
            return
        if self.unwritten:
            self._write()
        elif self._owner.stopping:
            return
        elif self.writes.free and self.writes.waiting and self.writes.waiting[0].pending is None:
            in_flight = self.writes.begin()
            codec = codec_for(in_flight.request.codec, self.link.speaks)
            self._owner.propose(in_flight, "send", session_id=self.link.session_id, codec=codec)

    def committed(self, in_flight: InFlightCommand) -> None:
        """`sent` is in the log: write now, or as soon as the connection is between frames."""
        self.unwritten = True
        if self.link.closed:
            self._owner.propose(in_flight, "withdraw", reason=withdrawal_for(self._close_reason))
        elif self._owner.stopping:
            self._owner.propose(in_flight, "withdraw", reason=GATEWAY_SHUTDOWN)
        elif self._expired(in_flight):
            self._owner.propose(in_flight, "withdraw", reason=EXPIRED)
        else:
            self.pump()

    def _expired(self, in_flight: InFlightCommand) -> bool:
        return self._owner.clock.now_ms() >= in_flight.request.expires_at

    def _write(self) -> None:
        in_flight = self.writes.slot
        if in_flight is None or in_flight.pending is not None:
            return
        if self._expired(in_flight):
            self._owner.propose(in_flight, "withdraw", reason=EXPIRED)
            return
        request = in_flight.request
        frame = encode_command(CODEC_IDS[in_flight.command.codec], request.imei, request.payload)
        self.unwritten = False
        self.writes.written()
        in_flight.written, in_flight.written_at = True, self._owner.clock.monotonic()
        self._owner.wrote(self, in_flight)
        in_flight.offset = self.link.send(frame)  # may close the connection, when the device does not read

    def leave(self, in_flight: InFlightCommand) -> None:
        """`in_flight` has its verdict and leaves the queue, which may be tainted then."""
        was_tainted = self.writes.tainted
        if self.writes.slot is in_flight:
            self.unwritten = False
        self.writes.leave(in_flight)
        if self.writes.tainted and not was_tainted and not self.link.closed:
            self.tainted_at = self._owner.clock.monotonic()
            self.link.taint()

    def put_back(self) -> list[InFlightCommand]:
        """The command in the slot was not committed: it waits again.

        Returns the commands that have to wait elsewhere: all of them if the connection is closed.
        """
        self.writes.put_back()
        return self.close(SUPERSEDED) if self.link.closed else []

    def answer(self, message: Message) -> bool:
        """A message was read; whether it is the answer that is owed.

        When the serial port of a device speaks by itself, a late answer on codec 12 cannot be told from its
        data. No message is taken for the answer then, and the connection stays tainted.
        """
        owed = self.writes.owed
        if owed is None or not answers(message, owed.command.codec, self.link.imei):
            return False
        attributed = attribution(owed.command.codec, self.link.speaks)
        if self.writes.tainted and attributed == UNCERTAIN:
            return False
        taken = self.writes.answered()
        assert taken is not None
        in_flight, late = taken
        answer = published(message.payload, owed.command.codec, attributed)
        if late:
            self.link.clear()
            self._owner.late_answer(in_flight, answer)
        else:
            self._verdict(in_flight, message, answer)
        self.pump()
        return True

    def _verdict(self, in_flight: InFlightCommand, message: Message, answer: Answer) -> None:
        rtt_ms = round((self._owner.clock.monotonic() - in_flight.written_at) * 1000)
        nack = message.type == TYPE_NACK
        self._owner.propose(
            in_flight,
            "reject" if nack else "respond",
            reason=NACK if nack else "",
            answer=answer,
            rtt_ms=rtt_ms,
        )

    def sample(self) -> None:
        """Ask the kernel whether the device's TCP has acknowledged the whole command that is out."""
        in_flight = self.writes.slot
        if in_flight is None or not in_flight.offset or in_flight.received or in_flight.decided:
            return
        if self.link.acknowledged(in_flight.offset):
            in_flight.received = True
            if not in_flight.request.expect_response:
                self._owner.propose(in_flight, "deliver")

    def drain_overdue(self, now: float, drain_timeout: float) -> None:
        """Close a tainted connection when a command has waited for `drain_timeout` behind the owed answer."""
        if self.writes.tainted and self.writes.waiting and now - self.tainted_at >= drain_timeout:
            self.link.close(TAINTED)

    def close(self, reason: str) -> list[InFlightCommand]:
        """The connection is closed: the command that is out gets its verdict; returns those that wait."""
        self._close_reason = reason
        in_flight = self.writes.slot
        if in_flight is not None and not in_flight.decided:
            if in_flight.written:
                failed = failure_for(reason)
                self._owner.propose(in_flight, "fail", reason=failed, acknowledged=in_flight.received)
            elif self.unwritten:
                self._owner.propose(in_flight, "withdraw", reason=withdrawal_for(reason))
        waiting = list(self.writes.waiting)
        self.writes.waiting.clear()
        return waiting

"""The queue of commands of one connection: when the next one is begun, written, answered or given up.

Which command is waiting, which is out, and whether an answer is still owed is the state of a
`fsm.write_queue.WriteQueue`; this module connects it to the socket.

Invariants: one command is out at a time. Its `sent` is committed before it is written, so a crash can leave a
`sent` that was never written, and never a write that nobody knows of. Just before the write everything that
could forbid it is checked again: expiry, shutdown, a closed connection. After a time-out the connection is
tainted: the next answer belongs to the command that timed out, and nothing is written until it has come.
"""

from __future__ import annotations

from dataclasses import dataclass

from fsm.command import Answer, Facts
from fsm.policies import AWAIT_DEVICE, policy_for
from fsm.reasons import NACK
from fsm.serial import CERTAIN, UNCERTAIN, attribution, codec_for
from fsm.write_queue import WriteQueue
from transport.clock import Clock
from transport.commands.backlog import Backlog
from transport.commands.effects import Write
from transport.commands.in_flight_command import InFlightCommand, Proposal, insert
from transport.ports import Link
from transport.teltonika.command import TYPE_ANSWER, TYPE_NACK, Message, encode_command
from transport.teltonika.frame import CODEC_12, CODEC_14
from transport.teltonika.message_json import CODEC_NAMES, as_text

ANSWER_LIMIT = 8192
"""Bytes of an answer that are published; the rest is cut."""

CODEC_IDS = {"12": CODEC_12, "14": CODEC_14}


@dataclass(slots=True)
class LateAnswer:
    """The device answered a command that already has its verdict."""

    in_flight: InFlightCommand
    answer: Answer
    rtt_ms: int


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
        taking_up: parked commands of the device are being taken up, which come first.
    """

    __slots__ = (
        "_backlog",
        "_clock",
        "_close_reason",
        "link",
        "tainted_at",
        "taking_up",
        "unwritten",
        "writes",
    )

    def __init__(self, link: Link, clock: Clock, backlog: Backlog) -> None:
        self.link = link
        self.writes: WriteQueue[InFlightCommand] = WriteQueue()
        self.unwritten = False
        self.taking_up = False
        self.tainted_at = 0.0
        self._backlog = backlog
        self._clock = clock
        self._close_reason = ""

    @property
    def idle(self) -> bool:
        """Whether no command waits or is out, and no answer is owed."""
        return self.writes.free and not self.writes.waiting

    @property
    def held(self) -> bool:
        """Whether no command begins, because others may come that are written first."""
        return self.taking_up or not self._backlog.ordered

    @property
    def has_next(self) -> bool:
        """Whether a command may be written or begun, if the connection is writable."""
        return self.unwritten or bool(self.writes.waiting and self.writes.free and not self.held)

    def join(self, in_flight: InFlightCommand) -> None:
        """Queue a command in the order of the stream: last, unless it was put back or handed over."""
        insert(self.writes.waiting, in_flight)

    def reorder(self, in_flight: InFlightCommand) -> None:
        """A command that waits has another place."""
        if in_flight in self.writes.waiting:
            self.writes.waiting.remove(in_flight)
            self.join(in_flight)

    # Turns

    def advance(self, *, stopping: bool) -> Proposal | Write | None:
        """Write the committed command, or begin the next one, if the connection is writable.

        While it is disputed who the device is, they end instead.
        """
        if self.link.disputed:
            return self._dispute()
        if not self.link.writable:
            return None
        if self.unwritten:
            return self._write()
        if stopping or self.held:
            return None
        if self.writes.free and self.writes.waiting and self.writes.waiting[0].pending is None:
            in_flight = self.writes.begin()
            codec = codec_for(in_flight.request.codec, self.link.speaks)
            return Proposal(
                in_flight,
                "send",
                {"session_id": self.link.session_id, "codec": codec, "origin": self.link.origin},
            )
        return None

    def _dispute(self) -> Proposal | None:
        """The verdict on the command that would be written or begun next."""
        next_one = self.writes.slot if self.unwritten else self._first_waiting()
        return next_one.at("dispute") if next_one is not None and next_one.pending is None else None

    def _first_waiting(self) -> InFlightCommand | None:
        return self.writes.waiting[0] if self.writes.free and self.writes.waiting else None

    def committed(self, in_flight: InFlightCommand, *, stopping: bool) -> Proposal | Write | None:
        """`sent` is in the log: write now, or as soon as the connection is between frames."""
        self.unwritten = True
        if self.link.closed:
            return in_flight.at("disconnect", self._close_reason)
        if stopping:
            return in_flight.at("shutdown")
        if self._expired(in_flight):
            return in_flight.at("expiry")
        return self.advance(stopping=stopping)

    def _expired(self, in_flight: InFlightCommand) -> bool:
        return self._clock.now_ms() >= in_flight.request.expires_at

    def _write(self) -> Proposal | Write | None:
        in_flight = self.writes.slot
        if in_flight is None or in_flight.pending is not None:
            return None
        if self._expired(in_flight):
            return in_flight.at("expiry")
        request = in_flight.request
        frame = encode_command(CODEC_IDS[in_flight.command.codec], request.imei, request.payload)
        self.unwritten = False
        self.writes.written()
        in_flight.written, in_flight.written_at = True, self._clock.monotonic()
        return Write(in_flight, self.link, frame)

    def leave(self, in_flight: InFlightCommand) -> bool:
        """`in_flight` has its verdict and leaves the queue; whether that taints the connection."""
        was_tainted = self.writes.tainted
        if self.writes.slot is in_flight:
            self.unwritten = False
        self.writes.leave(in_flight)
        if self.writes.tainted and not was_tainted and not self.link.closed:
            self.tainted_at = self._clock.monotonic()
            return True
        return False

    def put_back(self) -> list[InFlightCommand]:
        """The command in the slot was not committed: it waits again.

        Returns the commands that have to wait elsewhere: all of them if the connection is closed.
        """
        self.writes.put_back()
        return self._vacate() if self.link.closed else []

    def close(self, reason: str) -> tuple[list[Proposal], list[InFlightCommand]]:
        """The connection is closed: verdicts on the commands that end with it, and those that wait."""
        self._close_reason = reason
        slot = self.writes.slot
        commands = [*([] if slot is None else [slot]), *self._vacate()]
        ended = [proposal for one in commands if (proposal := one.at("disconnect", reason))]
        return ended, [one for one in commands if policy_for("disconnect", one.stage) is AWAIT_DEVICE]

    def _vacate(self) -> list[InFlightCommand]:
        waiting = list(self.writes.waiting)
        self.writes.waiting.clear()
        return waiting

    # Answers

    def expects(self, message: Message) -> bool:
        """Whether `message` is the answer that is owed.

        When the serial port of a device speaks by itself, a late answer on codec 12 cannot be told from its
        data. No message is taken for the answer then, and the connection stays tainted.
        """
        owed = self.writes.owed
        if owed is None or not answers(message, owed.command.codec, self.link.imei):
            return False
        return not (self.writes.tainted and self._attribution(owed) == UNCERTAIN)

    def _attribution(self, owed: InFlightCommand) -> str:
        return attribution(owed.command.codec, self.link.speaks)

    def answered(self, message: Message) -> LateAnswer | Proposal | None:
        """The answer that was owed has come."""
        found = self.writes.answered()
        if found is None:
            return None
        in_flight, late = found
        answer = published(message.payload, in_flight.command.codec, self._attribution(in_flight))
        rtt_ms = round((self._clock.monotonic() - in_flight.written_at) * 1000)
        if late:
            return LateAnswer(in_flight, answer, rtt_ms)
        facts: Facts = {"answer": answer, "rtt_ms": rtt_ms, "origin": self.link.origin}
        if message.type == TYPE_NACK:
            return Proposal(in_flight, "reject", {"reason": NACK, **facts})
        return Proposal(in_flight, "respond", facts)

    # Time

    def sample(self) -> Proposal | None:
        """Ask the kernel whether the device's TCP has acknowledged the whole command that is out."""
        in_flight = self.writes.slot
        if in_flight is None or not in_flight.offset or in_flight.received or in_flight.decided:
            return None
        in_flight.received = self.link.acknowledged(in_flight.offset)
        if in_flight.received and not in_flight.request.expect_response:
            return Proposal(in_flight, "deliver", {})
        return None

    def overdue(self, now: float, drain_timeout: float) -> bool:
        """Whether a command has waited for `drain_timeout` behind the owed answer."""
        return bool(self.writes.tainted and self.writes.waiting and now - self.tainted_at >= drain_timeout)

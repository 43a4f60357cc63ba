"""The command: its state table, how a transition is decided, and how an event is folded.

``decide`` asks the table and returns the event that would follow; ``evolve`` folds an event into the next
value. A command is replaced by ``evolve(command, event)`` only after the store has accepted the event. So
live commands and replayed ones take the same path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypedDict

from fsm.errors import SequenceGap, UnknownReason, WrongReason
from fsm.events import CommandEvent, Origin
from fsm.machine import Edge, StateMachine, Table, reason_is
from fsm.quick_values import maker, quick
from fsm.reasons import EXPIRED, NOT_SENT, REASONS, RULES, CommandReason
from fsm.serial import CERTAIN, codec_for
from fsm.states import CommandTrigger

NEW: Final = "new"
QUEUED: Final = "queued"
SENT: Final = "sent"
RESPONDED: Final = "responded"
DELIVERED: Final = "delivered"
FAILED: Final = "failed"
TIMEOUT: Final = "timeout"

_withdrawn = reason_is(EXPIRED)

COMMAND = Table(
    name="command",
    initial=NEW,
    states=(NEW, QUEUED, SENT, RESPONDED, DELIVERED, FAILED, TIMEOUT),
    edges=(
        Edge(trigger="accept", source=NEW, dest=QUEUED),
        Edge(trigger="refuse", source=NEW, dest=FAILED),
        Edge(trigger="expire", source=NEW, dest=TIMEOUT),
        Edge(trigger="expire", source=QUEUED, dest=TIMEOUT),
        Edge(trigger="send", source=QUEUED, dest=SENT),
        Edge(trigger="fail", source=QUEUED, dest=FAILED),
        Edge(trigger="withdraw", source=SENT, dest=TIMEOUT, conditions=[_withdrawn]),
        Edge(trigger="withdraw", source=SENT, dest=FAILED, unless=[_withdrawn]),
        Edge(trigger="respond", source=SENT, dest=RESPONDED),
        Edge(trigger="reject", source=SENT, dest=FAILED),
        Edge(trigger="deliver", source=SENT, dest=DELIVERED),
        Edge(trigger="fail", source=SENT, dest=FAILED),
        Edge(trigger="time_out", source=SENT, dest=TIMEOUT),
    ),
)
"""States and edges of a command. ``new`` is a pseudo-state that is never published."""

OUTCOMES = {RESPONDED: "responded", DELIVERED: "delivered", FAILED: "failed", TIMEOUT: "failed"}
"""The outcome of each terminal state, for consumers that know only three outcomes."""

_machine = StateMachine(COMMAND)


@quick
@dataclass(slots=True, frozen=True)
class Entry:
    """An entry of an instance's outbound stream, or of the parked stream of a device.

    A parked command belongs to no instance: its entry has an empty ``instance_id`` and the ``imei`` of the
    device that it waits for.
    """

    instance_id: str
    outbound_id: str
    imei: str = ""


@quick
@dataclass(slots=True, frozen=True)
class CommandRequest:
    """A request of a producer: the validated content of one outbound entry, and what the ledger adds to it.

    Attributes:
        payload: command text, sent byte for byte.
        codec: ``"12"`` or ``"14"``; empty if the gateway has to choose (`fsm.serial`).
        expires_at: epoch ms of Redis; from then on the command is not written to a device.
        accepted_at: epoch ms at which a gateway first read the command; by the ledger, if it names the entry.
        response_timeout: seconds, from the write.
        expect_response: False if the TCP acknowledgement of the device is the success.
        instance_id: the instance whose stream holds the entry; ``outbound_id`` is the id of the entry there.
        confirmed: the producer has sent ``confirm=1``, which a policy may require.
        two_persons: the producer names two persons in ``requested_by`` and ``confirmed_by``, which a policy
            may require.
        hops: how often the command was handed over between instances, by the ledger.
        waits: its producer wants it to wait for its device until it expires, wherever that connects next.
        parked_id: the id of the entry by which it was parked last, if it was taken up from there; by the
            ledger.
        echo: fields of the producer that are repeated in every event, as (name, value) pairs.
        verb: the first word of the text, if it is a known one (`fsm.verbs`).
    """

    command_id: str
    imei: str
    payload: bytes
    codec: str
    expires_at: int
    accepted_at: int
    response_timeout: float
    expect_response: bool
    instance_id: str
    outbound_id: str
    hops: int = 0
    waits: bool = False
    parked_id: str = ""
    echo: tuple[tuple[str, str], ...] = ()
    confirmed: bool = False
    two_persons: bool = False
    verb: str = ""


@quick
@dataclass(slots=True, frozen=True)
class Command:
    """A command: the fold of its events.

    ``codec`` is the codec it was sent with; before that, the codec it would be sent with as far as is known.
    """

    command_id: str
    state: str = NEW
    seq: int = 0
    reason: str = ""
    delivery: str = NOT_SENT
    session_id: str = ""
    codec: str = ""

    @property
    def terminal(self) -> bool:
        """Whether no event can follow."""
        return self.state in COMMAND.terminal


@quick
@dataclass(slots=True, frozen=True)
class Answer:
    """The answer of a device as it is published: text if it is printable ASCII, else hex.

    ``truncated`` means that the answer was longer and is cut; ``attribution`` is one of
    `fsm.serial.ATTRIBUTIONS`.
    """

    text: str | None
    hex: str | None
    truncated: bool
    codec: str
    attribution: str = CERTAIN


_event, _command = maker(CommandEvent), maker(Command)
_NO_ENTRY = Entry("", "")


@dataclass(slots=True)
class _Probe:
    """A temporary subject for the machine, so that the command itself is not changed."""

    state: str


class Facts(TypedDict, total=False):
    """Optional facts about a trigger; see `decide`."""

    reason: CommandReason | Literal[""]
    detail: str
    session_id: str
    codec: str
    acknowledged: bool
    answer: Answer | None
    rtt_ms: int | None
    origin: Origin
    recovered: bool


def decide(
    command: Command,
    trigger: CommandTrigger,
    *,
    reason: CommandReason | Literal[""] = "",
    detail: str = "",
    request: CommandRequest | None = None,
    entry: Entry | None = None,
    session_id: str = "",
    codec: str = "",
    acknowledged: bool = False,
    answer: Answer | None = None,
    rtt_ms: int | None = None,
    origin: Origin | None = None,
    recovered: bool = False,
) -> CommandEvent:
    """The event that follows if `trigger` happens to `command`. Nothing is changed.

    Args:
        codec: the codec chosen for the command; without it the event has the codec of the history.
        acknowledged: whether the TCP of the device has acknowledged every byte of the command.
        request: gives the event its imei, codec, verb, entry and echoed fields.
        entry: replaces the entry of the request, if that was invalid or is not known.
        origin: the session that the command goes to, or that has answered it.

    Raises:
        IllegalTransition: the table has no such edge from this state.
        WrongReason: the reason does not belong to the edge.
        UnknownTrigger, UnknownState, UnknownReason: the machine has no such trigger, state or reason at all.
    """
    state = command.state
    probe = _Probe(state)
    _machine.fire(probe, trigger, reason)
    verdict = RULES[trigger, state]
    if (reason or verdict.reasons) and reason not in verdict.reasons:
        if reason and reason not in REASONS:
            raise UnknownReason(reason)
        raise WrongReason(trigger, state, reason)
    place = entry or _NO_ENTRY if request is None else request
    outcome = OUTCOMES.get(probe.state, "")
    return _event(  # by position, as `maker` wants it
        command.command_id,
        command.seq + 1,
        probe.state,
        "" if state == NEW else state,
        trigger,
        bool(outcome),
        outcome,
        reason,
        detail,
        verdict.acknowledged if acknowledged else verdict.delivery,
        request.imei if request else "",
        codec or command.codec or (codec_for(request.codec, speaks=False) if request else ""),
        place.instance_id,
        session_id or command.session_id,
        place.outbound_id,
        rtt_ms,
        answer.text if answer else None,
        answer.hex if answer else None,
        bool(answer and answer.truncated),
        answer.attribution if answer else "",
        origin.peer if origin else "",
        origin.auth if origin else "",
        origin.age_ms if origin else None,
        recovered,
        request.echo if request else (),
        request.verb if request else "",
    )


def evolve(command: Command, event: CommandEvent) -> Command:
    """`command` with `event` folded into it. No rule is checked: a stored event has happened.

    Raises:
        SequenceGap: the event belongs to another command or does not continue this one.
    """
    if event.command_id != command.command_id or event.seq != command.seq + 1:
        raise SequenceGap(command.command_id, command.seq + 1, event.seq)
    return _command(
        command.command_id,
        event.state,
        event.seq,
        event.reason,
        event.delivery,
        event.session_id,
        event.codec,
    )

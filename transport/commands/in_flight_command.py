"""A command in flight: what this process knows of it from its entry to its verdict."""

from __future__ import annotations

from collections.abc import MutableSequence
from dataclasses import dataclass, field
from typing import Final

from fsm.command import NEW, QUEUED, SENT, Command, CommandRequest, Facts, decide, evolve
from fsm.dead_letters import give_up
from fsm.events import CommandEvent
from fsm.lost_events import restore_lost_events
from fsm.moves import Discard, Entry, MoveResult, Step
from fsm.policies import LiveOccasion, Park, fire_for, policy_for, stage_of
from fsm.reasons import (
    CONNECTION_LOST,
    EXPIRED,
    GATEWAY_SHUTDOWN,
    IDENTITY_DISPUTED,
    CommandReason,
)
from fsm.redelivery import events_of_refused
from fsm.serial import CODEC_12
from fsm.states import CommandTrigger

_KEPT: Final[tuple[CommandReason, ...]] = (EXPIRED, GATEWAY_SHUTDOWN, IDENTITY_DISPUTED)
"""Reasons of a verdict on a command that waits which one whose `sent` is withdrawn may have, too."""


def ignore(result: MoveResult) -> None:
    """For moves whose outcome does not matter."""


@dataclass(slots=True, eq=False)
class InFlightCommand:
    """One command that this process holds.

    Attributes:
        command: the fold of its committed events.
        fresh: its entry was delivered for the first time.
        pending: the event proposed to the ledger and not yet committed; at most one.
        removing: entries that leave their stream with `pending`.
        sends: the moves that proposed `sent`; more than one if it was refused and the command waited again.
        moving: it is being handed to another instance, or parked.
        backlog: inputs that wait for the outcome of `pending`, of the hand-over or of the parking: proposals,
            parkings, and entries of cancels.
        written: the command was handed to the socket.
        written_at: monotonic second of the write.
        offset: the connection's byte count after the command; 0 until that is known.
        received: the device's TCP was seen to have acknowledged the whole command.
        left: it has left its queue: its verdict is proposed, or it is released.
        follower: the same command as it came again by another entry, which the ledger names. It is taken when
            this one is released, before the next command of the queue begins.
        entry: the outbound entry that stays pending until the verdict.
    """

    request: CommandRequest
    command: Command
    fresh: bool = False
    pending: CommandEvent | None = None
    removing: tuple[Entry, ...] = ()
    sends: tuple[Step, ...] = ()
    moving: bool = False
    backlog: list[Proposal | Parking | Entry] = field(default_factory=list)
    written: bool = False
    written_at: float = 0.0
    offset: int = 0
    received: bool = False
    left: bool = False
    follower: CommandRequest | None = None
    entry: Entry = field(init=False)

    def __post_init__(self) -> None:
        self.entry = Entry(self.request.instance_id, self.request.outbound_id)

    @property
    def moved_in(self) -> bool:
        """Whether another instance has just handed it over to this one."""
        return self.fresh and self.request.hops > 0

    @property
    def place(self) -> tuple[int, int]:
        """Its place in the stream, by which the commands of one device are ordered.

        A command that was parked keeps the place of that entry: it was moved here later than it was asked.
        """
        milliseconds, _, serial = (self.request.parked_id or self.request.outbound_id).partition("-")
        return int(milliseconds), int(serial or 0)

    @property
    def waits(self) -> bool:
        """Whether it is queued, with no event proposed and no hand-over in progress."""
        return self.command.state == QUEUED and self.pending is None and not self.moving

    @property
    def stage(self) -> str:
        """Where it stands, for `fsm.policies`."""
        return stage_of(self.command.state, self.pending, self.written)

    def at(
        self, occasion: LiveOccasion, close_reason: str = "", *, recovered: bool = False
    ) -> Proposal | None:
        """What the policy for `occasion` proposes; None if it moves nothing."""
        fire = fire_for(occasion, self.stage)
        if fire is None:
            return None
        facts: Facts = {"reason": fire.because(close_reason), "acknowledged": self.received}
        if recovered:
            facts["recovered"] = True
        return Proposal(self, fire.trigger, facts)

    def parks(self, occasion: LiveOccasion) -> bool:
        """Whether the policy for `occasion` is to park it."""
        stage = self.stage
        return stage != NEW and isinstance(policy_for(occasion, stage, waits=self.request.waits), Park)

    @property
    def decided(self) -> bool:
        """Whether a verdict has been given or proposed."""
        return self.command.terminal or (self.pending is not None and self.pending.terminal)

    def step(self, event: CommandEvent, remove: tuple[Entry, ...] = ()) -> Step:
        """The move that commits `event`; the event is pending from now on."""
        self.pending, self.removing = event, remove
        sent = event.state == SENT
        request = self.request
        step = Step(event, self.entry, ignore, remove, event.recovered, accepted_at=request.accepted_at)
        if sent:
            step.held_imei = request.imei
            step.by_default = event.codec == CODEC_12 and not request.codec
            self.sends += (step,)
        return step

    def sent_late(self, result: MoveResult, reason: str) -> tuple[CommandEvent, CommandEvent] | None:
        """The `sent` of ours that caused the conflict `result`, and the event that withdraws it, if one did.

        A call whose connection is lost is repeated. If the repetition is refused and the first call reaches
        Redis after that, `sent` is committed although it was refused: nothing was written, nor will be.

        Args:
            reason: of the verdict that found the conflict, if it was one.
        """
        made = (step.event for step in self.sends if step.token == result.token)
        sent = next((event for event in made if event.seq == self.command.seq + 1), None)
        if sent is None or self.written:
            return None
        cause: CommandReason = next((one for one in _KEPT if one == reason), CONNECTION_LOST)
        return sent, decide(evolve(self.command, sent), "withdraw", reason=cause, request=self.request)

    def lost_events(self, verdict: CommandEvent, result: MoveResult) -> list[CommandEvent]:
        """The events up to `verdict` that Redis has confirmed and lost, when that caused its conflict.

        Tried once for a verdict; a second conflict means that another process has decided.
        """
        if verdict.recovered or not verdict.terminal:
            return []
        return restore_lost_events(verdict, result.command(verdict.command_id), self.request)

    def dead_letter(self, refused: CommandEvent | None) -> Discard:
        """The move that ends a command whose ledger cannot be written.

        `refused` is the event that could not be committed; if it is a verdict, it is the one published.
        """
        events = events_of_refused(self.command, self.request, refused)
        return give_up(self.request, self.entry, events, ignore)


@dataclass(slots=True)
class Proposal:
    """An input to a command: `trigger` happened to it; see `InFlightCommands.propose`."""

    in_flight: InFlightCommand
    trigger: CommandTrigger
    facts: Facts


@dataclass(slots=True)
class Parking:
    """A command is to be parked, or being parked, because of `occasion`."""

    in_flight: InFlightCommand
    occasion: LiveOccasion


def insert(line: MutableSequence[InFlightCommand], in_flight: InFlightCommand) -> None:
    """Insert `in_flight` into `line` in stream order: at the end, unless it was put back or handed over."""
    at = len(line)
    while at and line[at - 1].place > in_flight.place:
        at -= 1
    line.insert(at, in_flight)

"""Duplicate entries: of a command that this process holds or has finished."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from fsm.command import Command, CommandRequest, Entry, decide
from fsm.events import CommandEvent
from fsm.lost_events import restore_lost_events
from fsm.moves import Discard, MoveResult, Open, Status, Step
from fsm.redelivery import command_of, has_ended
from transport.commands.effects import Effects, Repeat
from transport.commands.in_flight import InFlightCommands
from transport.commands.in_flight_command import ignore
from transport.metrics import Metrics

log = structlog.get_logger("telgw.commands")


@dataclass(slots=True)
class DuplicateOpening:
    """The ledger is asked for a command by a duplicate entry.

    Attributes:
        first: the first event of the command, if the ledger does not know it.
        verdict: the verdict of this process, as it was known when the ledger was asked.
    """

    request: CommandRequest
    entry: Entry
    first: CommandEvent
    verdict: CommandEvent | None


@dataclass(slots=True)
class Restored:
    """The last of the events that Redis had lost, for a duplicate entry."""

    entry: Entry


class DuplicateEntries:
    """Lets the ledger answer a duplicate entry; nothing is written to the device.

    Normally the ledger knows the command, and the entry is removed. If Redis has lost events that it had
    confirmed, the entry looks new to the ledger, or less far. Then the lost events are published again. If
    there is no verdict yet, the ledger names this entry for the command from then on, and the command that
    is held by the earlier entry is released as soon as possible.
    """

    def __init__(self, commands: InFlightCommands, metrics: Metrics, effects: Effects) -> None:
        self._commands = commands
        self._effects = effects
        self._entries = commands.entries
        self._metrics = metrics

    def take(self, request: CommandRequest) -> bool:
        """Handle the entry if its command is known to this process; whether it is."""
        verdict = self._commands.recent_outcomes.find(request.command_id)
        if verdict is None and self._entries.find(request.command_id) is None:
            return False
        command = Command(request.command_id)
        if verdict:
            first = restore_lost_events(verdict, command, request)[0]
        else:
            first = decide(command, "accept", request=request)
        entry = Entry(request.instance_id, request.outbound_id)
        self._entries.add_other(entry)
        opening = DuplicateOpening(request, entry, first, verdict)
        self._effects.submit(Open(first, entry, ignore, request), opening)
        return True

    def opened(self, opening: DuplicateOpening, result: MoveResult) -> None:
        """The ledger answered."""
        request, entry, verdict = opening.request, opening.entry, opening.verdict
        found = command_of(opening.first, result)
        if result.status is not Status.OK:
            self._metrics.overruled.labels(result.status).inc()
        if found is None:  # the script has answered the entry
            self._entries.remove_other(entry)
            return
        ended = has_ended(found)
        if ended and result.status is Status.REDELIVERED:
            self._effects.submit(Discard(entry, ignore))
        lost = restore_lost_events(verdict, found, request) if verdict else []
        if not lost:
            self._entries.remove_other(entry)
            if not ended:
                self._follow(request, verdict)
            return
        for event in lost[:-1]:
            self._effects.submit(Step(event, entry, ignore))
        self._effects.submit(Step(lost[-1], entry, ignore), Restored(entry))
        log.warning("events_restored", command_id=request.command_id, found=found.state)

    def _follow(self, request: CommandRequest, known: CommandEvent | None) -> None:
        """The ledger names this entry; the command is held by an earlier one, which is released first.

        `known` is the verdict that was known when the ledger was asked; a later one has to be published.
        """
        in_hand = self._entries.find(request.command_id)
        if in_hand is None:
            news = self._commands.recent_outcomes.find(request.command_id) is not known
            self._effects.add(Repeat(request, anew=not news))
            return
        in_hand.follower = request
        if in_hand.waits:
            self._commands.release(in_hand)

    def restored(self, restored: Restored, result: MoveResult) -> None:
        """The ledger answered the last of the lost events."""
        self._entries.remove_other(restored.entry)

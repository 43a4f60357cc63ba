"""Cancellation of commands that are not sent yet, whichever instance holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fsm.cancel import decide_cancel
from fsm.events import CommandEvent
from fsm.moves import Entry, MoveResult, Status, Step
from fsm.outbound import CancelRequest
from transport.commands.effects import Effects, LookUp
from transport.commands.in_flight import InFlightCommands
from transport.commands.in_flight_command import ignore
from transport.commands.notes import Notes


@dataclass(slots=True)
class Cancelling:
    """The verdict `cancelled` on a command that is not in hand."""

    request: CancelRequest
    entry: Entry
    event: CommandEvent


class Cancellation:
    """Handles the cancels in the stream of one instance.

    A command that is held here gets the cancel as an input like any other. For any other command the ledger
    is read, and the command is cancelled by compare-and-set. The instance that holds it learns of that when
    its own next move conflicts.
    """

    def __init__(self, commands: InFlightCommands, notes: Notes, effects: Effects) -> None:
        self._commands = commands
        self._effects = effects
        self._entries = commands.entries
        self._notes = notes

    def take(self, request: CancelRequest, entry: Entry) -> None:
        """Handle one cancel."""
        in_flight = self._entries.find(request.command_id)
        if in_flight is not None:
            self._commands.cancel(in_flight, entry)
            return
        self._entries.add_other(entry)
        self._effects.add(LookUp(request, entry))

    def looked_up(self, request: CancelRequest, entry: Entry, ledger: Mapping[str, str]) -> None:
        """The ledger of the command was read.

        Raises:
            KeyError, ValueError: the ledger lacks a field or holds nonsense in one.
        """
        verdict = decide_cancel(request, ledger)
        if isinstance(verdict, str):
            self._entries.remove_other(entry)
            self._effects.submit(self._notes.cancel_rejected(request.command_id, entry, verdict))
            return
        step = Step(verdict.event, verdict.held, ignore, remove=(entry,))
        self._effects.submit(step, Cancelling(request, entry, verdict.event))

    def answered(self, cancelling: Cancelling, result: MoveResult) -> None:
        """The ledger answered the verdict."""
        self._entries.remove_other(cancelling.entry)
        if result.applied:
            self._commands.committed(cancelling.event)
        elif result.status in (Status.CONFLICT, Status.MISSING):
            self.take(cancelling.request, cancelling.entry)

    def not_looked_up(self, entry: Entry) -> None:
        """The ledger could not be read: the entry stays pending and will be delivered again."""
        self._entries.remove_other(entry)

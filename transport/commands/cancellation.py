"""Cancellation of commands that are not sent yet, whichever instance holds them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from fsm.cancel import decide_cancel
from fsm.events import CommandEvent
from fsm.moves import Entry, MoveResult, Status, Step
from fsm.outbound import CancelRequest
from fsm.reasons import CANCELLED
from transport.commands.effects import Effects, LookUp
from transport.commands.in_flight import InFlightCommands
from transport.commands.in_flight_command import ignore
from transport.commands.notes import Notes
from transport.ports import LedgerPort

log = structlog.get_logger("telgw.commands")


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
            self._commands.propose(in_flight, "fail", reason=CANCELLED, remove=(entry,))
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


class Lookups:
    """Reads the ledgers of cancelled commands, one after the other: many cancels use one connection.

    Args:
        found: told the ledger of each command that was read.
        failed: told of each cancel whose ledger could not be read, or was not understood.
    """

    def __init__(
        self,
        ledger: LedgerPort,
        found: Callable[[CancelRequest, Entry, Mapping[str, str]], None],
        failed: Callable[[Entry], None],
    ) -> None:
        self._ledger = ledger
        self._found = found
        self._failed = failed
        self._waiting: dict[Entry, CancelRequest] = {}
        self._task: asyncio.Task[None] | None = None

    def add(self, request: CancelRequest, entry: Entry) -> None:
        """Read the ledger of the command that `request` names."""
        self._waiting[entry] = request
        if self._task is None:
            self._begin()

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._look_up_all(), name="cancels")
        self._task.add_done_callback(self._ended)

    async def _look_up_all(self) -> None:
        while self._waiting:
            entry, request = next(iter(self._waiting.items()))
            try:
                self._found(request, entry, await self._ledger.read(request.command_id))
            except Exception as error:
                # Its entry stays pending and will be delivered again; the other cancels must not wait for it.
                log.warning("cancel_not_answered", outbound_id=entry.outbound_id, error=type(error).__name__)
                self._failed(entry)
            del self._waiting[entry]

    def _ended(self, task: asyncio.Task[None]) -> None:
        """After a failure the rest is dropped: the entries are pending and will be delivered again."""
        self._task = None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.warning("cancels_not_answered", error=type(error).__name__)
        if error is not None or task.cancelled():
            dropped, self._waiting = list(self._waiting), {}
            for entry in dropped:
                self._failed(entry)
        elif self._waiting:  # one came between the end of the task and now
            self._begin()

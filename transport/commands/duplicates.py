"""Entries of commands that this process has in hand, or has finished."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog

from fsm.command import Command, CommandRequest, decide, evolve
from fsm.events import CommandEvent
from fsm.lost_events import restore_lost_events
from fsm.moves import Discard, Entry, MoveResult, Open, Status, Step
from transport.commands.dispatcher import Dispatcher
from transport.commands.notes import ignore
from transport.ports import LedgerPort

log = structlog.get_logger("telgw.commands")


class DuplicateEntries:
    """Lets the ledger answer a repeated entry, and does nothing to the device.

    The ledger knows such a command, and that ends the matter, unless Redis has lost what it had confirmed.
    Then the entry looks new, or only begun, and what was lost is told again. If there is no verdict to tell,
    the entry stands for the command from then on, and what is in hand makes way for it as soon as it can.

    Args:
        begin: takes the entry of a command that stands for it alone.
    """

    def __init__(
        self, dispatcher: Dispatcher, ledger: LedgerPort, begin: Callable[[CommandRequest], None]
    ) -> None:
        self._begin = begin
        self._commands = dispatcher.commands
        self._metrics = dispatcher.metrics
        self._ledger = ledger
        self._answering: set[str] = set()

    def answering(self, outbound_id: str) -> bool:
        """Whether the entry is being answered."""
        return outbound_id in self._answering

    def take(self, request: CommandRequest, entry: Entry) -> bool:
        """Answer the entry if its command is known to this process; whether it is."""
        verdict = self._commands.recent_outcomes.find(request.command_id)
        if verdict is None and self._commands.find(request.command_id) is None:
            return False
        command = Command(request.command_id)
        if verdict:
            first = restore_lost_events(verdict, command, request)[0]
        else:
            first = decide(command, "accept", request=request)
        self._answering.add(entry.outbound_id)
        self._ledger.submit(
            Open(first, entry, partial(self._opened, request, entry, first, verdict), request)
        )
        return True

    def _opened(
        self,
        request: CommandRequest,
        entry: Entry,
        first: CommandEvent,
        verdict: CommandEvent | None,
        result: MoveResult,
    ) -> None:
        """The ledger answered."""
        found = Command(request.command_id)
        if result.status is Status.OK:
            found = evolve(found, first)
        else:
            self._metrics.overruled.labels(result.status).inc()
        if result.status is Status.REDELIVERED:
            found = Command(
                request.command_id, result.state, result.seq, session_id=result.session_id, codec=result.codec
            )
            if found.terminal:
                self._ledger.submit(Discard(entry, ignore))
        lost = restore_lost_events(verdict, found, request) if verdict and found.seq else []
        if not lost:
            self._answering.discard(entry.outbound_id)
            if found.seq and not found.terminal:
                self._follow(request, verdict)
            return
        steps = [Step(event, entry, ignore) for event in lost]
        steps[-1].done = partial(self._told, entry)
        self._ledger.submit(*steps)
        log.warning("events_restored", command_id=request.command_id, found=found.state)

    def _follow(self, request: CommandRequest, known: CommandEvent | None) -> None:
        """The ledger names this entry: what is in hand of the command was another, and is ended first.

        `known` is the verdict that we knew when the ledger was asked; one that has come since is to be told.
        """
        in_hand = self._commands.find(request.command_id)
        if in_hand is None:
            news = self._commands.recent_outcomes.find(request.command_id) is not known
            (self._take_or_begin if news else self._begin)(request)
            return
        in_hand.follower = partial(self._take_or_begin, request)
        if in_hand.waits:
            self._commands.release(in_hand)

    def _take_or_begin(self, request: CommandRequest) -> None:
        if not self.take(request, Entry(request.instance_id, request.outbound_id)):
            self._begin(request)

    def _told(self, entry: Entry, result: MoveResult) -> None:
        self._answering.discard(entry.outbound_id)

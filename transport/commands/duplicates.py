"""Duplicate entries: of a command that this process holds or has finished."""

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
    """Lets the ledger answer a duplicate entry; nothing is written to the device.

    Normally the ledger knows the command, and the entry is removed. If Redis has lost events that it had
    confirmed, the entry looks new to the ledger, or less far. Then the lost events are published again. If
    there is no verdict yet, the ledger names this entry for the command from then on, and the command that
    is held by the earlier entry is released as soon as possible.

    Args:
        begin: starts a command from an entry.
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
        """Whether the entry is being handled."""
        return outbound_id in self._answering

    def take(self, request: CommandRequest, entry: Entry) -> bool:
        """Handle the entry if its command is known to this process; whether it is."""
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
        """The ledger names this entry; the command is held by an earlier one, which is released first.

        `known` is the verdict that was known when the ledger was asked; a later one has to be published.
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

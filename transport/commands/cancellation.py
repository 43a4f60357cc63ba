"""Cancellation of commands that are not sent yet, whichever instance holds them."""

from __future__ import annotations

import asyncio
from functools import partial

import structlog

from fsm.cancel import Cancelled, decide_cancel
from fsm.events import CommandEvent
from fsm.moves import Entry, MoveResult, Status, Step
from fsm.outbound import CancelRequest
from fsm.reasons import CANCELLED
from transport.commands.dispatcher import Dispatcher
from transport.commands.in_flight import log_verdict
from transport.ports import LedgerPort

log = structlog.get_logger("telgw.commands")


class Cancellation:
    """Handles the cancels in the stream of one instance.

    A command that is held here gets the cancel as an input like any other. For any other command the ledger
    is read, and the command is cancelled by compare-and-set. The instance that holds it learns of that when
    its own next move conflicts.
    """

    def __init__(self, dispatcher: Dispatcher, ledger: LedgerPort) -> None:
        self._dispatcher = dispatcher
        self._ledger = ledger
        self._waiting: dict[str, tuple[CancelRequest, Entry]] = {}  # by id of the cancel's own entry
        self._task: asyncio.Task[None] | None = None
        self._moving: set[str] = set()

    def answering(self, outbound_id: str) -> bool:
        """Whether the cancel's entry is being handled."""
        return outbound_id in self._waiting or outbound_id in self._moving

    def take(self, request: CancelRequest, entry: Entry) -> None:
        """Handle one cancel."""
        in_flight = self._dispatcher.commands.find(request.command_id)
        if in_flight is not None:
            self._dispatcher.commands.propose(in_flight, "fail", reason=CANCELLED, remove=(entry,))
            return
        self._waiting[entry.outbound_id] = (request, entry)
        if self._task is None:
            self._begin()

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._look_up_all(), name="cancels")
        self._task.add_done_callback(self._looked_up)

    async def _look_up_all(self) -> None:
        """Read ledgers one after the other, so that many cancels use one connection."""
        while self._waiting:
            outbound_id = next(iter(self._waiting))
            try:
                await self._look_up(*self._waiting[outbound_id])
            except Exception as error:
                # Its entry stays pending and will be delivered again; the other cancels must not wait for it.
                log.warning("cancel_not_answered", outbound_id=outbound_id, error=type(error).__name__)
            self._waiting.pop(outbound_id, None)

    def _looked_up(self, task: asyncio.Task[None]) -> None:
        """After a failure the rest is dropped: the entries are pending and will be delivered again."""
        self._task = None
        if task.cancelled():
            self._waiting.clear()
        elif error := task.exception():
            self._waiting.clear()
            log.warning("cancels_not_answered", error=type(error).__name__)
        elif self._waiting:  # one came between the end of the task and now
            self._begin()

    async def _look_up(self, request: CancelRequest, entry: Entry) -> None:
        verdict = decide_cancel(request, await self._ledger.read(request.command_id))
        if isinstance(verdict, str):
            self._dispatcher.notes.cancel_rejected(request.command_id, entry, verdict)
        else:
            self._move(request, entry, verdict)

    def _move(self, request: CancelRequest, entry: Entry, called: Cancelled) -> None:
        self._moving.add(entry.outbound_id)
        done = partial(self._moved, request, entry, called.event)
        self._ledger.submit(Step(called.event, called.held, done, remove=(entry,)))

    def _moved(self, request: CancelRequest, entry: Entry, event: CommandEvent, result: MoveResult) -> None:
        self._moving.discard(entry.outbound_id)
        if result.applied:
            self._dispatcher.metrics.command(event)
            log_verdict(event)
        elif result.status in (Status.CONFLICT, Status.MISSING):
            self.take(request, entry)

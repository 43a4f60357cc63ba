"""Cancels: a command that is not out yet can be called off, wherever it waits."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

import structlog

from fsm.command import Command, decide
from fsm.errors import IllegalTransition, WrongReason
from fsm.events import CommandEvent
from fsm.moves import Entry, MoveResult, Status, Step
from fsm.outbound import CancelRequest
from fsm.reasons import CANCELLED
from transport.dispatcher import Dispatcher
from transport.flights import log_verdict
from transport.ports import LedgerPort

log = structlog.get_logger("telgw.commands")


class Cancels:
    """Answers the cancels of one instance's stream.

    A command in hand gets the cancel as an input like any other. Of one that is not, the ledger says where
    it stands; it is called off by compare-and-set, whichever instance holds it, and that instance learns of
    it when its own next move conflicts.
    """

    def __init__(self, dispatcher: Dispatcher, ledger: LedgerPort) -> None:
        self._dispatcher = dispatcher
        self._ledger = ledger
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._moving: set[str] = set()

    def answering(self, outbound_id: str) -> bool:
        """Whether the cancel's entry is being answered."""
        return outbound_id in self._tasks or outbound_id in self._moving

    def take(self, request: CancelRequest, entry: Entry) -> None:
        """Answer one cancel."""
        flight = self._dispatcher.flights.find(request.command_id)
        if flight is not None:
            self._dispatcher.flights.propose(flight, "fail", reason=CANCELLED, remove=(entry,))
            return
        name = f"cancel {entry.outbound_id}"
        task = asyncio.create_task(self._look_up(request, entry), name=name)
        self._tasks[entry.outbound_id] = task
        task.add_done_callback(partial(self._looked_up, entry.outbound_id))

    def _looked_up(self, outbound_id: str, task: asyncio.Task[None]) -> None:
        """A failed look-up costs nothing: the entry is still pending and will be handed over again."""
        del self._tasks[outbound_id]
        if not task.cancelled() and (error := task.exception()):
            log.warning("cancel_not_answered", outbound_id=outbound_id, error=type(error).__name__)

    async def _look_up(self, request: CancelRequest, entry: Entry) -> None:
        ledger = await self._ledger.read(request.command_id)
        if not ledger:
            self._reject(request, entry, "unknown")
            return
        command = Command(request.command_id, ledger["state"], int(ledger["seq"]))
        try:
            event = decide(command, "fail", reason=CANCELLED)
        except WrongReason:
            self._reject(request, entry, "sent")
        except IllegalTransition:
            self._reject(request, entry, "terminal")
        else:
            self._move(request, entry, ledger, event)

    def _move(
        self, request: CancelRequest, entry: Entry, ledger: dict[str, str], event: CommandEvent
    ) -> None:
        held = Entry(ledger["instance_id"], ledger["outbound_id"])
        event = _located(event, ledger, request)
        self._moving.add(entry.outbound_id)
        done = partial(self._moved, request, entry, event)
        self._ledger.submit(Step(event, held, done, remove=(entry,)))

    def _moved(self, request: CancelRequest, entry: Entry, event: CommandEvent, result: MoveResult) -> None:
        self._moving.discard(entry.outbound_id)
        if result.applied:
            self._dispatcher.metrics.command(event)
            log_verdict(event)
        elif result.status in (Status.CONFLICT, Status.MISSING):
            self.take(request, entry)

    def _reject(self, request: CancelRequest, entry: Entry, detail: str) -> None:
        self._dispatcher.notes.cancel_rejected(request.command_id, entry, detail)


def _located(event: CommandEvent, ledger: dict[str, str], request: CancelRequest) -> CommandEvent:
    """`event` with what the ledger knows of the command."""
    return replace(
        event,
        imei=ledger.get("imei", ""),
        codec=ledger.get("codec", ""),
        instance_id=ledger["instance_id"],
        outbound_id=ledger["outbound_id"],
        echo=request.echo,
    )

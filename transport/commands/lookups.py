"""Look-ups of ledgers: the one thing that the command side has to wait for, and the only task that it has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from fsm.moves import Entry
from fsm.outbound import CancelRequest
from transport.ports import LedgerPort

log = structlog.get_logger("telgw.commands")


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

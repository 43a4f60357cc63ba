"""Handover: queued commands follow their device to the instance that holds it."""

from __future__ import annotations

from functools import partial

from fsm.entries import entry_fields
from fsm.moves import MoveResult, Status, Transfer
from fsm.outbound import MAX_HOPS
from fsm.reasons import LEDGER_LOST, MOVED
from transport.commands.dispatcher import Dispatcher
from transport.commands.in_flight_command import InFlightCommand
from transport.ports import LedgerPort, RegistryPort


class Handover:
    """Asks the registry for the holders of devices that commands wait for, and moves those commands."""

    def __init__(self, dispatcher: Dispatcher, ledger: LedgerPort, registry: RegistryPort) -> None:
        self._dispatcher = dispatcher
        self._ledger = ledger
        self._registry = registry
        self._instance_id = dispatcher.settings.instance_id

    async def look(self) -> None:
        """Hand over what can be handed over.

        Raises whatever the registry raises when it cannot be asked.
        """
        imeis = self._dispatcher.offline.imeis
        if not imeis:
            return
        for imei, holder in (await self._registry.holders(imeis)).items():
            if holder != self._instance_id:
                for in_flight in self._dispatcher.offline.waiting(imei):
                    self._move(in_flight, holder)

    def _move(self, in_flight: InFlightCommand, holder: str) -> None:
        if not in_flight.waits or in_flight.request.hops >= MAX_HOPS:
            return
        in_flight.moving = True
        self._ledger.submit(
            Transfer(
                note=self._dispatcher.notes.about(MOVED, in_flight, detail=holder),
                entry=in_flight.entry,
                seq=in_flight.command.seq,
                to_instance=holder,
                fields=entry_fields(in_flight.request),
                done=partial(self._moved, in_flight),
            )
        )

    def _moved(self, in_flight: InFlightCommand, result: MoveResult) -> None:
        in_flight.moving = False
        if result.applied or result.status is Status.CONFLICT:
            self._dispatcher.commands.release(in_flight)
        elif result.status is Status.MISSING:
            self._dispatcher.commands.propose(in_flight, "fail", reason=LEDGER_LOST, recovered=True)
        self._dispatcher.commands.resume(in_flight)

"""Queued commands follow their device to the instance that holds it now."""

from __future__ import annotations

from functools import partial

from fsm.entries import entry_fields
from fsm.moves import MoveResult, Status, Transfer
from fsm.outbound import MAX_HOPS
from fsm.reasons import LEDGER_LOST, MOVED
from transport.commands.dispatcher import Dispatcher
from transport.commands.in_flight_command import Flight
from transport.ports import LedgerPort, RegistryPort


class Relocation:
    """Asks the registry, once a second, for the devices that commands wait for here."""

    def __init__(self, dispatcher: Dispatcher, ledger: LedgerPort, registry: RegistryPort) -> None:
        self._dispatcher = dispatcher
        self._ledger = ledger
        self._registry = registry
        self._instance_id = dispatcher.settings.instance_id

    async def look(self) -> None:
        """Move what can be moved.

        Raises whatever the registry raises when it cannot be asked.
        """
        imeis = self._dispatcher.absent.imeis
        if not imeis:
            return
        for imei, holder in (await self._registry.holders(imeis)).items():
            if holder != self._instance_id:
                for flight in self._dispatcher.absent.waiting(imei):
                    self._move(flight, holder)

    def _move(self, flight: Flight, holder: str) -> None:
        if not flight.waits or flight.request.hops >= MAX_HOPS:
            return
        flight.moving = True
        self._ledger.submit(
            Transfer(
                note=self._dispatcher.notes.about(MOVED, flight, detail=holder),
                entry=flight.entry,
                seq=flight.command.seq,
                to_instance=holder,
                fields=entry_fields(flight.request),
                done=partial(self._moved, flight),
            )
        )

    def _moved(self, flight: Flight, result: MoveResult) -> None:
        flight.moving = False
        if result.applied or result.status is Status.CONFLICT:
            self._dispatcher.flights.release(flight)
        elif result.status is Status.MISSING:
            self._dispatcher.flights.propose(flight, "fail", reason=LEDGER_LOST, recovered=True)
        self._dispatcher.flights.resume(flight)

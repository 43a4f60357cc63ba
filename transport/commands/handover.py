"""Handover: queued commands follow their device to the instance that holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fsm.entries import entry_fields
from fsm.moves import MoveResult, Status, Transfer
from fsm.reasons import MOVED
from fsm.redelivery import movable
from transport.commands.device_queues import DeviceQueues
from transport.commands.effects import Effects
from transport.commands.in_flight import InFlightCommands
from transport.commands.in_flight_command import InFlightCommand, ignore
from transport.commands.notes import Notes


@dataclass(slots=True)
class Moving:
    """A command is being handed to another instance."""

    in_flight: InFlightCommand


class Handover:
    """Moves the commands of devices that other instances hold."""

    def __init__(
        self,
        commands: InFlightCommands,
        queues: DeviceQueues,
        notes: Notes,
        effects: Effects,
        instance_id: str,
    ) -> None:
        self._commands = commands
        self._effects = effects
        self._queues = queues
        self._notes = notes
        self._instance_id = instance_id

    def found(self, holders: Mapping[str, str]) -> None:
        """The registry names these holders, by IMEI: their commands are moved there."""
        for imei, holder in holders.items():
            if holder != self._instance_id:
                for in_flight in self._queues.offline.waiting(imei):
                    self.move(in_flight, holder)

    def move(self, in_flight: InFlightCommand, holder: str) -> None:
        """Hand a command over to `holder`, if it waits and may be moved once more."""
        if not in_flight.waits or not movable(in_flight.request):
            return
        in_flight.moving = True
        transfer = Transfer(
            note=self._notes.about(MOVED, in_flight, detail=holder),
            entry=in_flight.entry,
            seq=in_flight.command.seq,
            to_instance=holder,
            fields=entry_fields(in_flight.request),
            done=ignore,
        )
        self._effects.submit(transfer, Moving(in_flight))

    def answered(self, moving: Moving, result: MoveResult) -> None:
        """The ledger answered."""
        in_flight = moving.in_flight
        in_flight.moving = False
        if result.applied:
            self._commands.release(in_flight)
        elif result.status is Status.CONFLICT:
            self._commands.lost(in_flight, result)
        elif result.status is Status.MISSING:
            self._commands.meet(in_flight, "ledger_lost", recovered=True)
        elif self._commands.stopping:
            self._commands.meet(in_flight, "shutdown")
        self._commands.resume(in_flight)

"""Parking: commands that wait in Redis for a device which is connected nowhere.

`InFlightCommands.park` proposes to park a command; here its outcome comes in. The other way round, the
registry tells with the registration of a device that commands are parked for it (`found`). They are read,
and moved to the stream of this instance one after the other. Until the reader has delivered them, the queue
of the connection is held: they go before newer commands, by `InFlightCommand.place`. That does not depend on
what the registry told: the script that commits `sent` refuses it while commands are parked for the device.
A process that starts learns from the ledger which entries of its stream were parked (`backlog`).

A step that fails, or a process that dies between two steps, leaves the rest parked. It is tried again after
`AGAIN_AFTER`, and with each registration. Newer commands are not held for that time: if they must not go
first, the script says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fsm.command import CommandRequest
from fsm.deadlines import Deadlines
from fsm.errors import InvalidCommand
from fsm.events import CommandEvent
from fsm.moves import Move, MoveResult, Status, Step, Transfer
from fsm.parked import left_over, read_parked, take_up, unreadable
from fsm.reasons import QUEUE_FULL
from fsm.redelivery import movable
from transport.clock import Clock
from transport.commands.device_queues import DeviceQueues
from transport.commands.effects import Effects, ReadParked
from transport.commands.handover import Handover
from transport.commands.in_flight import InFlightCommands
from transport.commands.in_flight_command import InFlightCommand, Parking, Proposal, ignore
from transport.commands.notes import Notes
from transport.metrics import Metrics
from transport.ports import Link

AGAIN_AFTER = 1.0
"""Seconds until parked commands that could not be taken up are looked at again, and a refused parking."""
HELD_FOR = 10.0
"""Seconds after which newer commands do not wait any more for entries that the reader does not deliver. It
delivers none while this gateway holds as many commands as it may, and those may be the ones that wait."""

Parked = tuple[str, dict[bytes, bytes]]
"""An entry of the parked stream of a device: its id and its fields."""


@dataclass(slots=True)
class TakingUp:
    """A parked command is being moved to the stream of this instance."""

    request: CommandRequest
    move: Transfer


@dataclass(slots=True)
class ParkedEnd:
    """A parked command, or its entry, is being ended.

    Attributes:
        event: its verdict; None if only its entry is removed.
    """

    imei: str
    event: CommandEvent | None = None


class ParkedCommands:
    """Parks commands and takes parked ones up; see the module.

    Attributes:
        expected: entries that were moved here and that the reader has not delivered yet, with the device and
            the entry by which each was parked.

    Args:
        instance_id: of this gateway.
    """

    def __init__(
        self,
        commands: InFlightCommands,
        queues: DeviceQueues,
        handover: Handover,
        notes: Notes,
        effects: Effects,
        clock: Clock,
        metrics: Metrics,
        instance_id: str,
    ) -> None:
        self._commands = commands
        self._queues = queues
        self._handover = handover
        self._notes = notes
        self._effects = effects
        self._clock = clock
        self._metrics = metrics
        self._instance_id = instance_id
        self.expected: dict[str, tuple[str, str]] = {}
        self._taking: dict[str, int] = {}  # imei -> moves not answered, and entries not delivered
        self._late_at: Deadlines[str] = Deadlines()  # entries that are expected
        self._again: dict[str, float] = {}  # imei -> when it is tried again, monotonic seconds

    # A command of ours is parked

    def answered(self, parking: Parking, result: MoveResult) -> None:
        """The ledger answered the parking of a command that is held here."""
        in_flight = parking.in_flight
        in_flight.moving = False
        if result.applied:
            self._parked(in_flight)
        elif result.status is Status.CONFLICT:
            self._commands.lost(in_flight, result)
        elif result.status is Status.MISSING:
            self._commands.meet(in_flight, "ledger_lost", recovered=True)
        elif result.status is Status.FULL:
            self._commands.propose(Proposal(in_flight, "fail", {"reason": QUEUE_FULL}))
        elif result.status is Status.HELD_ELSEWHERE and movable(in_flight.request):
            self._handover.move(in_flight, result.detail)
        elif result.status is Status.ERROR or self._commands.stopping:
            self._commands.end(in_flight, parking.occasion)
        else:
            self._wait_again(in_flight)
        self._commands.resume(in_flight)

    def _parked(self, in_flight: InFlightCommand) -> None:
        self._metrics.parked.inc()
        self._commands.release(in_flight)
        link = self._queues.link_of(in_flight.request.imei)
        if link is not None:
            self.found(link)  # the device came back meanwhile, and was registered before

    def _wait_again(self, in_flight: InFlightCommand) -> None:
        if self._queues.offline.has(in_flight):
            self._queues.graces.set(in_flight, self._clock.monotonic() + AGAIN_AFTER)

    # Parked commands are taken up

    def arrived(self, link: Link) -> None:
        """The device of `link` has connected, perhaps once more while its parked commands are taken up."""
        if link.imei in self._taking:
            self._queues.queue_of(link).taking_up = True

    def found(self, link: Link) -> None:
        """Commands are parked for the device of `link`."""
        imei = link.imei
        if self._commands.stopping or self._queues.link_of(imei) is not link:
            return
        self._queues.queue_of(link).taking_up = True
        if imei in self._taking:
            self._try_again(imei)  # they may have been parked after the stream was read
        elif imei not in self._again:
            self._taking[imei] = 0
            self._effects.add(ReadParked(imei))

    def read(self, imei: str, entries: Sequence[Parked]) -> None:
        """The parked stream of a device was read."""
        if self._commands.stopping or self._queues.link_of(imei) is None:
            entries = ()  # who holds the device takes them up
        for entry_id, fields in entries:
            self._take(imei, entry_id, fields)
        self._end_if_done(imei)

    def not_read(self, imei: str) -> None:
        """The parked stream of a device could not be read: it is tried again."""
        self._try_again(imei)
        self._end_if_done(imei)

    def _try_again(self, imei: str) -> None:
        self._again[imei] = self._clock.monotonic() + AGAIN_AFTER

    def sweep(self, now: float) -> None:
        """Try again what is due by `now` (monotonic seconds)."""
        for imei in [imei for imei, at in self._again.items() if at <= now]:
            del self._again[imei]
            link = self._queues.link_of(imei)
            if link is not None:
                self.found(link)
        for outbound_id in self._late_at.due(now):
            self.delivered(outbound_id)

    def _take(self, imei: str, entry_id: str, fields: dict[bytes, bytes]) -> None:
        self._taking[imei] += 1
        try:
            request = read_parked(imei, entry_id, fields, self._clock.now_ms())
        except InvalidCommand as error:
            letter = unreadable(imei, entry_id, fields, error)
            self._metrics.deadletters.inc()
            self._effects.submit(letter, ParkedEnd(imei, letter.events[-1] if letter.events else None))
            return
        move = take_up(request, self._instance_id, self._notes.new_id(), ignore)
        self._effects.submit(move, TakingUp(request, move))

    def taken(self, taking: TakingUp, result: MoveResult) -> None:
        """The ledger answered the move of a parked command."""
        request, move = taking.request, taking.move
        imei = request.imei
        self._taking[imei] -= 1
        if result.applied:
            self._expect(imei, result.detail, request.outbound_id)
            if result.detail in self._commands.entries:  # the reader was faster than this answer
                self.delivered(result.detail)
        elif (rest := left_over(request, move, result, ignore)) is not None:
            self._taking[imei] += 1
            self._effects.submit(rest, ParkedEnd(imei, _verdict(rest)))
        else:
            self._try_again(imei)
        self._end_if_done(imei)

    def _expect(self, imei: str, outbound_id: str, parked_id: str) -> None:
        self._taking[imei] += 1
        self.expected[outbound_id] = imei, parked_id
        self._late_at.set(outbound_id, self._clock.monotonic() + HELD_FOR)

    def delivered(self, outbound_id: str) -> None:
        """The reader has delivered an expected entry, or takes too long."""
        imei, parked_id = self.expected.pop(outbound_id)
        self._late_at.cancel(outbound_id)
        in_flight = self._commands.entries.by_entry(outbound_id)
        if in_flight is not None:
            self._queues.place_as(in_flight, replace(in_flight.request, parked_id=parked_id))
            if not self._queues.has(in_flight):
                self._queues.place(in_flight)  # the queue is full, and the ledger will say that it is known
        self._taking[imei] -= 1
        self._end_if_done(imei)

    def ended(self, end: ParkedEnd, result: MoveResult) -> None:
        """The ledger answered the end of a parked command."""
        if not result.applied:
            self._try_again(end.imei)
        elif end.event is not None:
            self._commands.committed(end.event)
        self._taking[end.imei] -= 1
        self._end_if_done(end.imei)

    def _end_if_done(self, imei: str) -> None:
        """When nothing is left to be answered, newer commands of the device may go on."""
        if self._taking.get(imei):
            return
        self._taking.pop(imei, None)
        link = self._queues.link_of(imei)
        if link is not None:
            queue = self._queues.queue_of(link)
            queue.taking_up = False
            self._commands.go_on(queue)


def _verdict(move: Move) -> CommandEvent | None:
    """The verdict that a move commits, if any."""
    return move.event if isinstance(move, Step) else None

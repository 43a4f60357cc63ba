"""The dispatcher: the door of the command side. Inputs come in here, and effects are carried out here alone.

Inputs are entries (`receive`), connections (`arrived`, `left`, `quiet`, `answer`), answers of the ledger
(`_answered`), time, the registry and the shutdown. Each input is handled by a part that only decides: the
consumer, the commands in flight, the duplicates, the cancellation, the hand-over, the endings. What follows
is a list of effects, which is carried out in its order.

One input is handled at a time. What an effect causes is queued behind: a connection that closes while it is
written to, a queue that may go on, an entry to take. So no part is entered twice, and a frame is written
right after the checks that allow it. Every input returns at once; nothing here waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, get_args

import structlog

from fsm.moves import Move, MoveResult
from transport.clock import Clock
from transport.commands.cancellation import Cancellation, Cancelling
from transport.commands.consumer import CommandConsumer
from transport.commands.device_queue import DeviceQueue, LateAnswer, published
from transport.commands.device_queues import DeviceQueues
from transport.commands.duplicates import DuplicateEntries, DuplicateOpening, Restored
from transport.commands.effects import (
    Advance,
    Clear,
    Close,
    Effects,
    LookUp,
    ReadParked,
    Recheck,
    Repeat,
    Speaks,
    Taint,
    TakeUp,
    Write,
)
from transport.commands.endings import Endings
from transport.commands.handover import Handover, Moving
from transport.commands.in_flight import InFlightCommands
from transport.commands.in_flight_command import InFlightCommand, Parking
from transport.commands.lookups import Lookups
from transport.commands.notes import Notes
from transport.commands.openings import DeadLetter, Opening, Refusal
from transport.commands.parking import Parked, ParkedCommands, ParkedEnd, TakingUp
from transport.commands.policy_gate import PolicyGate
from transport.commands.recent_outcomes import RecentOutcomes
from transport.metrics import Metrics
from transport.ports import LedgerPort, Link
from transport.settings import Settings
from transport.teltonika.command import Message
from transport.teltonika.message_json import CODEC_NAMES

log = structlog.get_logger("telgw.commands")


class Dispatcher:
    """The command side of one gateway; see the module.

    Attributes:
        links: the newest connection of each device, by IMEI.
        offline: commands of devices that are not connected.
        entries: the entries in hand.
    """

    def __init__(
        self,
        settings: Settings,
        boot_id: str,
        clock: Clock,
        ledger: LedgerPort,
        metrics: Metrics,
        policy: PolicyGate | None = None,
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._metrics = metrics
        self._notes = Notes(metrics, settings.instance_id, boot_id, clock.monotonic)
        self._queues = DeviceQueues(clock, settings.reconnect_grace)
        self._effects = effects = Effects(self._answered)
        outcomes = RecentOutcomes(settings.retention, clock.monotonic)
        commands = InFlightCommands(
            clock, self._queues, self._notes, metrics, outcomes, effects, settings.queue_limit
        )
        self._commands = commands
        self._duplicates = DuplicateEntries(commands, metrics, effects)
        self._cancellation = Cancellation(commands, self._notes, effects)
        self._lookups = Lookups("cancels", self._ledger_of, self._looked_up, self._not_looked_up)
        self._parked_reads = Lookups("parked", ledger.parked, self._parked_read, self._parked_not_read)
        self._consumer = CommandConsumer(
            *(settings, clock, metrics, commands, self._queues, effects),
            *(self._duplicates, self._cancellation),
            policy or PolicyGate(settings.allow_verbs),
        )
        self._handover = Handover(commands, self._queues, self._notes, effects, settings.instance_id)
        self._parked = ParkedCommands(
            commands,
            self._queues,
            self._handover,
            self._notes,
            effects,
            clock,
            metrics,
            settings.instance_id,
        )
        self._endings = Endings(commands, self._queues, effects, settings.drain_timeout)
        self.links = self._queues.links
        self.offline = self._queues.offline
        self.entries = commands.entries
        self._inputs: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._busy = False
        self._receivers: dict[type, Callable[[Any, MoveResult], None]] = {
            InFlightCommand: commands.answered,
            Opening: self._consumer.opened,
            Refusal: self._consumer.refused,
            DeadLetter: self._consumer.discarded,
            DuplicateOpening: self._duplicates.opened,
            Restored: self._duplicates.restored,
            Cancelling: self._cancellation.answered,
            Moving: self._handover.answered,
            Parking: self._parked.answered,
            TakingUp: self._parked.taken,
            ParkedEnd: self._parked.ended,
        }
        self._carriers: dict[type, Callable[[Any], None]] = {
            **dict.fromkeys(get_args(Move), ledger.submit),
            Write: self._write,
            Taint: lambda effect: effect.link.taint(),
            Clear: lambda effect: effect.link.clear(),
            Speaks: lambda effect: setattr(effect.link, "speaks", True),
            Close: lambda effect: effect.link.close(effect.reason),
            Recheck: lambda effect: effect.link.recheck(),
            LookUp: lambda effect: self._lookups.add(effect),
            ReadParked: lambda effect: self._parked_reads.add(effect.imei),
            TakeUp: lambda effect: self.parked(effect.link),
            Repeat: lambda effect: self._take(self._consumer.repeat, effect.request, effect.anew),
            Advance: lambda effect: self.quiet(effect.link),
        }

    # The loop

    def _take(self, handler: Callable[..., None], *given: Any) -> None:
        """Handle an input and carry out what follows, or queue it behind the one that is being handled.

        An error is raised when all else is done: a frame must not be written later than its checks.
        """
        if self._busy:
            self._inputs.append((handler, given))
            return
        self._busy = True
        try:
            handler(*given)
            self._carry_out()
        except Exception as error:
            others = self._finish()
            if others:
                raise ExceptionGroup("Several inputs failed.", [error, *others]) from None
            raise
        finally:
            self._busy = False

    def _carry_out(self) -> None:
        """Carry out what follows from an input, and then what that has caused."""
        effects, inputs = self._effects.pending, self._inputs
        while True:
            while effects:
                effect = effects.popleft()
                self._carriers[type(effect)](effect)
            if not inputs:
                return
            handler, given = inputs.popleft()
            handler(*given)

    def _finish(self) -> list[Exception]:
        """After an error, do what is left; the further errors."""
        errors = []
        while self._effects.pending or self._inputs:
            try:
                self._carry_out()
            except Exception as error:
                errors.append(error)
        return errors

    # Entries

    def receive(self, entries: Iterable[tuple[str, dict[bytes, bytes]]], fresh: bool) -> None:
        """Handle entries in stream order; `fresh` if they are delivered for the first time.

        Those that are being handled already are skipped. An entry stays pending in Redis until the move that
        ends its command removes it.
        """
        for outbound_id, fields in entries:
            self._take(self._consumer.take, outbound_id, fields, fresh)
            if outbound_id in self._parked.expected:
                self._take(self._parked.delivered, outbound_id)

    def caught_up(self) -> None:
        """All entries were handed over that were on the stream at the start: commands may be written."""
        self._take(self._consumer.backlog_read)

    def may_read(self) -> bool:
        """Whether new entries may be read: not while Redis refuses writes, nor while too many are held."""
        return not self._consumer.full and self._ledger.healthy

    # Connections

    def arrived(self, link: Link) -> None:
        """A device has connected: the commands that wait for it join its queue."""
        self._take(self._arrived, link)

    def _arrived(self, link: Link) -> None:
        self._queues.arrived(link)
        self._parked.arrived(link)

    def parked(self, link: Link) -> None:
        """The registry tells that commands are parked for the device: they are taken up, and come first."""
        self._take(self._parked.found, link)

    def left(self, link: Link, reason: str) -> None:
        """A connection is closed: its waiting commands wait for the device, here or at another instance."""
        self._take(self._left, link, reason)

    def _left(self, link: Link, reason: str) -> None:
        queue = self._queues.left(link)
        if queue is not None:
            ended, waiting = queue.close(reason)
            for proposal in ended:
                self._commands.follow(queue, proposal)
            for in_flight in waiting:
                self._commands.wait(in_flight)

    def quiet(self, link: Link) -> None:
        """The connection is between frames and everything is acknowledged: a command may be written."""
        queue = self._queues.find(link)
        if queue is not None and queue.has_next:
            self._take(self._advance, queue)

    def _advance(self, queue: DeviceQueue) -> None:
        self._commands.follow(queue, queue.advance(stopping=self._commands.stopping))

    def tell(self, note: str, imei: str, link: Link, detail: str) -> None:
        """Publish a note about a peer of `link` that says to be the device."""
        self._ledger.submit(self._notes.takeover(note, imei, link, detail))

    def waiting(self, imei: str) -> int:
        """How many commands wait for the device here."""
        return self._queues.waiting(imei)

    def answer(self, link: Link, message: Message) -> bool:
        """The device sent a message; whether it was an answer or a ping, which needs no more handling."""
        if message.ping:
            self._metrics.pings.inc()
            return True
        queue = self._queues.find(link)
        if queue is not None and queue.expects(message):
            self._take(self._device_answered, queue, message)
            return True
        link.speaks = link.speaks or message.serial
        note = self._notes.unsolicited(
            link, published(message.payload, CODEC_NAMES[message.codec]), self._ledger.depth
        )
        if note is not None:
            self._ledger.submit(note)
        return False

    def _device_answered(self, queue: DeviceQueue, message: Message) -> None:
        log.debug("answer_received", imei=queue.link.imei, bytes=len(message.payload))
        found = queue.answered(message)
        if isinstance(found, LateAnswer):
            self._effects.add(Clear(queue.link))
            self._effects.submit(self._notes.late_response(found.in_flight, found.answer, found.rtt_ms))
            self._commands.go_on(queue)
        else:
            self._commands.follow(queue, found)

    # Time, the registry, the shutdown

    def sweep(self, now: float) -> None:
        """Give every command that is due by `now` (monotonic seconds) its verdict."""
        self._take(self._endings.sweep, now)
        self._take(self._parked.sweep, now)
        self._take(self._consumer.look_at_backlog)
        self._notes.sweep(now)

    def registry_read(self) -> None:
        """The registry has been read: commands of devices that are not expected back end."""
        self._take(self._queues.registry_read)

    def held(self, holders: Mapping[str, str]) -> None:
        """The registry names the instances that hold devices, by IMEI: queued commands follow them."""
        self._take(self._handover.found, holders)

    def stop(self) -> None:
        """Send nothing new; commands that are not written fail `gateway_shutdown`."""
        self._take(self._endings.stop)

    @property
    def draining(self) -> int:
        """How many commands are written and have no verdict."""
        return self._endings.draining

    def give_up(self) -> None:
        """The time to drain is over: commands that are written fail `gateway_shutdown`."""
        self._take(self._endings.give_up)

    # The ledger

    def _answered(self, about: object, result: MoveResult) -> None:
        """The ledger answered a move."""
        self._take(self._receivers[type(about)], about, result)

    def _ledger_of(self, asked: LookUp) -> Awaitable[dict[str, str]]:
        return self._ledger.read(asked.request.command_id)

    def _looked_up(self, asked: LookUp, ledger: Mapping[str, str]) -> None:
        self._take(self._cancellation.looked_up, asked.request, asked.entry, ledger)

    def _not_looked_up(self, asked: LookUp) -> None:
        self._take(self._cancellation.not_looked_up, asked.entry)

    def _parked_read(self, imei: str, entries: Sequence[Parked]) -> None:
        self._take(self._parked.read, imei, entries)

    def _parked_not_read(self, imei: str) -> None:
        self._take(self._parked.not_read, imei)

    # Effects

    def _write(self, effect: Write) -> None:
        """May close the connection, when the device does not read."""
        request = effect.in_flight.request
        log.debug("command_written", command_id=request.command_id, imei=request.imei)
        effect.in_flight.offset = effect.link.send(effect.frame)

"""The commands in flight: every input becomes at most one event, committed by the ledger in order.

Owns every command that this process holds, by entry and by command id, and the path of each event: `propose`
asks the state machine for the event and submits it to the ledger; `_settled` gets the ledger's answer. Only
then the command changes (`_apply`). While an event is uncommitted, further inputs to that command wait in its
backlog, so the events of a command have no gap and no repetition.

What the ledger may answer, and what follows: applied: the command moves on. CONFLICT: another process has
decided, unless Redis has lost events that it had confirmed; those are published again. MISSING: the ledger
was lost; nothing is sent without one. HELD_ELSEWHERE: the device has moved to another instance. SERIAL: the
serial port of the device speaks by itself, so codec 14 is needed. ERROR: the store refuses this command.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Unpack

import structlog

from fsm.command import COMMAND, QUEUED, SENT, Facts, decide, evolve
from fsm.deadlines import Deadlines
from fsm.entries import letter_of
from fsm.errors import IllegalTransition, WrongReason
from fsm.events import CommandEvent
from fsm.lost_events import restore_lost_events
from fsm.moves import SPEAKS, Discard, Entry, MoveResult, Status, Step
from fsm.reasons import INTERNAL_ERROR, LEDGER_LOST
from fsm.serial import CODEC_12
from fsm.states import CommandTrigger
from transport.clock import Clock
from transport.commands.in_flight_command import InFlightCommand
from transport.commands.notes import Notes, ignore
from transport.commands.recent_outcomes import RecentOutcomes
from transport.metrics import Metrics
from transport.ports import LedgerPort

log = structlog.get_logger("telgw.commands")


class InFlightCommands:
    """Every command this process holds.

    Args:
        recent_outcomes: remembers the verdicts of this process.
        on_left: a command leaves its queue: its verdict is proposed, or it is released.
        on_committed: a command's `sent` is in the log.
        on_displaced: the registry names another holder of the command's device.
        on_speaks: the command's device is known to speak by itself.
        on_returned: a command was not sent, because of the codec that it was to be sent with.
    """

    def __init__(
        self,
        clock: Clock,
        ledger: LedgerPort,
        notes: Notes,
        metrics: Metrics,
        recent_outcomes: RecentOutcomes,
        *,
        on_left: Callable[[InFlightCommand], None],
        on_committed: Callable[[InFlightCommand], None],
        on_displaced: Callable[[InFlightCommand], None],
        on_speaks: Callable[[InFlightCommand], None],
        on_returned: Callable[[InFlightCommand], None],
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._notes = notes
        self._metrics = metrics
        self.recent_outcomes = recent_outcomes
        self._on_left = on_left
        self._on_committed = on_committed
        self._on_displaced = on_displaced
        self._on_speaks = on_speaks
        self._on_returned = on_returned
        self._by_entry: dict[str, InFlightCommand] = {}
        self._by_command: dict[str, InFlightCommand] = {}
        self.expiries: Deadlines[InFlightCommand] = Deadlines()

    def __len__(self) -> int:
        return len(self._by_entry)

    def __iter__(self) -> Any:
        return iter(list(self._by_entry.values()))

    @property
    def oldest_queued(self) -> int | None:
        """Epoch ms at which the longest-waiting queued command was accepted."""
        queued = [in_flight.request.accepted_at for in_flight in self if in_flight.command.state == QUEUED]
        return min(queued, default=None)

    def holds(self, outbound_id: str) -> bool:
        """Whether the entry is held already, so that its redelivery changes nothing."""
        return outbound_id in self._by_entry

    def find(self, command_id: str) -> InFlightCommand | None:
        """The command in flight with this id."""
        return self._by_command.get(command_id)

    def hold(self, in_flight: InFlightCommand) -> None:
        """Hold `in_flight` until its verdict is committed or another instance has it."""
        self._by_entry[in_flight.request.outbound_id] = in_flight
        self._by_command.setdefault(in_flight.request.command_id, in_flight)
        self.expiries.set(in_flight, self._clock.at(in_flight.request.expires_at))

    def release(self, in_flight: InFlightCommand) -> None:
        """Stop holding `in_flight`: it has ended, or is the matter of another instance."""
        self._by_entry.pop(in_flight.request.outbound_id, None)
        if self._by_command.get(in_flight.request.command_id) is in_flight:
            del self._by_command[in_flight.request.command_id]
        follower, in_flight.follower = in_flight.follower, None
        if follower is not None:
            follower()
        self._leave(in_flight)

    def _leave(self, in_flight: InFlightCommand) -> None:
        self.expiries.cancel(in_flight)
        self._on_left(in_flight)

    def propose(
        self,
        in_flight: InFlightCommand,
        trigger: CommandTrigger,
        *,
        remove: tuple[Entry, ...] = (),
        **facts: Unpack[Facts],
    ) -> None:
        """`trigger` happened to `in_flight`: propose its event, or wait for the uncommitted one.

        An input without an edge from this state came too late; a cancel is answered with `cancel_rejected`.

        Raises:
            UnknownTrigger: no edge of the table has this trigger.
        """
        if in_flight.pending is not None or in_flight.moving:
            COMMAND.check(trigger)
            in_flight.backlog.append((trigger, remove, facts))
            return
        try:
            event = decide(in_flight.command, trigger, request=in_flight.request, **facts)
        except IllegalTransition:
            self._reject_cancels(in_flight, remove)
            return
        except WrongReason as error:
            if not remove:
                log.error("input_ignored", command_id=in_flight.request.command_id, error=str(error))
            self._reject_cancels(in_flight, remove)
            return
        self._commit(in_flight, event, remove)

    def _commit(self, in_flight: InFlightCommand, event: CommandEvent, remove: tuple[Entry, ...]) -> None:
        """Submit the event; a verdict is submitted before the next command of the queue begins."""
        self._ledger.submit(self.step(in_flight, event, remove))
        if event.terminal:
            self._leave(in_flight)

    def step(self, in_flight: InFlightCommand, event: CommandEvent, remove: tuple[Entry, ...] = ()) -> Step:
        """The move that commits `event`; the event is pending from now on."""
        in_flight.pending = event
        return Step(
            event=event,
            entry=in_flight.entry,
            done=partial(self._settled, in_flight, event, remove),
            remove=remove,
            allow_missing=event.recovered,
            held_imei=in_flight.request.imei if event.state == SENT else "",
            by_default=event.state == SENT and event.codec == CODEC_12 and not in_flight.request.codec,
            accepted_at=in_flight.request.accepted_at,
        )

    def _settled(
        self, in_flight: InFlightCommand, event: CommandEvent, remove: tuple[Entry, ...], result: MoveResult
    ) -> None:
        """The ledger answered."""
        in_flight.pending = None
        if result.now_ms:
            self._clock.sync(result.now_ms)
        if result.detail == SPEAKS:
            self._on_speaks(in_flight)
        if result.applied:
            self._apply(in_flight, event)
            self.resume(in_flight)
            return
        self._metrics.overruled.labels(result.status).inc()
        if result.status is Status.MISSING:
            self._ledger_lost(in_flight, event, remove)
        elif result.status is Status.CONFLICT:
            if not self._restored(in_flight, event, remove, result):
                self._overruled(in_flight, event)
        elif result.status is Status.HELD_ELSEWHERE:
            self._on_displaced(in_flight)
        elif result.status is Status.SERIAL:
            self._on_returned(in_flight)
        elif result.status is Status.ERROR:
            self.give_up(in_flight, result.detail, event)
        self.resume(in_flight)

    def _restored(
        self, in_flight: InFlightCommand, event: CommandEvent, remove: tuple[Entry, ...], result: MoveResult
    ) -> bool:
        """Publish events again that Redis has confirmed and lost; whether that is the cause of a conflict.

        Tried once for an event; a second conflict means that another process has decided.
        """
        if event.recovered or not event.terminal:
            return False
        lost = restore_lost_events(event, result.command(event.command_id), in_flight.request)
        if not lost:
            return False
        *before, verdict = lost
        self._ledger.submit(
            *(Step(one, in_flight.entry, ignore) for one in before), self.step(in_flight, verdict, remove)
        )
        log.warning("events_restored", command_id=event.command_id, found=result.state)
        return True

    def resume(self, in_flight: InFlightCommand) -> None:
        """Handle the inputs that waited for an outcome."""
        while in_flight.backlog and in_flight.pending is None and not in_flight.moving:
            trigger, remove, facts = in_flight.backlog.pop(0)
            self.propose(in_flight, trigger, remove=remove, **facts)

    def _apply(self, in_flight: InFlightCommand, event: CommandEvent) -> None:
        in_flight.command = evolve(in_flight.command, event)
        self._metrics.command(event)
        if event.terminal:
            self.recent_outcomes.add(event)
            self.release(in_flight)
            log_verdict(event)
        elif event.state == SENT:
            self._on_committed(in_flight)

    def _ledger_lost(
        self, in_flight: InFlightCommand, event: CommandEvent, remove: tuple[Entry, ...]
    ) -> None:
        """The ledger is missing: nothing is sent, and a verdict is published all the same."""
        if event.state == SENT:
            self.propose(in_flight, "fail", reason=LEDGER_LOST, recovered=True)
        else:
            self._commit(in_flight, replace(event, recovered=True), remove)

    def _overruled(self, in_flight: InFlightCommand, event: CommandEvent) -> None:
        """Another process has decided; what this one knows beyond that becomes a note.

        The entry of a cancel stays pending: when it is read again, it is answered from the ledger.
        """
        late = event.terminal and in_flight.written
        if late:
            self.recent_outcomes.add(event)
        self.release(in_flight)
        if late:
            self._notes.late_outcome(in_flight, event)

    def _reject_cancels(self, in_flight: InFlightCommand, entries: tuple[Entry, ...]) -> None:
        detail = "sent" if in_flight.command.state == SENT else "terminal"
        for entry in entries:
            self._notes.cancel_rejected(in_flight.request.command_id, entry, detail)

    def give_up(self, in_flight: InFlightCommand, error: str, refused: CommandEvent | None = None) -> None:
        """Redis refuses this command for good: its verdict is published with a dead letter.

        `refused` is the event that could not be committed; if it is a verdict, it is the one published.
        """
        if not self.holds(in_flight.request.outbound_id):
            return
        events = []
        command = in_flight.command
        if not command.seq:
            events.append(decide(command, "accept", request=in_flight.request))
            command = evolve(command, events[0])
        if refused is not None and refused.terminal and refused.seq == command.seq + 1:
            events.append(refused)
        elif not command.terminal:
            events.append(decide(command, "fail", reason=INTERNAL_ERROR, request=in_flight.request))
        if events:
            self.recent_outcomes.add(events[-1])
        self.release(in_flight)
        self._metrics.deadletters.inc()
        fields = letter_of(in_flight.request)
        self._ledger.submit(
            Discard(in_flight.entry, ignore, error=INTERNAL_ERROR, fields=fields, events=tuple(events))
        )
        log.error("command_unstorable", command_id=command.command_id, error=error)


def log_verdict(event: CommandEvent) -> None:
    """Log one line per command: its verdict, never its text."""
    log.info(
        "command",
        action=event.trigger,
        command_id=event.command_id,
        imei=event.imei,
        state=event.state,
        reason=event.reason,
        delivery=event.delivery,
        rtt_ms=event.rtt_ms,
    )

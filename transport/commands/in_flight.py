"""Commands in flight and the ledger: every input becomes at most one event, committed in order.

A move of a command is proposed to the ledger, and the command stays what it was until the ledger has said
yes. While a move is uncommitted, further inputs to that command wait for its outcome.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from fsm.command import QUEUED, SENT, decide, evolve
from fsm.deadlines import Deadlines
from fsm.entries import letter_of
from fsm.errors import IllegalTransition, WrongReason
from fsm.events import CommandEvent
from fsm.moves import SPEAKS, Discard, Entry, MoveResult, Status, Step
from fsm.reasons import INTERNAL_ERROR, LEDGER_LOST
from fsm.retelling import retell
from fsm.serial import CODEC_12
from transport.clock import Clock
from transport.commands.in_flight_command import Flight
from transport.commands.notes import Notes, ignore
from transport.commands.recent_outcomes import Verdicts
from transport.metrics import Metrics
from transport.ports import LedgerPort

log = structlog.get_logger("telgw.commands")


class Flights:
    """Every command this process holds.

    Args:
        verdicts: remembers what this process has told.
        on_left: a flight gave up its place, because its verdict is decided or nothing more will become of it.
        on_committed: a flight's `sent` is in the log.
        on_displaced: the registry names another holder of the flight's device.
        on_speaks: the flight's device is known to speak by itself.
        on_returned: a flight was not sent, because of the codec that it was to be sent with.
    """

    def __init__(
        self,
        clock: Clock,
        ledger: LedgerPort,
        notes: Notes,
        metrics: Metrics,
        verdicts: Verdicts,
        *,
        on_left: Callable[[Flight], None],
        on_committed: Callable[[Flight], None],
        on_displaced: Callable[[Flight], None],
        on_speaks: Callable[[Flight], None],
        on_returned: Callable[[Flight], None],
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._notes = notes
        self._metrics = metrics
        self.verdicts = verdicts
        self._on_left = on_left
        self._on_committed = on_committed
        self._on_displaced = on_displaced
        self._on_speaks = on_speaks
        self._on_returned = on_returned
        self._by_entry: dict[str, Flight] = {}
        self._by_command: dict[str, Flight] = {}
        self.expiries: Deadlines[Flight] = Deadlines()

    def __len__(self) -> int:
        return len(self._by_entry)

    def __iter__(self) -> Any:
        return iter(list(self._by_entry.values()))

    @property
    def oldest_queued(self) -> int | None:
        """Epoch ms at which the longest-waiting queued command was accepted."""
        queued = [flight.request.accepted_at for flight in self if flight.command.state == QUEUED]
        return min(queued, default=None)

    def holds(self, outbound_id: str) -> bool:
        """Whether the entry is in hand, so that its redelivery says nothing new."""
        return outbound_id in self._by_entry

    def find(self, command_id: str) -> Flight | None:
        """The flight of a command."""
        return self._by_command.get(command_id)

    def hold(self, flight: Flight) -> None:
        """Take `flight` in; it stays until its verdict is committed or another instance has it."""
        self._by_entry[flight.request.outbound_id] = flight
        self._by_command.setdefault(flight.request.command_id, flight)
        self.expiries.set(flight, self._clock.at(flight.request.expires_at))

    def release(self, flight: Flight) -> None:
        """Nothing more will become of `flight` here."""
        self._by_entry.pop(flight.request.outbound_id, None)
        if self._by_command.get(flight.request.command_id) is flight:
            del self._by_command[flight.request.command_id]
        follower, flight.follower = flight.follower, None
        if follower is not None:
            follower()
        self._leave(flight)

    def _leave(self, flight: Flight) -> None:
        self.expiries.cancel(flight)
        self._on_left(flight)

    def propose(self, flight: Flight, trigger: str, *, remove: tuple[Entry, ...] = (), **facts: Any) -> None:
        """`trigger` happened to `flight`: propose its event, or wait for the uncommitted one.

        An input that the table has no edge for came too late to matter; a cancel is told so.
        """
        if flight.pending is not None or flight.moving:
            flight.backlog.append((trigger, {"remove": remove, **facts}))
            return
        try:
            event = decide(flight.command, trigger, request=flight.request, **facts)
        except IllegalTransition:
            self._reject_cancels(flight, remove)
            return
        except WrongReason as error:
            if not remove:
                log.error("input_ignored", command_id=flight.request.command_id, error=str(error))
            self._reject_cancels(flight, remove)
            return
        self._commit(flight, event, remove)

    def _commit(self, flight: Flight, event: CommandEvent, remove: tuple[Entry, ...]) -> None:
        """The verdict is on its way before the place it leaves is taken."""
        self._ledger.submit(self.step(flight, event, remove))
        if event.terminal:
            self._leave(flight)

    def step(self, flight: Flight, event: CommandEvent, remove: tuple[Entry, ...] = ()) -> Step:
        """The move that commits `event`; the event is pending from now on."""
        flight.pending = event
        return Step(
            event=event,
            entry=flight.entry,
            done=partial(self._settled, flight, event, remove),
            remove=remove,
            allow_missing=event.recovered,
            held_imei=flight.request.imei if event.state == SENT else "",
            by_default=event.state == SENT and event.codec == CODEC_12 and not flight.request.codec,
            accepted_at=flight.request.accepted_at,
        )

    def _settled(
        self, flight: Flight, event: CommandEvent, remove: tuple[Entry, ...], result: MoveResult
    ) -> None:
        """The ledger answered."""
        flight.pending = None
        if result.now_ms:
            self._clock.sync(result.now_ms)
        if result.detail == SPEAKS:
            self._on_speaks(flight)
        if result.applied:
            self._apply(flight, event)
            self.resume(flight)
            return
        self._metrics.overruled.labels(result.status).inc()
        if result.status is Status.MISSING:
            self._ledger_lost(flight, event, remove)
        elif result.status is Status.CONFLICT:
            if not self._told_again(flight, event, remove, result):
                self._overruled(flight, event)
        elif result.status is Status.HELD_ELSEWHERE:
            self._on_displaced(flight)
        elif result.status is Status.SERIAL:
            self._on_returned(flight)
        elif result.status is Status.ERROR:
            self.give_up(flight, result.detail, event)
        self.resume(flight)

    def _told_again(
        self, flight: Flight, event: CommandEvent, remove: tuple[Entry, ...], result: MoveResult
    ) -> bool:
        """The ledger stands where it stood before a move that it had confirmed: Redis has lost that.

        Once; when it conflicts again, the command is somebody else's by now.
        """
        if event.recovered or not event.terminal:
            return False
        found = result.command(event.command_id)
        lost = retell(event, found, flight.request)
        if not lost:
            return False
        *before, verdict = lost
        self._ledger.submit(
            *(Step(one, flight.entry, ignore) for one in before), self.step(flight, verdict, remove)
        )
        log.warning("told_again", command_id=event.command_id, found=result.state)
        return True

    def resume(self, flight: Flight) -> None:
        """Offer the inputs that waited for an outcome."""
        while flight.backlog and flight.pending is None and not flight.moving:
            trigger, facts = flight.backlog.pop(0)
            self.propose(flight, trigger, **facts)

    def _apply(self, flight: Flight, event: CommandEvent) -> None:
        flight.command = evolve(flight.command, event)
        self._metrics.command(event)
        if event.terminal:
            self.verdicts.add(event)
            self.release(flight)
            log_verdict(event)
        elif event.state == SENT:
            self._on_committed(flight)

    def _ledger_lost(self, flight: Flight, event: CommandEvent, remove: tuple[Entry, ...]) -> None:
        """Without a ledger nothing is sent; a verdict is written all the same."""
        if event.state == SENT:
            self.propose(flight, "fail", reason=LEDGER_LOST, recovered=True)
        else:
            self._commit(flight, replace(event, recovered=True), remove)

    def _overruled(self, flight: Flight, event: CommandEvent) -> None:
        """Somebody else has decided; what we know beyond that is a note.

        The entry of a cancel stays pending: when it is read again, the ledger tells what became of it all.
        """
        late = event.terminal and flight.written
        if late:
            self.verdicts.add(event)
        self.release(flight)
        if late:
            self._notes.late_outcome(flight, event)

    def _reject_cancels(self, flight: Flight, entries: tuple[Entry, ...]) -> None:
        detail = "sent" if flight.command.state == SENT else "terminal"
        for entry in entries:
            self._notes.cancel_rejected(flight.request.command_id, entry, detail)

    def give_up(self, flight: Flight, error: str, refused: CommandEvent | None = None) -> None:
        """The store refuses this one command for good: what we know goes where it can be found.

        `refused` is the event that could not be committed; a verdict among them is what really happened.
        """
        if not self.holds(flight.request.outbound_id):
            return
        events = []
        command = flight.command
        if not command.seq:
            events.append(decide(command, "accept", request=flight.request))
            command = evolve(command, events[0])
        if refused is not None and refused.terminal and refused.seq == command.seq + 1:
            events.append(refused)
        elif not command.terminal:
            events.append(decide(command, "fail", reason=INTERNAL_ERROR, request=flight.request))
        if events:
            self.verdicts.add(events[-1])
        self.release(flight)
        self._metrics.deadletters.inc()
        fields = letter_of(flight.request)
        self._ledger.submit(
            Discard(flight.entry, ignore, error=INTERNAL_ERROR, fields=fields, events=tuple(events))
        )
        log.error("command_unstorable", command_id=command.command_id, error=error)


def log_verdict(event: CommandEvent) -> None:
    """One line per command: what became of it, never what it said."""
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

"""The commands in flight: the core of the command side, which decides and carries nothing out.

Owns every entry in hand, and the path of each event: `propose` asks the state machine for the event and
submits it to the ledger; `answered` gets the ledger's answer. Only then the command changes (`apply`). While
an event is uncommitted, further inputs to that command wait in its backlog, so the events of a command have
no gap and no repetition.

What the ledger may answer, and what follows: applied: the command moves on. CONFLICT: another process has
decided, unless Redis has lost events that it had confirmed; those are published again; or an earlier call of
ours has committed `sent` after its repetition was refused: the command is withdrawn. MISSING: the ledger
was lost; nothing is sent without one. HELD_ELSEWHERE: the device has moved to another instance. SERIAL: the
serial port of the device speaks by itself, so codec 14 is needed. PARKED: commands are parked for the device,
which come first. ERROR: the store refuses this command.

Effects stay in the order in which they were decided, so a verdict is submitted before the next command of
the queue begins. Between two inputs every command is in one place and has at most one uncommitted event.
"""

from __future__ import annotations

from dataclasses import replace

import structlog

from fsm.cancel import cancel_policy
from fsm.command import COMMAND, SENT, decide, evolve
from fsm.deadlines import Deadlines
from fsm.errors import IllegalTransition, WrongReason
from fsm.events import CommandEvent
from fsm.moves import SPEAKS, Entry, MoveResult, ParkMove, Status, Step
from fsm.policies import LiveOccasion, Reject
from fsm.reasons import PARKED, SUPERSEDED
from transport.clock import Clock
from transport.commands.device_queue import DeviceQueue
from transport.commands.device_queues import DeviceQueues
from transport.commands.effects import Advance, Close, Effects, Repeat, Speaks, Taint, TakeUp, Write
from transport.commands.entries_in_hand import EntriesInHand
from transport.commands.in_flight_command import InFlightCommand, Parking, Proposal, ignore
from transport.commands.notes import Notes
from transport.commands.recent_outcomes import RecentOutcomes
from transport.commands.verdict_log import log_verdict
from transport.metrics import Metrics
from transport.ports import Link

log = structlog.get_logger("telgw.commands")


class InFlightCommands:
    """Every command this process holds; see the module.

    Attributes:
        entries: the entries in hand.
        recent_outcomes: the verdicts of this process.
        expiries, responses: when a command expires, and when its answer is overdue; monotonic seconds.
        stopping: nothing new is sent.

    Args:
        queue_limit: how many commands may be parked for a device.
    """

    def __init__(
        self,
        clock: Clock,
        queues: DeviceQueues,
        notes: Notes,
        metrics: Metrics,
        outcomes: RecentOutcomes,
        effects: Effects,
        queue_limit: int,
    ) -> None:
        self.entries = EntriesInHand()
        self.recent_outcomes = outcomes
        self.expiries: Deadlines[InFlightCommand] = Deadlines()
        self.responses: Deadlines[InFlightCommand] = Deadlines()
        self.stopping = False
        self._clock = clock
        self._queues = queues
        self._notes = notes
        self._metrics = metrics
        self._effects = effects
        self._queue_limit = queue_limit

    # What is in hand, and where it waits

    def hold(self, in_flight: InFlightCommand) -> None:
        """Hold `in_flight` until its verdict is committed or another instance has it."""
        self.entries.add(in_flight)
        self.expiries.set(in_flight, self._clock.at(in_flight.request.expires_at))

    def release(self, in_flight: InFlightCommand) -> None:
        """Stop holding `in_flight`: it has ended, or is the matter of another instance."""
        self.entries.remove(in_flight)
        follower, in_flight.follower = in_flight.follower, None
        if follower is not None:
            self._effects.add(Repeat(follower))
        if not in_flight.left:
            self._leave(in_flight)

    def _leave(self, in_flight: InFlightCommand) -> None:
        in_flight.left = True
        self.expiries.cancel(in_flight)
        self.responses.cancel(in_flight)
        queue = self._queues.leave(in_flight)
        if queue is not None:
            if queue.leave(in_flight):
                self._effects.add(Taint(queue.link))
            self.go_on(queue)

    def wait(self, in_flight: InFlightCommand) -> None:
        """Queue `in_flight` if its device is connected; else it waits, for the grace at most."""
        queue = self._queues.place(in_flight)
        if self.stopping:
            self.meet(in_flight, "shutdown")
        elif queue is not None:
            self.go_on(queue)

    def go_on(self, queue: DeviceQueue) -> None:
        """Something has happened to `queue`, which may write or begin a command now."""
        if queue.idle:
            self._queues.active.pop(queue.link.session_id, None)
        else:
            self._effects.add(Advance(queue.link))

    def follow(self, queue: DeviceQueue, step: Proposal | Write | None) -> None:
        """Do what `queue` has decided."""
        if isinstance(step, Proposal):
            self.propose(step)
        elif step is not None:
            self._queues.active[queue.link.session_id] = queue
            answer_due = step.in_flight.written_at + step.in_flight.request.response_timeout
            self.responses.set(step.in_flight, answer_due)
            self._effects.add(step)

    # Events

    def meet(self, in_flight: InFlightCommand, occasion: LiveOccasion, *, recovered: bool = False) -> None:
        """`occasion` has come for `in_flight`: propose what its policy says, if anything."""
        if in_flight.parks(occasion):
            self.park(Parking(in_flight, occasion))
        else:
            self.end(in_flight, occasion, recovered=recovered)

    def end(self, in_flight: InFlightCommand, occasion: LiveOccasion, *, recovered: bool = False) -> None:
        """Propose what the policy for `occasion` says of a command that is not parked."""
        if proposal := in_flight.at(occasion, recovered=recovered):
            self.propose(proposal)

    def park(self, parking: Parking) -> None:
        """Park a command, once no event is uncommitted. One that was parked before is within the limit."""
        in_flight = parking.in_flight
        if in_flight.pending is not None or in_flight.moving:
            in_flight.backlog.append(parking)
        elif in_flight.waits:
            in_flight.moving = True
            limit = 0 if in_flight.request.parked_id else self._queue_limit
            note, seq = self._notes.about(PARKED, in_flight), in_flight.command.seq
            move = ParkMove(note, in_flight.entry, seq, in_flight.request, ignore, limit)
            self._effects.submit(move, parking)

    def cancel(self, in_flight: InFlightCommand, entry: Entry) -> None:
        """The cancel in `entry` ends the command, or is rejected, once no event is uncommitted."""
        if in_flight.pending is not None or in_flight.moving:
            in_flight.backlog.append(entry)
            return
        policy = cancel_policy(in_flight.stage)
        if isinstance(policy, Reject):
            command_id = in_flight.request.command_id
            self._effects.submit(self._notes.cancel_rejected(command_id, entry, policy.detail))
        else:
            self.propose(Proposal(in_flight, policy.trigger, {"reason": policy.reason}), (entry,))

    def propose(self, proposal: Proposal, remove: tuple[Entry, ...] = ()) -> None:
        """A trigger happened to a command: propose its event, wait for the uncommitted one, or ignore it.

        Raises:
            UnknownTrigger: no edge of the table has this trigger.
        """
        in_flight = proposal.in_flight
        if in_flight.pending is not None or in_flight.moving:
            COMMAND.check(proposal.trigger)
            in_flight.backlog.append(proposal)
            return
        try:
            event = decide(in_flight.command, proposal.trigger, request=in_flight.request, **proposal.facts)
        except (IllegalTransition, WrongReason) as error:
            if isinstance(error, WrongReason):  # any other came too late
                log.error("input_ignored", command_id=in_flight.request.command_id, error=str(error))
            return
        self._commit(in_flight, event, remove)

    def _commit(self, in_flight: InFlightCommand, event: CommandEvent, remove: tuple[Entry, ...]) -> None:
        """Submit the event; a verdict is submitted before the next command of the queue begins."""
        self.submit_step(in_flight, event, remove)
        if event.terminal:
            self._leave(in_flight)

    def submit_step(
        self, in_flight: InFlightCommand, event: CommandEvent, remove: tuple[Entry, ...] = ()
    ) -> Step:
        """Submit `event`, which is pending from now on; the move that commits it."""
        step = in_flight.step(event, remove)
        self._effects.submit(step, in_flight)
        return step

    def resume(self, in_flight: InFlightCommand) -> None:
        """Handle the inputs that waited for an outcome."""
        while in_flight.backlog and in_flight.pending is None and not in_flight.moving:
            waited = in_flight.backlog.pop(0)
            if isinstance(waited, Entry):
                self.cancel(in_flight, waited)
            elif isinstance(waited, Parking):
                self.park(waited)
            else:
                self.propose(waited)

    def apply(self, in_flight: InFlightCommand, event: CommandEvent) -> None:
        """`event` is committed: the command is what it says."""
        in_flight.command = evolve(in_flight.command, event)
        if event.terminal:
            self.recent_outcomes.add(event)
            self.release(in_flight)
        self.committed(event)

    def committed(self, event: CommandEvent) -> None:
        """An event of a command, held here or not, is in the log of Redis."""
        self._metrics.command(event)
        if event.terminal:
            log_verdict(event)

    # The ledger's answers

    def answered(self, in_flight: InFlightCommand, result: MoveResult) -> None:
        """The ledger answered the event that is pending."""
        event, in_flight.pending = in_flight.pending, None
        if event is None:
            return
        self.heard(in_flight, result)
        if result.applied:
            self.apply(in_flight, event)
            if event.state == SENT and (queue := self._queues.queue_with(in_flight)) is not None:
                # Everything is checked again, and the command is written, in this turn.
                self.follow(queue, queue.committed(in_flight, stopping=self.stopping))
        elif result.status is Status.MISSING:
            self._ledger_lost(in_flight, event)
        elif result.status is Status.CONFLICT:
            if not (
                self._withdrawn(in_flight, result, event.reason) or self._restored(in_flight, event, result)
            ):
                self._overruled(in_flight, event)
        elif result.status is Status.HELD_ELSEWHERE:
            self._displaced(in_flight)
        elif result.status is Status.SERIAL:
            self._returned(in_flight)
        elif result.status is Status.PARKED:
            self._preceded(in_flight)
        elif result.status is Status.ERROR:
            self.give_up(in_flight, result.detail, event)
        self.resume(in_flight)

    def heard(self, in_flight: InFlightCommand, result: MoveResult) -> None:
        """What every answer of the ledger about a command tells: the time of Redis, and of refusals."""
        if result.now_ms:
            self._clock.sync(result.now_ms)
        if result.detail == SPEAKS and (queue := self._queues.queue_with(in_flight)) is not None:
            self._effects.add(Speaks(queue.link))
        if not result.applied:
            self._metrics.overruled.labels(result.status).inc()

    def _restored(self, in_flight: InFlightCommand, event: CommandEvent, result: MoveResult) -> bool:
        """Publish events again that Redis has confirmed and lost; whether that is the cause of a conflict."""
        lost = in_flight.lost_events(event, result)
        if not lost:
            return False
        *before, verdict = lost
        for one in before:
            self._effects.submit(Step(one, in_flight.entry, ignore))
        self.submit_step(in_flight, verdict, in_flight.removing)
        log.warning("events_restored", command_id=event.command_id, found=result.state)
        return True

    def lost(self, in_flight: InFlightCommand, result: MoveResult) -> None:
        """A hand-over or a parking found a conflict: another process has decided, or our own late `sent`."""
        if not self._withdrawn(in_flight, result):
            self.release(in_flight)

    def _withdrawn(self, in_flight: InFlightCommand, result: MoveResult, reason: str = "") -> bool:
        """End a command whose `sent` took effect after it was refused; whether that caused the conflict."""
        found = in_flight.sent_late(result, reason)
        if found is None:
            return False
        sent, verdict = found
        in_flight.command = evolve(in_flight.command, sent)
        self.committed(sent)
        self._commit(in_flight, verdict, in_flight.removing)
        return True

    def _ledger_lost(self, in_flight: InFlightCommand, event: CommandEvent) -> None:
        """The ledger is missing: nothing is sent, and a verdict is published all the same."""
        if event.terminal:
            self._commit(in_flight, replace(event, recovered=True), in_flight.removing)
        else:
            self.meet(in_flight, "ledger_lost", recovered=True)

    def _overruled(self, in_flight: InFlightCommand, event: CommandEvent) -> None:
        """Another process has decided; what this one knows beyond that becomes a note.

        The entry of a cancel stays pending: when it is read again, it is answered from the ledger.
        """
        late = event.terminal and in_flight.written
        if late:
            self.recent_outcomes.add(event)
        self.release(in_flight)
        if late:
            self._effects.submit(self._notes.late_outcome(in_flight, event))

    def _displaced(self, in_flight: InFlightCommand) -> None:
        """The registry names another holder: close the connection; its commands follow the device."""
        if (link := self._put_back(in_flight)) is not None and not link.closed:
            self._effects.add(Close(link, SUPERSEDED))

    def _returned(self, in_flight: InFlightCommand) -> None:
        """The ledger refused codec 12 for a device that speaks: the command is next again, with codec 14."""
        self._put_back(in_flight)
        self.resume(in_flight)  # a cancel that came meanwhile counts before anything is sent
        if self.stopping:
            self.meet(in_flight, "shutdown")

    def _preceded(self, in_flight: InFlightCommand) -> None:
        """Commands are parked for the device, and come first: the command waits until they are taken up."""
        queue = self._queues.queue_with(in_flight)
        if queue is not None:
            queue.taking_up = True
            self._effects.add(TakeUp(queue.link))
        self._returned(in_flight)

    def _put_back(self, in_flight: InFlightCommand) -> Link | None:
        """The command was not committed: it waits again, if need be for its device. Its connection."""
        queue = self._queues.queue_with(in_flight)
        if queue is None:
            return None
        for waiting in queue.put_back():
            self.wait(waiting)
        self.go_on(queue)
        return queue.link

    def give_up(self, in_flight: InFlightCommand, error: str, refused: CommandEvent | None = None) -> None:
        """Redis refuses this command for good: its verdict is published with a dead letter."""
        if in_flight.request.outbound_id not in self.entries:
            return
        letter = in_flight.dead_letter(refused)
        if letter.events:
            self.recent_outcomes.add(letter.events[-1])
        self.release(in_flight)
        self._metrics.deadletters.inc()
        self._effects.submit(letter)
        log.error("command_unstorable", command_id=in_flight.request.command_id, error=error)

"""The consumer of the outbound stream: entries are parsed, opened in the ledger, and queued.

Decides the first move of each command: `_begin` submits its first event, and `opened` goes on by the rule of
`fsm.redelivery`. A new entry for a free device carries `queued` and `sent` in one call.

Nothing here waits. An entry stays pending in Redis until the move that ends its command removes it.
"""

from __future__ import annotations

from functools import partial

import structlog

from fsm.command import Command, CommandRequest, decide, evolve
from fsm.entries import letter_fields
from fsm.errors import InvalidCommand
from fsm.events import CommandEvent
from fsm.moves import Discard, Entry, MoveResult, Open, Status, Step
from fsm.outbound import CancelRequest, SupersededHint, parse_entry
from fsm.policies import LEAVE, REMOVE, Fire, Park, Policy
from fsm.reasons import DEVICE_NOT_CONNECTED, EXPIRED, INVALID_COMMAND, NOT_ALLOWED, QUEUE_FULL
from fsm.redelivery import command_of, has_ended, policy_at
from fsm.serial import codec_for
from transport.clock import Clock
from transport.commands.cancellation import Cancellation
from transport.commands.device_queues import DeviceQueues
from transport.commands.duplicates import DuplicateEntries
from transport.commands.effects import Effects
from transport.commands.in_flight import InFlightCommands
from transport.commands.in_flight_command import InFlightCommand, Parking, Proposal, ignore
from transport.commands.openings import DeadLetter, Opening, Refusal
from transport.commands.policy_gate import PolicyGate
from transport.commands.superseded import look_again
from transport.metrics import Metrics
from transport.settings import Settings

log = structlog.get_logger("telgw.commands")

RESUME_BELOW = 0.9
"""Share of the commands limit below which new entries are read again."""


class CommandConsumer:
    """Takes the entries of the outbound stream; see the module."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
        commands: InFlightCommands,
        queues: DeviceQueues,
        effects: Effects,
        duplicates: DuplicateEntries,
        cancellation: Cancellation,
        policy: PolicyGate,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._commands = commands
        self._entries = commands.entries
        self._queues = queues
        self._effects = effects
        self._duplicates = duplicates
        self._cancellation = cancellation
        self._policy = policy
        self._paused = False

    @property
    def full(self) -> bool:
        """Whether so many commands are held that no new entries may be read."""
        held, limit = len(self._entries), self._settings.commands_limit
        self._paused = held >= limit or (self._paused and held >= limit * RESUME_BELOW)
        return self._paused

    def look_at_backlog(self) -> None:
        """When the backlog of the start has its order, the queues may go on."""
        if self._queues.backlog.look(full=self.full):
            for queue in self._queues.all():
                self._commands.go_on(queue)

    def backlog_read(self) -> None:
        """All entries are handed over that were on the stream at the start."""
        self._queues.backlog.read()
        self.look_at_backlog()

    def take(self, outbound_id: str, fields: dict[bytes, bytes], fresh: bool) -> None:
        """Handle an entry, unless it is being handled already."""
        if outbound_id in self._entries:
            return
        instance_id, limits, now_ms = self._settings.instance_id, self._settings.limits, self._clock.now_ms()
        try:
            request = parse_entry(
                fields, instance_id=instance_id, outbound_id=outbound_id, now_ms=now_ms, limits=limits
            )
        except InvalidCommand as error:
            self._invalid(Entry(instance_id, outbound_id), fields, error)
            return
        if isinstance(request, SupersededHint):
            look_again(request, self._queues, self._effects)
        elif isinstance(request, CancelRequest):
            self._cancellation.take(request, Entry(instance_id, outbound_id))
        elif not self._duplicates.take(request):
            self._begin(request, fresh)

    def repeat(self, request: CommandRequest, anew: bool) -> None:
        """Take an entry by which a command came again; `anew`: begin it, whatever its verdict was here."""
        if anew or not self._duplicates.take(request):
            self._begin(request, fresh=False)

    # Entries that are no command

    def _invalid(self, entry: Entry, fields: dict[bytes, bytes], error: InvalidCommand) -> None:
        self._entries.add_other(entry)
        if error.command_id is None:
            self._metrics.deadletters.inc()
            log.warning("deadletter", outbound_id=entry.outbound_id, error=str(error))
            letter = Discard(entry, ignore, error=str(error), fields=letter_fields(fields))
            self._effects.submit(letter, DeadLetter(entry))
            return
        command = Command(error.command_id)
        event = decide(command, "refuse", reason=INVALID_COMMAND, detail=str(error), entry=entry)
        self._effects.submit(Open(event, entry, ignore), Refusal(entry, event, fields))

    def refused(self, refusal: Refusal, result: MoveResult) -> None:
        """The ledger answered the verdict on an entry that is no valid command."""
        entry, event = refusal.entry, refusal.event
        self._entries.remove_other(entry)
        if result.status is Status.OK:
            self._commands.committed(event)
        elif result.status is Status.ERROR:
            error, fields = f"{event.detail}; {result.detail}", letter_fields(refusal.fields)
            self._effects.submit(Discard(entry, ignore, error=error, fields=fields, events=(event,)))
        elif (known := command_of(event, result)) is not None:
            self._end_of_redelivered(known, entry, event.detail)

    def _end_of_redelivered(self, command: Command, entry: Entry, detail: str) -> None:
        """An earlier process, with other limits, accepted the entry as a command."""
        policy = policy_at("restart", command.state, None, self._clock.now_ms())
        if policy is REMOVE:
            self._effects.submit(Discard(entry, ignore))
        elif isinstance(policy, Fire):
            verdict = decide(command, policy.trigger, reason=policy.reason, detail=detail, entry=entry)
            self._effects.submit(Step(verdict, entry, ignore))
        else:
            log_unknown(command)

    def discarded(self, letter: DeadLetter, result: MoveResult) -> None:
        """The ledger answered a dead letter."""
        self._entries.remove_other(letter.entry)

    # Commands

    def _begin(self, request: CommandRequest, fresh: bool) -> None:
        in_flight = InFlightCommand(request, Command(request.command_id), fresh)
        event = in_flight.pending = self._first_event(in_flight)
        self._commands.hold(in_flight)
        self._queues.backlog.opening(request.outbound_id)
        first = Open(event, in_flight.entry, ignore, request)
        opening = Opening(in_flight, event)
        self._effects.submit(first, opening)
        send = None if event.terminal else self._line_up(in_flight, event)
        opening.moves = (first, send) if send else (first,)

    def _first_event(self, in_flight: InFlightCommand) -> CommandEvent:
        command, request, imei = in_flight.command, in_flight.request, in_flight.request.imei
        refuse = partial(decide, command, "refuse", request=request)
        if (refusal := self._policy.refusal(request)) is not None:
            return refuse(reason=NOT_ALLOWED, detail=refusal)
        if self._clock.now_ms() >= request.expires_at:
            return decide(command, "expire", reason=EXPIRED, request=request)
        if not self._queues.awaits(imei):
            if request.waits:  # it is parked as soon as it is accepted
                return decide(command, "accept", request=request)
            return refuse(reason=DEVICE_NOT_CONNECTED)
        if self._queues.waiting(imei) >= self._settings.queue_limit:
            return refuse(reason=QUEUE_FULL)
        if (excess := self._policy.excess(request)) is not None:
            return refuse(reason=NOT_ALLOWED, detail=excess)
        link = self._queues.link_of(imei)
        codec = codec_for(request.codec, link is not None and link.speaks)
        return decide(command, "accept", request=request, codec=codec)

    def _line_up(self, in_flight: InFlightCommand, accepted: CommandEvent) -> Step | None:
        """Queue `in_flight`. For a free device, return its `sent`, for the same call as its `queued`.

        Only for a first delivery: the ledger of a redelivered entry may be further than `queued`.
        """
        link = self._queues.link_of(in_flight.request.imei)
        if link is None:
            self._queues.offline.doubt(in_flight)
            self._commands.wait(in_flight)
            return None
        queue = self._queues.queue_of(link)
        alone = (
            queue.idle
            and not queue.held
            and link.writable
            and in_flight.fresh
            and not self._commands.stopping
        )
        self._queues.join(in_flight, queue)
        if not alone:
            return None
        queue.writes.begin()
        send = decide(
            evolve(in_flight.command, accepted),
            "send",
            request=in_flight.request,
            session_id=link.session_id,
            codec=codec_for(in_flight.request.codec, link.speaks),
            origin=link.origin,
        )
        return self._commands.submit_step(in_flight, send)

    def opened(self, opening: Opening, result: MoveResult) -> None:
        """The ledger answered the first move; a `sent` of the same call is answered next and stays pending.

        A redelivery goes on from the state in the ledger, unless the last move there is of this very call. If
        the command has ended there, the answer to that `sent` changes nothing and is not waited for.
        """
        in_flight, event = opening.in_flight, opening.event
        self._queues.backlog.opened(in_flight.request.outbound_id)
        if len(opening.moves) == 1:
            in_flight.pending = None
        self._commands.heard(in_flight, result)
        if result.status is Status.OK or (result.status is Status.REDELIVERED and opening.made(result.token)):
            self._commands.apply(in_flight, event)
        elif result.status is Status.REDELIVERED:
            self._recover(in_flight, result)
        elif result.status is Status.ERROR:
            self._commands.give_up(in_flight, result.detail)
        else:
            self._commands.release(in_flight)
        opening.moves = ()  # or the moves and their receiver keep each other alive
        decisive = in_flight.pending is None or has_ended(in_flight.command)
        if decisive and in_flight.request.outbound_id in self._entries:
            self._settle_in(in_flight)

    def _recover(self, in_flight: InFlightCommand, result: MoveResult) -> None:
        """The ledger knows this entry already: go on from the state in the ledger."""
        self._queues.place_as(in_flight, result.confirm(in_flight.request))
        in_flight.command = result.command(in_flight.request.command_id)
        if not in_flight.moved_in:
            self._queues.keep(in_flight)

    def _settle_in(self, in_flight: InFlightCommand) -> None:
        """Queue an open command, unless `fsm.redelivery` says otherwise."""
        policy = policy_at(
            "restart",
            in_flight.command.state,
            in_flight.request,
            self._clock.now_ms(),
            stopping=self._commands.stopping,
            absent=self._is_absent(in_flight),
        )
        if policy is REMOVE or policy is LEAVE:
            self._drop(in_flight, policy)
            return
        if isinstance(policy, Fire):
            self._commands.propose(Proposal(in_flight, policy.trigger, {"reason": policy.reason}))
        elif isinstance(policy, Park):
            self._commands.park(Parking(in_flight, "shutdown" if self._commands.stopping else "absence"))
        self._go_on(in_flight)

    def _is_absent(self, in_flight: InFlightCommand) -> bool:
        """Whether the device of a command that is new here is neither connected nor expected."""
        request = in_flight.request
        newly = in_flight.moved_in or (in_flight.fresh and request.waits)
        return newly and not self._queues.awaits(request.imei)

    def _drop(self, in_flight: InFlightCommand, policy: Policy) -> None:
        """There is nothing to do for the command here; its entry is removed, if that is the policy."""
        self._commands.release(in_flight)
        if policy is REMOVE:
            self._effects.submit(Discard(in_flight.entry, ignore))
        else:
            log_unknown(in_flight.command)

    def _go_on(self, in_flight: InFlightCommand) -> None:
        self._commands.resume(in_flight)  # a cancel that came meanwhile counts before anything is sent
        if in_flight.decided:
            return
        queue = self._queues.queue_with(in_flight)
        if queue is not None:
            self._commands.go_on(queue)
        elif not self._queues.offline.has(in_flight):
            self._commands.wait(in_flight)


def log_unknown(command: Command) -> None:
    """Log a command that is left to a gateway of another version."""
    log.error("command_state_unknown", command_id=command.command_id, state=command.state)

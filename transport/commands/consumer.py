"""The consumer of the outbound stream: entries are parsed, opened in the ledger, and queued.

Owns the question whether an entry is being handled already (`receive`), and the first move of each command:
`_begin` submits its first event, and `_opened` goes on from what the ledger answers. A new entry for a free
device carries `queued` and `sent` in one call. A redelivered entry goes on from the state in the ledger.

Nothing here waits. An entry stays pending in Redis until the move that ends its command removes it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import structlog

from fsm.command import SENT, Command, CommandRequest, decide, evolve
from fsm.entries import letter_fields
from fsm.errors import InvalidCommand
from fsm.events import CommandEvent
from fsm.moves import Discard, Entry, Move, MoveResult, Open, Status, Step
from fsm.outbound import CancelRequest, parse_entry, verb_allowed
from fsm.reasons import (
    DEVICE_NOT_CONNECTED,
    EXPIRED,
    GATEWAY_RESTART,
    GATEWAY_SHUTDOWN,
    INTERNAL_ERROR,
    INVALID_COMMAND,
    NOT_ALLOWED,
    QUEUE_FULL,
    CommandReason,
)
from fsm.serial import codec_for
from transport.commands.cancellation import Cancellation
from transport.commands.dispatcher import Dispatcher
from transport.commands.duplicates import DuplicateEntries
from transport.commands.in_flight import log_verdict
from transport.commands.in_flight_command import InFlightCommand
from transport.commands.notes import ignore
from transport.ports import LedgerPort

log = structlog.get_logger("telgw.commands")

RESUME_BELOW = 0.9
"""Share of the commands limit below which new entries are read again."""


class CommandConsumer:
    """Takes entries from the reader of the outbound stream; see the module."""

    def __init__(self, dispatcher: Dispatcher, ledger: LedgerPort) -> None:
        self._dispatcher = dispatcher
        self._commands = dispatcher.commands
        self._settings = dispatcher.settings
        self._clock = dispatcher.clock
        self._ledger = ledger
        self._cancellation = Cancellation(dispatcher, ledger)
        self._duplicates = DuplicateEntries(dispatcher, ledger, partial(self._begin, fresh=False))
        self._answering: set[str] = set()  # entries without a valid command, until the ledger has answered
        self._paused = False

    def may_read(self) -> bool:
        """Whether new entries may be read: not while Redis refuses writes, nor while too many are held."""
        held, limit = len(self._commands), self._settings.commands_limit
        self._paused = held >= limit or (self._paused and held >= limit * RESUME_BELOW)
        return self._ledger.healthy and not self._paused

    def receive(self, entries: list[tuple[str, dict[bytes, bytes]]], fresh: bool) -> None:
        """Handle entries in stream order; those that are being handled already are skipped."""
        for outbound_id, fields in entries:
            in_hand = (
                self._commands.holds(outbound_id)
                or outbound_id in self._answering
                or self._cancellation.answering(outbound_id)
                or self._duplicates.answering(outbound_id)
            )
            if not in_hand:
                self._take(outbound_id, fields, fresh)

    def _take(self, outbound_id: str, fields: dict[bytes, bytes], fresh: bool) -> None:
        entry = Entry(self._settings.instance_id, outbound_id)
        try:
            request = parse_entry(
                fields,
                instance_id=entry.instance_id,
                outbound_id=outbound_id,
                now_ms=self._clock.now_ms(),
                limits=self._settings.limits,
            )
        except InvalidCommand as error:
            self._invalid(entry, fields, error)
            return
        if isinstance(request, CancelRequest):
            self._cancellation.take(request, entry)
        elif not self._duplicates.take(request, entry):
            self._begin(request, fresh)

    # Entries that are no command

    def _invalid(self, entry: Entry, fields: dict[bytes, bytes], error: InvalidCommand) -> None:
        self._answering.add(entry.outbound_id)
        if error.command_id is None:
            self._dispatcher.metrics.deadletters.inc()
            log.warning("deadletter", outbound_id=entry.outbound_id, error=str(error))
            done = partial(self._answered, entry)
            self._ledger.submit(Discard(entry, done, error=str(error), fields=letter_fields(fields)))
            return
        command = Command(error.command_id)
        event = decide(command, "refuse", reason=INVALID_COMMAND, detail=str(error), entry=entry)
        self._ledger.submit(Open(event, entry, partial(self._refused, entry, event, fields)))

    def _refused(
        self, entry: Entry, event: CommandEvent, fields: dict[bytes, bytes], result: MoveResult
    ) -> None:
        self._answering.discard(entry.outbound_id)
        if result.status is Status.OK:
            self._dispatcher.metrics.command(event)
            log_verdict(event)
        elif result.status is Status.ERROR:
            error = f"{event.detail}; {result.detail}"
            self._ledger.submit(
                Discard(entry, ignore, error=error, fields=letter_fields(fields), events=(event,))
            )
        elif result.status is Status.REDELIVERED:
            self._end_of_redelivered(entry, event, result)

    def _end_of_redelivered(self, entry: Entry, event: CommandEvent, result: MoveResult) -> None:
        """An earlier process, with other limits, accepted the entry as a command."""
        command = Command(
            event.command_id, result.state, result.seq, session_id=result.session_id, codec=result.codec
        )
        if command.terminal:
            self._ledger.submit(Discard(entry, ignore))
            return
        reason: CommandReason = GATEWAY_RESTART if command.state == SENT else INTERNAL_ERROR
        verdict = decide(command, "fail", reason=reason, detail=event.detail, entry=entry)
        self._ledger.submit(Step(verdict, entry, ignore))

    def _answered(self, entry: Entry, result: MoveResult) -> None:
        self._answering.discard(entry.outbound_id)

    # Commands

    def _begin(self, request: CommandRequest, fresh: bool) -> None:
        in_flight = InFlightCommand(request, Command(request.command_id), fresh)
        event = self._first_event(request)
        in_flight.pending = event
        self._commands.hold(in_flight)
        folded = False
        moves: list[Move] = []

        def opened(result: MoveResult) -> None:
            ours = any(result.token == move.token for move in moves if isinstance(move, Open | Step))
            moves.clear()  # or they and this function keep each other alive
            self._opened(in_flight, event, folded, ours, result)

        moves.append(Open(event, in_flight.entry, opened, request))
        if not event.terminal:
            send = self._line_up(in_flight, event)
            if send is not None:
                folded = True
                moves.append(send)
        self._ledger.submit(*moves)

    def _first_event(self, request: CommandRequest) -> CommandEvent:
        command, imei = Command(request.command_id), request.imei
        if not self._allowed(request):
            return decide(command, "refuse", reason=NOT_ALLOWED, request=request)
        if self._clock.now_ms() >= request.expires_at:
            return decide(command, "expire", reason=EXPIRED, request=request)
        if not self._dispatcher.awaits(imei):
            return decide(command, "refuse", reason=DEVICE_NOT_CONNECTED, request=request)
        if self._dispatcher.waiting(imei) >= self._settings.queue_limit:
            return decide(command, "refuse", reason=QUEUE_FULL, request=request)
        link = self._dispatcher.link_of(imei)
        codec = codec_for(request.codec, link is not None and link.speaks)
        return decide(command, "accept", request=request, codec=codec)

    def _allowed(self, request: CommandRequest) -> bool:
        return verb_allowed(request.payload, self._settings.allow_verbs)

    def _line_up(self, in_flight: InFlightCommand, accepted: CommandEvent) -> Step | None:
        """Queue `in_flight`. For a free device, return its `sent`, for the same call as its `queued`.

        Only for a first delivery: the ledger of a redelivered entry may be further than `queued`.
        """
        link = self._dispatcher.link_of(in_flight.request.imei)
        if link is None:
            self._dispatcher.offline.doubt(in_flight)
            self._dispatcher.await_device(in_flight)
            return None
        queue = self._dispatcher.queue_of(link)
        alone = queue.idle and link.writable and in_flight.fresh and not self._dispatcher.stopping
        queue.join(in_flight)
        if not alone:
            return None
        queue.writes.begin()
        send = decide(
            evolve(in_flight.command, accepted),
            "send",
            request=in_flight.request,
            session_id=link.session_id,
            codec=codec_for(in_flight.request.codec, link.speaks),
        )
        return self._commands.step(in_flight, send)

    def _opened(
        self, in_flight: InFlightCommand, event: CommandEvent, folded: bool, ours: bool, result: MoveResult
    ) -> None:
        """The ledger answered the first move; a `sent` of the same call is answered next and stays pending.

        Args:
            folded: the same call carries `sent`.
            ours: the last move in the ledger is of this very call, which was repeated because its reply was
                lost. A redelivery of anything else goes on from the state in the ledger.
        """
        if not folded:
            in_flight.pending = None
        if result.now_ms:
            self._clock.sync(result.now_ms)
        if result.status is not Status.OK:
            self._dispatcher.metrics.overruled.labels(result.status).inc()
        if result.status is Status.OK or (result.status is Status.REDELIVERED and ours):
            self._apply(in_flight, event)
        elif result.status is Status.REDELIVERED:
            self._recover(in_flight, result)
        elif result.status is Status.ERROR:
            self._commands.give_up(in_flight, result.detail)
        else:
            self._commands.release(in_flight)
        if in_flight.pending is None and self._commands.holds(in_flight.request.outbound_id):
            self._settle_in(in_flight)

    def _apply(self, in_flight: InFlightCommand, event: CommandEvent) -> None:
        in_flight.command = evolve(in_flight.command, event)
        self._dispatcher.metrics.command(event)
        if event.terminal:
            self._commands.recent_outcomes.add(event)
            self._commands.release(in_flight)
            log_verdict(event)

    def _recover(self, in_flight: InFlightCommand, result: MoveResult) -> None:
        """The ledger knows this entry already: go on from the state in the ledger."""
        request = in_flight.request
        in_flight.request = replace(request, accepted_at=result.accepted_at or request.accepted_at)
        in_flight.command = Command(
            request.command_id, result.state, result.seq, session_id=result.session_id, codec=result.codec
        )
        if in_flight.command.terminal:
            self._commands.release(in_flight)
            self._ledger.submit(Discard(in_flight.entry, ignore))
        elif not in_flight.moved_in:
            self._dispatcher.keep(in_flight)

    def _settle_in(self, in_flight: InFlightCommand) -> None:
        """Queue an open command, unless it has expired or the process restarts or stops."""
        if in_flight.command.state == SENT:
            self._commands.propose(in_flight, "fail", reason=GATEWAY_RESTART)
        elif self._dispatcher.stopping:
            self._commands.propose(in_flight, "fail", reason=GATEWAY_SHUTDOWN)
        elif self._clock.now_ms() >= in_flight.request.expires_at:
            self._commands.propose(in_flight, "expire", reason=EXPIRED)
        elif in_flight.moved_in and not self._dispatcher.awaits(in_flight.request.imei):
            self._commands.propose(in_flight, "fail", reason=DEVICE_NOT_CONNECTED)
        self._commands.resume(in_flight)  # a cancel that came meanwhile counts before anything is sent
        if in_flight.decided:
            return
        if in_flight.queue is not None:
            in_flight.queue.pump()
        elif not self._dispatcher.offline.has(in_flight):
            self._dispatcher.await_device(in_flight)

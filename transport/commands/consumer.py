"""Outbound entries become commands: judged, opened in the ledger, and put in line."""

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
)
from fsm.serial import codec_for
from transport.commands.cancellation import Cancels
from transport.commands.dispatcher import Dispatcher
from transport.commands.duplicates import Repeats
from transport.commands.in_flight import log_verdict
from transport.commands.in_flight_command import Flight
from transport.commands.notes import ignore
from transport.ports import LedgerPort

log = structlog.get_logger("telgw.commands")

RESUME_BELOW = 0.9
"""Share of the commands limit below which new entries are read again."""


class Intake:
    """Takes what the reader of the outbound stream hands over. Nothing here waits."""

    def __init__(self, dispatcher: Dispatcher, ledger: LedgerPort) -> None:
        self._dispatcher = dispatcher
        self._flights = dispatcher.flights
        self._settings = dispatcher.settings
        self._clock = dispatcher.clock
        self._ledger = ledger
        self._cancels = Cancels(dispatcher, ledger)
        self._repeats = Repeats(dispatcher, ledger, partial(self._begin, fresh=False))
        self._answering: set[str] = set()  # entries that are being answered without a flight
        self._paused = False

    def may_read(self) -> bool:
        """Whether new entries may be taken: not while Redis refuses writes, nor while too many are held."""
        held, limit = len(self._flights), self._settings.commands_limit
        self._paused = held >= limit or (self._paused and held >= limit * RESUME_BELOW)
        return self._ledger.healthy and not self._paused

    def receive(self, entries: list[tuple[str, dict[bytes, bytes]]], fresh: bool) -> None:
        """Take entries, in stream order; those already in hand say nothing new."""
        for outbound_id, fields in entries:
            in_hand = (
                self._flights.holds(outbound_id)
                or outbound_id in self._answering
                or self._cancels.answering(outbound_id)
                or self._repeats.answering(outbound_id)
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
            self._cancels.take(request, entry)
        elif not self._repeats.take(request, entry):
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
        """The entry was a command to an earlier process, whose limits were others."""
        command = Command(
            event.command_id, result.state, result.seq, session_id=result.session_id, codec=result.codec
        )
        if command.terminal:
            self._ledger.submit(Discard(entry, ignore))
            return
        reason = GATEWAY_RESTART if command.state == SENT else INTERNAL_ERROR
        verdict = decide(command, "fail", reason=reason, detail=event.detail, entry=entry)
        self._ledger.submit(Step(verdict, entry, ignore))

    def _answered(self, entry: Entry, result: MoveResult) -> None:
        self._answering.discard(entry.outbound_id)

    # Commands

    def _begin(self, request: CommandRequest, fresh: bool) -> None:
        flight = Flight(request, Command(request.command_id), fresh)
        event = self._first_event(request)
        flight.pending = event
        self._flights.hold(flight)
        folded = False
        moves: list[Move] = []

        def opened(result: MoveResult) -> None:
            ours = any(result.token == move.token for move in moves if isinstance(move, Open | Step))
            moves.clear()  # or they and this function keep each other alive
            self._opened(flight, event, folded, ours, result)

        moves.append(Open(event, flight.entry, opened, request))
        if not event.terminal:
            send = self._line_up(flight, event)
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

    def _line_up(self, flight: Flight, accepted: CommandEvent) -> Step | None:
        """Put `flight` in line. To a free device its `sent` travels in the same call as its `queued`.

        Only a first delivery may be folded so: the ledger of a redelivered entry may be ahead of `queued`.
        """
        link = self._dispatcher.link_of(flight.request.imei)
        if link is None:
            self._dispatcher.absent.doubt(flight)
            self._dispatcher.await_device(flight)
            return None
        lane = self._dispatcher.lane_of(link)
        alone = lane.idle and link.writable and flight.fresh and not self._dispatcher.stopping
        lane.join(flight)
        if not alone:
            return None
        lane.queue.begin()
        send = decide(
            evolve(flight.command, accepted),
            "send",
            request=flight.request,
            session_id=link.session_id,
            codec=codec_for(flight.request.codec, link.speaks),
        )
        return self._flights.step(flight, send)

    def _opened(
        self, flight: Flight, event: CommandEvent, folded: bool, ours: bool, result: MoveResult
    ) -> None:
        """The ledger answered the first move; a folded `sent` is answered next and stays pending.

        `ours` tells that the ledger's last move is one of this very call: its reply was lost, and it was
        repeated. A redelivery of anything else goes on from where the ledger stands.
        """
        if not folded:
            flight.pending = None
        if result.now_ms:
            self._clock.sync(result.now_ms)
        if result.status is not Status.OK:
            self._dispatcher.metrics.overruled.labels(result.status).inc()
        if result.status is Status.OK or (result.status is Status.REDELIVERED and ours):
            self._apply(flight, event)
        elif result.status is Status.REDELIVERED:
            self._recover(flight, result)
        elif result.status is Status.ERROR:
            self._flights.give_up(flight, result.detail)
        else:
            self._flights.release(flight)
        if flight.pending is None and self._flights.holds(flight.request.outbound_id):
            self._settle_in(flight)

    def _apply(self, flight: Flight, event: CommandEvent) -> None:
        flight.command = evolve(flight.command, event)
        self._dispatcher.metrics.command(event)
        if event.terminal:
            self._flights.verdicts.add(event)
            self._flights.release(flight)
            log_verdict(event)

    def _recover(self, flight: Flight, result: MoveResult) -> None:
        """The ledger has known this entry before this process did: go on from where it stands."""
        request = flight.request
        flight.request = replace(request, accepted_at=result.accepted_at or request.accepted_at)
        flight.command = Command(
            request.command_id, result.state, result.seq, session_id=result.session_id, codec=result.codec
        )
        if flight.command.terminal:
            self._flights.release(flight)
            self._ledger.submit(Discard(flight.entry, ignore))
        elif not flight.moved_in:
            self._dispatcher.keep(flight)

    def _settle_in(self, flight: Flight) -> None:
        """An open command takes its place, unless time or a restart has overtaken it."""
        if flight.command.state == SENT:
            self._flights.propose(flight, "fail", reason=GATEWAY_RESTART)
        elif self._dispatcher.stopping:
            self._flights.propose(flight, "fail", reason=GATEWAY_SHUTDOWN)
        elif self._clock.now_ms() >= flight.request.expires_at:
            self._flights.propose(flight, "expire", reason=EXPIRED)
        elif flight.moved_in and not self._dispatcher.awaits(flight.request.imei):
            self._flights.propose(flight, "fail", reason=DEVICE_NOT_CONNECTED)
        self._flights.resume(flight)  # a cancel that came meanwhile is heard before anything is sent
        if flight.decided:
            return
        if flight.lane is not None:
            flight.lane.pump()
        elif not self._dispatcher.absent.has(flight):
            self._dispatcher.await_device(flight)

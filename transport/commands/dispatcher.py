"""Commands and connections brought together: who waits for whom, and what becomes due."""

from __future__ import annotations

from typing import Any

from fsm.command import QUEUED, SENT, Answer
from fsm.deadlines import Deadlines
from fsm.reasons import (
    DELIVERY_TIMEOUT,
    DEVICE_NOT_CONNECTED,
    EXPIRED,
    GATEWAY_SHUTDOWN,
    RESPONSE_TIMEOUT,
    SUPERSEDED,
)
from transport.clock import Clock
from transport.commands.device_queue import Lane, published
from transport.commands.in_flight import Flights
from transport.commands.in_flight_command import CommandQueue, Flight
from transport.commands.notes import Notes
from transport.commands.offline import Absent
from transport.commands.recent_outcomes import Verdicts
from transport.metrics import Metrics
from transport.ports import LedgerPort, Link
from transport.settings import Settings
from transport.teltonika.command import TYPE_ANSWER, Message
from transport.teltonika.frame import CODEC_12
from transport.teltonika.message_json import CODEC_NAMES


class Dispatcher:
    """Owns the lanes of this instance's connections. Nothing here waits for anything."""

    def __init__(
        self, settings: Settings, boot_id: str, clock: Clock, ledger: LedgerPort, metrics: Metrics
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.metrics = metrics
        self.notes = Notes(ledger, metrics, settings.instance_id, boot_id, clock.monotonic)
        self.absent = Absent(clock.monotonic(), settings.reconnect_grace)
        self.flights = Flights(
            clock,
            ledger,
            self.notes,
            metrics,
            Verdicts(settings.retention, clock.monotonic),
            on_left=self._on_left,
            on_committed=self._on_committed,
            on_displaced=self._on_displaced,
            on_speaks=self._on_speaks,
            on_returned=self._on_returned,
        )
        self.stopping = False
        self.links: dict[str, Link] = {}  # by imei; the newest connection of each device
        self._lanes: dict[str, Lane] = {}  # by session_id; only sessions that had a command
        self._out: dict[str, Lane] = {}  # by session_id; lanes with a command out or an answer owed
        self._responses: Deadlines[Flight] = Deadlines()
        self._graces: Deadlines[Flight] = Deadlines()

    # Connections

    def arrived(self, link: Link) -> None:
        """A device is here; the commands that wait for it get in line."""
        self.links[link.imei] = link
        for flight in self.absent.take(link.imei):
            self._graces.cancel(flight)
            self.lane_of(link).join(flight)

    def left(self, link: Link, reason: str) -> None:
        """A connection is gone. Its waiting commands wait for the device, here or elsewhere."""
        if self.links.get(link.imei) is link:
            del self.links[link.imei]
            self.absent.left(link.imei, self.clock.monotonic())
        lane = self._lanes.pop(link.session_id, None)
        if lane is not None:
            self._out.pop(link.session_id, None)
            for flight in lane.close(reason):
                self.await_device(flight)

    def quiet(self, link: Link) -> None:
        """The connection is between frames, with everything acknowledged: the moment to write."""
        lane = self._lanes.get(link.session_id)
        if lane is not None:
            lane.pump()

    def answer(self, link: Link, message: Message) -> bool:
        """The device sent a message. Whether that was an answer or a ping, and has been dealt with."""
        if _is_ping(message):
            self.metrics.pings.inc()
            return True
        lane = self._lanes.get(link.session_id)
        if lane is None or not lane.answer(message):
            link.speaks = link.speaks or message.serial
            self.notes.unsolicited(link, published(message.payload, CODEC_NAMES[message.codec]))
            return False
        if lane.idle:
            self._out.pop(link.session_id, None)
        return True

    def link_of(self, imei: str) -> Link | None:
        """The device's open connection."""
        link = self.links.get(imei)
        return None if link is None or link.closed else link

    def lane_of(self, link: Link) -> Lane:
        """The connection's lane, made when its first command comes."""
        lane = self._lanes.get(link.session_id)
        if lane is None:
            lane = self._lanes[link.session_id] = Lane(self, link)
        return lane

    # Places

    def awaits(self, imei: str) -> bool:
        """Whether a command for the device may be taken: it is here, or expected back."""
        return self.link_of(imei) is not None or self.absent.expected(imei, self.clock.monotonic())

    def waiting(self, imei: str) -> int:
        """How many commands wait for the device here."""
        link = self.link_of(imei)
        lane = self._lanes.get(link.session_id) if link else None
        return len(lane.queue.waiting) if lane else self.absent.count(imei)

    def await_device(self, flight: Flight) -> None:
        """`flight` gets in line if its device is here, and else waits for it, for the grace at most."""
        link = self.link_of(flight.request.imei)
        if link is not None:
            self.lane_of(link).join(flight)
        else:
            self.absent.add(flight)
            self._graces.set(flight, self.clock.monotonic() + self.settings.reconnect_grace)
        if self.stopping:
            self._stop_flight(flight)
        elif flight.lane is not None:
            flight.lane.pump()

    def recalled(self) -> None:
        """It is known who was here before the start: whoever waits for somebody else waits no longer."""
        now = self.clock.monotonic()
        for flight in self.absent.recalled(now):
            self._graces.set(flight, now)

    def keep(self, flight: Flight) -> None:
        """`flight` was taken by a process before this one: it waits for its device for the whole grace."""
        self.absent.trust(flight)
        if self.absent.has(flight):
            self._graces.set(flight, self.clock.monotonic() + self.settings.reconnect_grace)

    def _on_left(self, flight: Flight) -> None:
        self._responses.cancel(flight)
        self._graces.cancel(flight)
        self.absent.discard(flight)
        lane, flight.lane = flight.lane, None
        if lane is not None:
            lane.leave(flight)
            if lane.idle:
                self._out.pop(lane.link.session_id, None)
            else:
                lane.pump()

    def _on_committed(self, flight: Flight) -> None:
        if flight.lane is not None:
            flight.lane.committed(flight)

    def _on_displaced(self, flight: Flight) -> None:
        """The registry names another holder: the connection is superseded, its commands follow the device."""
        lane = flight.lane
        if lane is None:
            return
        self._put_back(lane)
        if not lane.link.closed:
            lane.link.shut(SUPERSEDED)

    def _on_speaks(self, flight: Flight) -> None:
        """Redis knows the device as one that speaks by itself."""
        if flight.lane is not None:
            flight.lane.link.speaks = True

    def _on_returned(self, flight: Flight) -> None:
        """The command was to go out as codec 12 to such a device: it is the next again, and will take 14."""
        lane = flight.lane
        if lane is None:
            return
        self._put_back(lane)
        self.flights.resume(flight)  # a cancel that came meanwhile is heard before anything is sent
        if self.stopping:
            self._stop_flight(flight)
        lane.pump()

    def _put_back(self, lane: CommandQueue) -> None:
        """The command in the slot was not committed: it waits again, for its device if that has gone."""
        for waiting in lane.put_back():
            self.await_device(waiting)

    # What the lanes ask for

    def propose(self, flight: Flight, trigger: str, **facts: Any) -> None:
        """Something happened to a command."""
        self.flights.propose(flight, trigger, **facts)

    def wrote(self, lane: Lane, flight: Flight) -> None:
        """The command of `lane` was handed to the socket; its time runs from now."""
        self._out[lane.link.session_id] = lane
        self._responses.set(flight, flight.written_at + flight.request.response_timeout)

    def late_answer(self, flight: Flight, answer: Answer) -> None:
        """The device answered a command that already has its verdict."""
        rtt_ms = round((self.clock.monotonic() - flight.written_at) * 1000)
        self.notes.late_response(flight, answer, rtt_ms)

    # Time

    def sweep(self, now: float) -> None:
        """Give every command that is due by `now` (monotonic seconds) its verdict."""
        for lane in list(self._out.values()):
            lane.sample()
            lane.drain_overdue(now, self.settings.drain_timeout)
        for flight in self._responses.due(now):
            expects = flight.request.expect_response
            reason = RESPONSE_TIMEOUT if expects else DELIVERY_TIMEOUT
            self.propose(flight, "time_out", reason=reason, acknowledged=flight.received)
        for flight in self.flights.expiries.due(now):
            self._expire(flight)
        for flight in self._graces.due(now):
            if flight.pending is not None or flight.moving:
                # While its fate is being decided the device may come back: judge again when that is known.
                self._graces.set(flight, now + 1.0)
            else:
                self.propose(flight, "fail", reason=DEVICE_NOT_CONNECTED)
        self.absent.forget(now)
        self.notes.sweep(now)

    def _expire(self, flight: Flight) -> None:
        """A command that is committed but not written is withdrawn; one that is written has its answer to
        wait for, and one that is being committed is judged again before it is written."""
        if flight.command.state != SENT:
            self.propose(flight, "expire", reason=EXPIRED)
        elif not flight.written and flight.pending is None:
            self.propose(flight, "withdraw", reason=EXPIRED)

    # Shutdown

    def stop(self) -> None:
        """Nothing new is sent; commands that are not out fail `gateway_shutdown`."""
        self.stopping = True
        for flight in self.flights:
            self._stop_flight(flight)

    def _stop_flight(self, flight: Flight) -> None:
        if flight.written or flight.decided:
            return
        state = flight.pending.state if flight.pending is not None else flight.command.state
        if state == SENT:
            if flight.pending is None:
                self.propose(flight, "withdraw", reason=GATEWAY_SHUTDOWN)
        elif state == QUEUED:
            self.propose(flight, "fail", reason=GATEWAY_SHUTDOWN)

    @property
    def draining(self) -> int:
        """Commands that are out and have no verdict."""
        return sum(flight.written and not flight.decided for flight in self.flights)

    def give_up(self) -> None:
        """The time to drain is over: commands that are out fail `gateway_shutdown`."""
        for flight in self.flights:
            if flight.written and not flight.decided:
                self.propose(flight, "fail", reason=GATEWAY_SHUTDOWN, acknowledged=flight.received)


def _is_ping(message: Message) -> bool:
    """Whether `message` is the "empty codec 12" network ping of the FM63 family."""
    alone = message.codec == CODEC_12 and message.quantity == 1
    return alone and message.type == TYPE_ANSWER and not message.payload

"""The dispatcher: brings commands and connections together, and owns every deadline of a command.

It owns the newest connection of each device (by IMEI), and the device queue of each session that had a
command. A command is in one place: in the queue of a connection, or among the commands of offline devices.

Inputs come from four sides: connections (`arrived`, `left`, `quiet`, `answer`), the commands in flight (the
``_on_...`` methods, called with what the ledger answered), the device queues (`propose`, `wrote`,
`late_answer`), and time (`sweep`). All of them return at once; nothing here waits or calls Redis.
"""

from __future__ import annotations

from typing import Unpack

from fsm.command import QUEUED, SENT, Answer, Facts
from fsm.deadlines import Deadlines
from fsm.reasons import (
    DELIVERY_TIMEOUT,
    DEVICE_NOT_CONNECTED,
    EXPIRED,
    GATEWAY_SHUTDOWN,
    RESPONSE_TIMEOUT,
    SUPERSEDED,
    CommandReason,
)
from fsm.states import CommandTrigger
from transport.clock import Clock
from transport.commands.device_queue import DeviceQueue, published
from transport.commands.in_flight import InFlightCommands
from transport.commands.in_flight_command import CommandQueue, InFlightCommand
from transport.commands.notes import Notes
from transport.commands.offline import OfflineCommands
from transport.commands.recent_outcomes import RecentOutcomes
from transport.metrics import Metrics
from transport.ports import LedgerPort, Link
from transport.settings import Settings
from transport.teltonika.command import TYPE_ANSWER, Message
from transport.teltonika.frame import CODEC_12
from transport.teltonika.message_json import CODEC_NAMES


class Dispatcher:
    """Assigns commands to connections; see the module."""

    def __init__(
        self, settings: Settings, boot_id: str, clock: Clock, ledger: LedgerPort, metrics: Metrics
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.metrics = metrics
        self.notes = Notes(ledger, metrics, settings.instance_id, boot_id, clock.monotonic)
        self.offline = OfflineCommands(clock.monotonic(), settings.reconnect_grace)
        self.commands = InFlightCommands(
            clock,
            ledger,
            self.notes,
            metrics,
            RecentOutcomes(settings.retention, clock.monotonic),
            on_left=self._on_left,
            on_committed=self._on_committed,
            on_displaced=self._on_displaced,
            on_speaks=self._on_speaks,
            on_returned=self._on_returned,
        )
        self.stopping = False
        self.links: dict[str, Link] = {}  # by imei; the newest connection of each device
        self._queues: dict[str, DeviceQueue] = {}  # by session_id; only sessions that had a command
        self._out: dict[str, DeviceQueue] = {}  # by session_id; queues with a command out or an answer owed
        self._responses: Deadlines[InFlightCommand] = Deadlines()
        self._graces: Deadlines[InFlightCommand] = Deadlines()

    # Connections

    def arrived(self, link: Link) -> None:
        """A device has connected: the commands that wait for it join its queue."""
        self.links[link.imei] = link
        for in_flight in self.offline.take(link.imei):
            self._graces.cancel(in_flight)
            self.queue_of(link).join(in_flight)

    def left(self, link: Link, reason: str) -> None:
        """A connection is closed: its waiting commands wait for the device, here or at another instance."""
        if self.links.get(link.imei) is link:
            del self.links[link.imei]
            self.offline.left(link.imei, self.clock.monotonic())
        queue = self._queues.pop(link.session_id, None)
        if queue is not None:
            self._out.pop(link.session_id, None)
            for in_flight in queue.close(reason):
                self.await_device(in_flight)

    def quiet(self, link: Link) -> None:
        """The connection is between frames and everything is acknowledged: a command may be written."""
        queue = self._queues.get(link.session_id)
        if queue is not None:
            queue.pump()

    def answer(self, link: Link, message: Message) -> bool:
        """The device sent a message; whether it was an answer or a ping, which needs no more handling."""
        if _is_ping(message):
            self.metrics.pings.inc()
            return True
        queue = self._queues.get(link.session_id)
        if queue is None or not queue.answer(message):
            link.speaks = link.speaks or message.serial
            self.notes.unsolicited(link, published(message.payload, CODEC_NAMES[message.codec]))
            return False
        if queue.idle:
            self._out.pop(link.session_id, None)
        return True

    def link_of(self, imei: str) -> Link | None:
        """The device's open connection."""
        link = self.links.get(imei)
        return None if link is None or link.closed else link

    def queue_of(self, link: Link) -> DeviceQueue:
        """The connection's queue, made when its first command comes."""
        queue = self._queues.get(link.session_id)
        if queue is None:
            queue = self._queues[link.session_id] = DeviceQueue(self, link)
        return queue

    # Places

    def awaits(self, imei: str) -> bool:
        """Whether a command for the device may be taken: it is here, or expected back."""
        return self.link_of(imei) is not None or self.offline.expected(imei, self.clock.monotonic())

    def waiting(self, imei: str) -> int:
        """How many commands wait for the device here."""
        link = self.link_of(imei)
        queue = self._queues.get(link.session_id) if link else None
        return len(queue.writes.waiting) if queue else self.offline.count(imei)

    def await_device(self, in_flight: InFlightCommand) -> None:
        """Queue `in_flight` if its device is connected; else it waits, for the grace at most."""
        link = self.link_of(in_flight.request.imei)
        if link is not None:
            self.queue_of(link).join(in_flight)
        else:
            self.offline.add(in_flight)
            self._graces.set(in_flight, self.clock.monotonic() + self.settings.reconnect_grace)
        if self.stopping:
            self._stop_command(in_flight)
        elif in_flight.queue is not None:
            in_flight.queue.pump()

    def recalled(self) -> None:
        """The registry has been read: commands of devices that are not expected back end."""
        now = self.clock.monotonic()
        for in_flight in self.offline.recalled(now):
            self._graces.set(in_flight, now)

    def keep(self, in_flight: InFlightCommand) -> None:
        """`in_flight` was accepted by an earlier process: it waits for its device for the whole grace."""
        self.offline.trust(in_flight)
        if self.offline.has(in_flight):
            self._graces.set(in_flight, self.clock.monotonic() + self.settings.reconnect_grace)

    def _on_left(self, in_flight: InFlightCommand) -> None:
        self._responses.cancel(in_flight)
        self._graces.cancel(in_flight)
        self.offline.discard(in_flight)
        queue, in_flight.queue = in_flight.queue, None
        if queue is not None:
            queue.leave(in_flight)
            if queue.idle:
                self._out.pop(queue.link.session_id, None)
            else:
                queue.pump()

    def _on_committed(self, in_flight: InFlightCommand) -> None:
        if in_flight.queue is not None:
            in_flight.queue.committed(in_flight)

    def _on_displaced(self, in_flight: InFlightCommand) -> None:
        """The registry names another holder: close the connection; its commands follow the device."""
        queue = in_flight.queue
        if queue is None:
            return
        self._put_back(queue)
        if not queue.link.closed:
            queue.link.close(SUPERSEDED)

    def _on_speaks(self, in_flight: InFlightCommand) -> None:
        """Redis knows that the serial port of the device speaks by itself."""
        if in_flight.queue is not None:
            in_flight.queue.link.speaks = True

    def _on_returned(self, in_flight: InFlightCommand) -> None:
        """The ledger refused codec 12 for such a device: the command is next again, with codec 14."""
        queue = in_flight.queue
        if queue is None:
            return
        self._put_back(queue)
        self.commands.resume(in_flight)  # a cancel that came meanwhile counts before anything is sent
        if self.stopping:
            self._stop_command(in_flight)
        queue.pump()

    def _put_back(self, queue: CommandQueue) -> None:
        """The command in the slot was not committed: it waits again, if need be for its device."""
        for waiting in queue.put_back():
            self.await_device(waiting)

    # What the queues ask for

    def propose(self, in_flight: InFlightCommand, trigger: CommandTrigger, **facts: Unpack[Facts]) -> None:
        """Give an input to a command; see `InFlightCommands.propose`."""
        self.commands.propose(in_flight, trigger, **facts)

    def wrote(self, queue: DeviceQueue, in_flight: InFlightCommand) -> None:
        """The command of `queue` was handed to the socket; its time runs from now."""
        self._out[queue.link.session_id] = queue
        self._responses.set(in_flight, in_flight.written_at + in_flight.request.response_timeout)

    def late_answer(self, in_flight: InFlightCommand, answer: Answer) -> None:
        """The device answered a command that already has its verdict."""
        rtt_ms = round((self.clock.monotonic() - in_flight.written_at) * 1000)
        self.notes.late_response(in_flight, answer, rtt_ms)

    # Time

    def sweep(self, now: float) -> None:
        """Give every command that is due by `now` (monotonic seconds) its verdict."""
        for queue in list(self._out.values()):
            queue.sample()
            queue.drain_overdue(now, self.settings.drain_timeout)
        for in_flight in self._responses.due(now):
            expects = in_flight.request.expect_response
            reason: CommandReason = RESPONSE_TIMEOUT if expects else DELIVERY_TIMEOUT
            self.propose(in_flight, "time_out", reason=reason, acknowledged=in_flight.received)
        for in_flight in self.commands.expiries.due(now):
            self._expire(in_flight)
        for in_flight in self._graces.due(now):
            if in_flight.pending is not None or in_flight.moving:
                # An outcome is awaited, and the device may come back meanwhile: check again later.
                self._graces.set(in_flight, now + 1.0)
            else:
                self.propose(in_flight, "fail", reason=DEVICE_NOT_CONNECTED)
        self.offline.forget(now)
        self.notes.sweep(now)

    def _expire(self, in_flight: InFlightCommand) -> None:
        """The time of a command is over.

        A command that is committed and not written is withdrawn. One that is written waits for its answer.
        One that is being committed is checked again before it is written.
        """
        if in_flight.command.state != SENT:
            self.propose(in_flight, "expire", reason=EXPIRED)
        elif not in_flight.written and in_flight.pending is None:
            self.propose(in_flight, "withdraw", reason=EXPIRED)

    # Shutdown

    def stop(self) -> None:
        """Send nothing new; commands that are not written fail `gateway_shutdown`."""
        self.stopping = True
        for in_flight in self.commands:
            self._stop_command(in_flight)

    def _stop_command(self, in_flight: InFlightCommand) -> None:
        if in_flight.written or in_flight.decided:
            return
        state = in_flight.pending.state if in_flight.pending is not None else in_flight.command.state
        if state == SENT:
            if in_flight.pending is None:
                self.propose(in_flight, "withdraw", reason=GATEWAY_SHUTDOWN)
        elif state == QUEUED:
            self.propose(in_flight, "fail", reason=GATEWAY_SHUTDOWN)

    @property
    def draining(self) -> int:
        """How many commands are written and have no verdict."""
        return sum(in_flight.written and not in_flight.decided for in_flight in self.commands)

    def give_up(self) -> None:
        """The time to drain is over: commands that are written fail `gateway_shutdown`."""
        for in_flight in self.commands:
            if in_flight.written and not in_flight.decided:
                self.propose(in_flight, "fail", reason=GATEWAY_SHUTDOWN, acknowledged=in_flight.received)


def _is_ping(message: Message) -> bool:
    """Whether `message` is the "empty codec 12" network ping of the FM63 family."""
    alone = message.codec == CODEC_12 and message.quantity == 1
    return alone and message.type == TYPE_ANSWER and not message.payload

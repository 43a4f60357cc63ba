"""Where each command waits: in the queue of its device's connection, or for its device to connect.

Owns the newest connection of each device, the queue of each session that had a command, and the commands of
devices that are offline. A command is in one place. Nothing here gives a verdict.
"""

from __future__ import annotations

from fsm.command import CommandRequest
from fsm.deadlines import Deadlines
from transport.clock import Clock
from transport.commands.backlog import Backlog
from transport.commands.device_queue import DeviceQueue
from transport.commands.in_flight_command import InFlightCommand
from transport.commands.offline import OfflineCommands
from transport.ports import Link


class DeviceQueues:
    """The places of commands; see the module.

    Attributes:
        links: the newest connection of each device, by IMEI.
        active: by session id, the queues with a command out or an answer owed.
        graces: until when a command waits for its device, monotonic seconds.
        backlog: what the stream held at the start; before it has its order no queue begins a command.
    """

    def __init__(self, clock: Clock, grace: float) -> None:
        self._clock = clock
        self._grace = grace
        self.offline = OfflineCommands(clock.monotonic(), grace)
        self.links: dict[str, Link] = {}
        self.active: dict[str, DeviceQueue] = {}
        self.graces: Deadlines[InFlightCommand] = Deadlines()
        self.backlog = Backlog()
        self._by_session: dict[str, DeviceQueue] = {}
        self._queue_of: dict[InFlightCommand, DeviceQueue] = {}

    # Connections

    def arrived(self, link: Link) -> None:
        """A device has connected: the commands that wait for it join its queue."""
        self.links[link.imei] = link
        for in_flight in self.offline.take(link.imei):
            self.graces.cancel(in_flight)
            self.join(in_flight, self.queue_of(link))

    def left(self, link: Link) -> DeviceQueue | None:
        """A connection is closed; its queue, if it had a command."""
        if self.links.get(link.imei) is link:
            del self.links[link.imei]
            self.offline.left(link.imei, self._clock.monotonic())
        self.active.pop(link.session_id, None)
        return self._by_session.pop(link.session_id, None)

    def link_of(self, imei: str) -> Link | None:
        """The device's open connection."""
        link = self.links.get(imei)
        return None if link is None or link.closed else link

    def find(self, link: Link) -> DeviceQueue | None:
        """The connection's queue, if it had a command."""
        return self._by_session.get(link.session_id)

    def queue_of(self, link: Link) -> DeviceQueue:
        """The connection's queue, made when its first command comes."""
        queue = self._by_session.get(link.session_id)
        if queue is None:
            queue = self._by_session[link.session_id] = DeviceQueue(link, self._clock, self.backlog)
        return queue

    def all(self) -> list[DeviceQueue]:
        """The queue of each session that had a command."""
        return list(self._by_session.values())

    # Places

    def awaits(self, imei: str) -> bool:
        """Whether a command for the device may be taken: it is here, or expected back."""
        return self.link_of(imei) is not None or self.offline.expected(imei, self._clock.monotonic())

    def waiting(self, imei: str) -> int:
        """How many commands wait for the device here."""
        link = self.link_of(imei)
        queue = self.find(link) if link else None
        return len(queue.writes.waiting) if queue else self.offline.count(imei)

    def queue_with(self, in_flight: InFlightCommand) -> DeviceQueue | None:
        """The queue in which `in_flight` waits or is out."""
        return self._queue_of.get(in_flight)

    def join(self, in_flight: InFlightCommand, queue: DeviceQueue) -> None:
        """Put `in_flight` into `queue`."""
        self._queue_of[in_flight] = queue
        queue.join(in_flight)

    def place(self, in_flight: InFlightCommand) -> DeviceQueue | None:
        """Queue `in_flight` if its device is connected; else it waits, for the grace at most."""
        link = self.link_of(in_flight.request.imei)
        if link is not None:
            queue = self.queue_of(link)
            self.join(in_flight, queue)
            return queue
        self._queue_of.pop(in_flight, None)
        self.offline.add(in_flight)
        self._begin_grace(in_flight)
        return None

    def has(self, in_flight: InFlightCommand) -> bool:
        """Whether `in_flight` has a place."""
        return in_flight in self._queue_of or self.offline.has(in_flight)

    def place_as(self, in_flight: InFlightCommand, request: CommandRequest) -> None:
        """More is known of the request, and with that perhaps another place among those of its device."""
        before, in_flight.request = in_flight.place, request
        if in_flight.place == before:
            return
        queue = self._queue_of.get(in_flight)
        if queue is not None:
            queue.reorder(in_flight)
        elif self.offline.has(in_flight):
            self.offline.discard(in_flight)
            self.offline.add(in_flight)

    def leave(self, in_flight: InFlightCommand) -> DeviceQueue | None:
        """`in_flight` gives up its place; the queue that it was in."""
        queue = self._queue_of.pop(in_flight, None)
        if queue is None:
            self.graces.cancel(in_flight)
            self.offline.discard(in_flight)
        return queue

    def keep(self, in_flight: InFlightCommand) -> None:
        """`in_flight` was accepted by an earlier process: it waits for its device for the whole grace."""
        self.offline.trust(in_flight)
        if self.offline.has(in_flight):
            self._begin_grace(in_flight)

    def _begin_grace(self, in_flight: InFlightCommand) -> None:
        self.graces.set(in_flight, self._clock.monotonic() + self._grace)

    def registry_read(self) -> None:
        """The registry has been read: the grace of devices that are not expected back is over."""
        now = self._clock.monotonic()
        for in_flight in self.offline.registry_read(now):
            self.graces.set(in_flight, now)

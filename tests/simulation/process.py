"""A gateway process of a run: it starts, crashes at any await, stops in order, and may never come back."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any

from fsm.outbound import Limits
from store.fleet.ownership import Holder, InstanceHeld
from tests.simulation.sockets import Socket
from tests.simulation.virtual_time import CURRENT, Step
from transport.connection.protocol import DeviceConnection
from transport.daemon.gateway import Gateway
from transport.settings import Settings

if TYPE_CHECKING:
    from tests.simulation.world import World


HOLD = 6.0
"""Seconds for which a device gets no command after it has changed hands."""
FREEZES = (0.7, 3.0, 14.0)
"""About how many seconds a process is stopped."""


def settings(
    instance_id: str, payload: str = "json", *, take_over: bool = False, shards: int = 1
) -> Settings:
    """The defaults, with the times of fleets cut down to those of a run."""
    return Settings(
        instance_id=instance_id,
        take_over=take_over,
        listen=(),
        payload=payload,
        telemetry_shards=shards,
        session_events_rate=0,  # by them the checker tells which session a connection was
        limits=Limits(command_ttl=12.0, response_timeout=5.0),
        drain_timeout=3.0,
        ready_grace=2.0,
        reconnect_grace=5.0,
        queue_limit=6,
        handshake_timeout=4.0,
        takeover_hold=HOLD,
        shutdown_timeout=3.0,
        heartbeat_interval=2.0,
        heartbeat_ttl=6.0,
        janitor_interval=4.0,
        janitor_grace=2.0,
        janitor_min_uptime=10.0,
        max_connections=1000,
    )


class Process:
    """One life of an instance.

    Attributes:
        place: where it runs; who runs there too can see whether it has ended.
        forced: it takes its instance id from whoever has it.
    """

    def __init__(self, world: World, instance_id: str, *, forced: bool = False) -> None:
        self.world = world
        self.instance_id = instance_id
        self.place = world.random.choice(world.places)
        self.forced = forced
        self.dead = False
        self.listening = False
        self.doomed = 0.0
        self.drowsy = 0.0
        self.held: list[Step] | None = None
        self.frozen: list[tuple[float, float]] = []
        self.sockets: list[Socket] = []
        self.kept: set[str] = set()
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.context = contextvars.copy_context()
        self.context.run(CURRENT.set, self)
        shards = world.counts[0] if len(world.counts) == 1 else world.random.choice(world.counts)
        given = settings(instance_id, world.payload, take_over=forced, shards=shards)
        self.gateway = self.context.run(Gateway, given, world.url_of(self))
        self.gateway.clock._epoch_ms += world.random.choice((0, 0, -3_600_000, 3_600_000))
        self._order_sets()
        self.life = self.context.run(asyncio.get_running_loop().create_task, self._live())

    def _order_sets(self) -> None:
        """Sets of objects are walked in the order of their addresses, which no seed can repeat."""
        for name in ("unidentified", "closing"):
            setattr(self.gateway.sessions, name, Ordered())

    async def _live(self) -> None:
        try:
            status = await self.gateway.run(lambda addresses: setattr(self, "listening", True))
        except InstanceHeld:
            status = 2
        self.world.note(f"{self.instance_id} exits with {status}")
        self.world.meet("exit", str(status))
        self.listening = False
        if status == 1:
            self.world.fault("crash", f"a task of {self.instance_id} failed")
        self.end()

    def accept(self, socket: Socket) -> DeviceConnection:
        """A device connects."""
        connection = DeviceConnection(self.gateway.connections)
        self.sockets.append(socket)
        self.world.history.connections[connection.session_id] = socket.device.imei
        self.soon(connection.connection_made, socket)
        return connection

    def soon(self, call: Any, *args: Any) -> None:
        """Call into the gateway, as its event loop would."""
        asyncio.get_running_loop().call_soon(call, *args, context=self.context)

    def freeze(self, seconds: float) -> None:
        """Stop the process; when it goes on, it does not know that it was stopped."""
        if self.held is None:
            self.held = []
            loop = asyncio.get_running_loop()
            self.frozen.append((loop.time(), loop.time() + seconds))
            loop.call_later(seconds, self.thaw, context=self.world.context)  # whoever sleeps wakes nobody

    def thaw(self) -> None:
        """Everything that was due meanwhile happens now, in its order."""
        held, self.held = self.held or [], None
        for step in held:
            self.soon(step)

    @property
    def open(self) -> bool:
        """Whether a device can connect."""
        return self.listening and not self.dead and not self.gateway._stop.is_set()

    def serves(self, session_id: str) -> bool:
        """Whether a session is open here."""
        return any(one.open and one.protocol.session_id == session_id for one in self.sockets)

    def remember(self) -> None:
        """Redis has lost everything: what this process has in hand is known to nobody else."""
        self.kept = {in_flight.request.command_id for in_flight in self.gateway.dispatcher.entries}

    def tempt(self) -> None:
        """A moment at which a doomed process may crash, and a drowsy one freeze: just before or after
        something became true."""
        if self.dead:
            return
        random = self.world.random
        if self.doomed and random.random() < self.doomed:
            self.world.note(f"{self.instance_id} crashes")
            self.world.meet("fate", "a crash")
            self.end()
        elif self.drowsy and random.random() < self.drowsy:
            self.drowsy = 0.0
            self.world.note(f"{self.instance_id} falls asleep")
            self.world.meet("fate", "asleep over a call")
            self.freeze(random.choice(FREEZES) * random.uniform(0.5, 1.5))

    def end(self) -> None:
        """Nothing of this process reaches the world any more."""
        if self.dead:
            return
        self.dead = True
        self.listening = False
        self.world.history.deaths[self.gateway.boot_id] = self.world.clock.wall() * 1000
        self.thaw()
        for socket in self.sockets:
            socket.kill()
        asyncio.get_running_loop().call_soon(self._sweep_up)

    def _sweep_up(self) -> None:
        for task in self.tasks:
            if not task.done():
                task.cancel()


class Presence:
    """Stands in for `transport.daemon.presence.Presence`."""

    def __init__(self, boot_id: str, exposure: object = None, shards: int = 1) -> None:
        self._boot_id = boot_id

    def open(self) -> None:
        """The world knows who lives."""

    def close(self) -> None:
        """The same."""

    def describe(self, interval: float) -> Holder:
        """The process that asks."""
        process = CURRENT.get()
        assert isinstance(process, Process)
        return Holder(self._boot_id, process.place, 1, process.place, interval)


class Ordered(dict[Any, None]):
    """A set that is walked in the order in which it was filled."""

    def add(self, item: Any) -> None:
        self[item] = None

    def discard(self, item: Any) -> None:
        self.pop(item, None)


def task_factory(loop: asyncio.AbstractEventLoop, work: Any, **given: Any) -> asyncio.Task[Any]:
    """Tasks belong to the process in whose name they were started."""
    task = asyncio.Task(work, loop=loop, **given)
    process = CURRENT.get(None)
    if isinstance(process, Process):
        process.tasks[task] = None
    return task

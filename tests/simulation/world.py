"""A whole fleet in one process and on one clock: gateways, devices, a producer, Redis, and what befalls them.

Everything random comes from one generator, so a seed is a run: the same one, every time.
"""

from __future__ import annotations

import asyncio
import contextvars
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from random import Random
from typing import Any
from unittest.mock import patch

import structlog

import store.client
import store.janitor
import store.outbound
import transport.daemon.backend
import transport.link
from tests.checker import Violation, check
from tests.history import History
from tests.simulation.device import Device
from tests.simulation.process import Process, settings, task_factory
from tests.simulation.producer import Producer
from tests.simulation.punctuality import Intervals, late_acks
from tests.simulation.store import Server, SimulatedRedis
from tests.simulation.virtual_time import VirtualClock, VirtualLoop, run
from tests.simulation.weather import Weather

STORMY = 45.0
"""Seconds of faults."""
SETTLING = 120.0
"""Seconds in which a fleet without faults comes to rest: the longest life of a command, and then the adoption
of a dead instance (heartbeat, rounds and grace of the janitor, and its silence after the last error)."""


class World:
    """One run."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.clock = VirtualClock()
        self.weather = Weather(self.random)
        self.history = History()
        self.context = contextvars.copy_context()
        self.trace: list[str] = []
        self.faults: list[Violation] = []
        self.instances = ["gw-a", "gw-b"]
        self.processes: list[Process] = []
        self._urls: dict[str, Process] = {}

    # What its inhabitants ask

    def note(self, line: str) -> None:
        """Remember what happened, for whoever has to understand a failing seed."""
        self.trace.append(f"{self.clock.now - 1000:9.4f} {line}")

    def fault(self, rule: str, text: str) -> None:
        """Something that no promise needs to name went wrong."""
        self.faults.append(Violation(rule, text))

    def url_of(self, process: Process) -> str:
        """A URL by which the clients of `process` find to the store of this world."""
        url = f"redis://run/{len(self._urls)}"
        self._urls[url] = process
        return url

    def connect(self, url: str, *, purpose: str, block: float = 0.0) -> SimulatedRedis:
        """Stands in for `store.client.connect`."""
        return SimulatedRedis(self._urls[url], purpose.partition(":")[2], block)

    def gate(self) -> Process | None:
        """A gateway that accepts connections."""
        found = [process for process in self.processes if process.open]
        return self.random.choice(found) if found else None

    def holder(self, imei: str) -> str | None:
        """Whom the registry names."""
        name = self.server.redis.hget("connections:registry", imei)
        return name.decode() if name else None

    # A run

    async def live(self, *, settle: bool) -> None:
        """Storms; then, with `settle`, calm until everything is at rest."""
        loop = asyncio.get_running_loop()
        self.devices = [Device(self, number) for number in range(1, 5)]
        for name in self.instances:
            self.start(name)
        tasks = [loop.create_task(device.live()) for device in self.devices]
        tasks.append(loop.create_task(Producer(self).live()))
        tasks.append(loop.create_task(self._storms()))
        tasks.append(loop.create_task(self._fates()))
        await asyncio.sleep(STORMY)
        tasks[-1].cancel()
        if settle:
            await self._settle()
        self._collect()

    def start(self, name: str) -> None:
        """Begin a process of the instance."""
        self.note(f"{name} starts")
        if self.alive(name):
            self.history.contested.add(name)
        self.processes.append(Process(self, name))

    def alive(self, name: str) -> list[Process]:
        """The living processes of an instance."""
        return [process for process in self.processes if process.instance_id == name and not process.dead]

    async def _storms(self) -> None:
        while True:
            await asyncio.sleep(self.random.choice((0.5, 2.0, 6.0)) * self.random.uniform(0.5, 1.5))
            if self.weather.calm:
                return
            storm = self.weather.brew(asyncio.get_running_loop().time(), self.instances)
            self.note(f"storm: {storm.kind} until {storm.until - 1000:.1f}")
            if self.random.random() < 0.2:
                self.server.redis.script_flush()

    async def _fates(self) -> None:
        """Crashes, orderly stops, restarts, and two processes of one name."""
        random = self.random
        while True:
            await asyncio.sleep(random.choice((1.0, 4.0, 10.0)) * random.uniform(0.5, 1.5))
            name = random.choice(self.instances)
            living = self.alive(name)
            if not living:
                self.start(name)
                continue
            what = random.random()
            if what < 0.5:
                self.note(f"{name} is doomed")
                living[0].doomed = random.choice((0.5, 0.1, 0.02))
            elif what < 0.7:
                self.note(f"{name} is told to stop")
                living[0].gateway.stop()
            elif what < 0.8:
                self.start(name)
            elif what < 0.95:
                frozen = random.choice((0.7, 5.0, 25.0)) * random.uniform(0.5, 1.5)
                self.note(f"{name} is frozen for {frozen:.1f} s")
                living[0].freeze(frozen)
            asyncio.get_running_loop().call_later(random.uniform(0.1, 30.0), self._revive, name)

    def _revive(self, name: str) -> None:
        if not self.alive(name) and not self.weather.calm:
            self.start(name)

    async def _settle(self) -> None:
        """Faults cease. One instance may be dead for good, the other lives."""
        self.note("calm")
        self.weather.clear()
        for process in self.processes:
            process.doomed = 0.0
            process.thaw()
        first, second = self.random.sample(self.instances, 2)
        lost = self.random.random() < 0.5
        if lost:
            for process in self.alive(second):
                process.end()
        for name in [first] if lost else [first, second]:
            if not any(process.open for process in self.alive(name)):
                self.start(name)
        await asyncio.sleep(SETTLING)
        for _ in range(200):
            if self._at_ease():
                return
            await asyncio.sleep(0.05)

    def _at_ease(self) -> bool:
        """Whether no device is between two connections just now."""
        return all(device.settled for device in self.devices)

    def log(self) -> list[tuple[str, dict[str, str]]]:
        """Everything that was published."""
        found = self.server.redis.xrange("commands:responses")
        return [(entry.decode(), _decoded(fields)) for entry, fields in found]

    def _collect(self) -> None:
        redis, history = self.server.redis, self.history
        text = _decoded
        history.responses = self.log()
        history.telemetry = [text(fields) for _, fields in redis.xrange("telemetry:records")]
        history.registry = text(redis.hgetall("connections:registry"))
        history.tokens = text(redis.hgetall("connections:sessions"))
        for key in redis.keys("commands:state:*"):
            history.ledgers[key.decode().removeprefix("commands:state:")] = text(redis.hgetall(key))
        for name in self.instances:
            stream = f"commands:outbound:{name}"
            history.left[name] = [entry.decode() for entry, _ in redis.xrange(stream)]
            if redis.exists(stream):
                found = redis.xpending_range(stream, "ingestion", "-", "+", 100)
                history.pending[name] = [one["message_id"].decode() for one in found]
        for process in self.processes:
            if not process.dead:
                self._collect_from(process)
        history.ttl = settings("").limits.command_ttl
        history.late_acks = list(late_acks(history, *self._trouble()))

    def _trouble(self) -> tuple[dict[str, Intervals], dict[str, Intervals]]:
        """When the telemetry of each connection was hindered, and when its process was frozen, epoch ms."""
        trouble, frozen = {}, {}
        for process in self.processes:
            for socket in process.sockets:
                name = socket.protocol.session_id
                trouble[name] = self._in_epoch_ms(self.weather.trouble.get(process.instance_id, []))
                frozen[name] = self._in_epoch_ms(process.frozen)
        return trouble, frozen

    def _in_epoch_ms(self, intervals: Intervals) -> Intervals:
        epoch = self.clock.wall() - self.clock.now
        return [((begin + epoch) * 1000, (end + epoch) * 1000) for begin, end in intervals]

    def _collect_from(self, process: Process) -> None:
        gateway = process.gateway
        for imei, link in gateway.hub.sessions.items():
            self.history.live[imei] = (process.instance_id, link.session_id)
        self.history.held += [flight.request.command_id for flight in gateway.dispatcher.flights]


def _decoded(fields: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in fields.items()}


def simulate(seed: int, *, settle: bool) -> tuple[list[Violation], World]:
    """Run a seed; what was violated, and the world for a closer look."""
    world = World(seed)
    play(world, lambda world: world.live(settle=settle))
    return world.faults + check(world.history, at_rest=settle), world


def play(world: World, act: Callable[[World], Awaitable[None]]) -> None:
    """Let `act` happen in `world`, on its clock."""

    async def whole() -> None:
        world.server = Server(world.weather)
        await act(world)

    with _installed(world):
        loop = VirtualLoop(world.clock)
        loop.set_task_factory(task_factory)
        loop.set_exception_handler(lambda loop, context: world.fault("error", _told(context)))
        run(whole(), loop)


def _told(context: dict[str, Any]) -> str:
    return f"{context.get('message')} {context.get('exception')!r}"


@contextmanager
def _installed(world: World) -> Iterator[None]:
    """Time, chance, identity and the ways out of the gateway are those of `world`."""
    replaced: list[tuple[Any, str, Any]] = [
        (transport.daemon.backend, "connect", world.connect),
        (transport.link, "unacknowledged", lambda socket: socket.unacknowledged()),
        (store.client, "random", world.random),
        (store.outbound, "random", world.random),
        (store.janitor, "random", world.random),
        (uuid, "uuid4", lambda: uuid.UUID(int=world.random.getrandbits(128), version=4)),
    ]
    before = structlog.get_config()
    with ExitStack() as stack:
        stack.enter_context(world.clock.installed())
        for where, name, stand_in in replaced:
            stack.enter_context(patch.object(where, name, stand_in))
        structlog.configure(processors=[_recorder(world)], cache_logger_on_first_use=False)
        try:
            yield
        finally:
            structlog.configure(**before)


def _recorder(world: World) -> Callable[..., Any]:
    """Log lines of the gateways become part of the trace."""

    def record(logger: object, method: str, event: dict[str, Any]) -> Any:
        world.note(f"    log {event.pop('event')} {event}")
        raise structlog.DropEvent

    return record

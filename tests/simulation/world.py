"""A whole fleet in one process and on one clock: gateways, devices, a producer, Redis, and what befalls them.

Everything random comes from one generator, so a seed is a run: the same one, every time.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any

from store.fleet.ownership import Holder
from store.keys import Keys
from tests.checker import Violation, check
from tests.history import History
from tests.in_memory.server import Disk, Server
from tests.simulation import collect
from tests.simulation.ack_times import AFTERMATH
from tests.simulation.client import SimulatedRedis
from tests.simulation.device import Device
from tests.simulation.faults import Faults
from tests.simulation.network import Weather, store_of
from tests.simulation.process import HOLD, Process, settings, task_factory
from tests.simulation.producer import LONGEST_ANSWER, WAIT_FOR, Producer
from tests.simulation.stage import installed
from tests.simulation.virtual_time import CURRENT, START, VirtualClock, VirtualLoop, run
from tests.simulation.write_observer import WriteObserver

DEVICES, BUSY, SLEEPY = 50, 5, 2
"""How many devices there are, how many of them the producer asks for something again and again, and how
many of those are asleep most of the time."""
STORMY, ENDLESS = 20.0, 35.0
"""Seconds of faults in a run that comes to rest, and in one that does not."""
LOOK_EVERY = 0.5
LEEWAY = 10.0
"""Seconds for gateways to have their names, for devices to come back, and for the registry to hear of it."""


class World:
    """One run.

    Args:
        counts: into how many shards gateways may spread telemetry; each start of one chooses.
    """

    def __init__(self, seed: int, counts: Sequence[int] = (1,)) -> None:
        self.random = Random(seed)
        self.clock = VirtualClock()
        self.counts = counts
        self.shards = Keys().all_shards({*counts})
        self.weather = Weather(self.random, [store_of(shard) for shard in self.shards])
        self.history = History(hold=1000 * HOLD)
        self.context = contextvars.copy_context()
        self.trace: list[str] = []
        self.met: Counter[tuple[str, str]] = Counter()
        self.faults: list[Violation] = []
        self.instances = ["gw-a", "gw-b"]
        self.places = ("here", "here", "there")
        self.processes: list[Process] = []
        self.devices: list[Device] = []
        self.busy: list[Device] = []
        self.payload = self.random.choice(("json", "json", "json", "raw"))
        self._urls: dict[str, Process] = {}
        self.server = Server(self.clock, lambda: self.weather.oom(self.clock.now))
        self.witness = WriteObserver(self, settings("").janitor_min_uptime)

    # What its inhabitants ask

    def passed(self, moment: float) -> float:
        """Seconds from the begin of the run to `moment`."""
        return moment - START

    def note(self, line: str) -> None:
        """Remember what happened, for whoever has to understand a failing seed."""
        self.trace.append(f"{self.passed(self.clock.now):9.4f} {line}")

    def meet(self, kind: str, which: str) -> None:
        """Count what a run has met, for those who ask whether the runs have met everything."""
        self.met[kind, which] += 1

    def fault(self, rule: str, text: str) -> None:
        """Something went wrong that the history does not tell."""
        self.note(f"FAULT {rule}: {text}")
        self.faults.append(Violation(rule, text))

    def url_of(self, process: Process) -> str:
        """A URL by which the clients of `process` find to the store of this world."""
        url = f"redis://run/{len(self._urls)}"
        self._urls[url] = process
        return url

    def connect(
        self, url: str, *, purpose: str, block: float = 0.0, key_prefix: str = "", near: str = ""
    ) -> SimulatedRedis:
        """Stands in for `store.client.client.connect`."""
        return SimulatedRedis(self._urls[url], purpose.partition(":")[2], block)

    def gate(self) -> Process | None:
        """A gateway that accepts connections."""
        found = [process for process in self.processes if process.open]
        return self.random.choice(found) if found else None

    def holder(self, imei: str) -> str | None:
        """Whom the registry names."""
        name = self.server.keys.cmd_hget(b"connections:registry", imei.encode())
        return name.decode() if name else None

    def alive(self, name: str) -> list[Process]:
        """The living processes of an instance."""
        return [process for process in self.processes if process.instance_id == name and not process.dead]

    def process_of(self, boot_id: str) -> Process | None:
        """The process with this boot id."""
        return next((one for one in self.processes if one.gateway.boot_id == boot_id), None)

    def is_gone(self, holder: Holder) -> bool:
        """Stands in for `transport.daemon.presence.is_gone`."""
        asks, asked = CURRENT.get(), self.process_of(holder.boot_id)
        assert isinstance(asks, Process)
        return asked is not None and asked.dead and asks.place == holder.place

    # What fate does to it

    def start(self, name: str, *, forced: bool = False) -> None:
        """Begin a process of the instance."""
        self.note(f"{name} starts{' with --take-over' * forced}")
        if self.alive(name):
            self.meet("fate", "two processes of one name")
        self.processes.append(Process(self, name, forced=forced))

    def revive_redis(self, disk: Disk | None) -> None:
        """Another process of Redis begins, with the data of before, or with what is on `disk`."""
        if disk is not None:
            collect.streams(self)
            living = [process for process in self.processes if not process.dead]
            for process in living:
                process.remember()
            self.history.kept = {name for process in living for name in process.kept}
        self.server.rise(disk)
        self.witness.recount()

    # A run

    async def live(self, *, calm: bool) -> None:
        """Faults; then, with `calm`, none until everything is at rest."""
        loop = asyncio.get_running_loop()
        fates = Faults(self, STORMY if calm else ENDLESS)
        self.devices = [Device(self, number) for number in range(1, DEVICES + 1)]
        self.busy = self.random.sample(self.devices, BUSY)
        for device in self.busy[:SLEEPY]:
            device.sleepy = True
        for name in self.instances:
            self.start(name)
        living = [loop.create_task(device.live(busy=device in self.busy)) for device in self.devices]
        lots = [loop.create_task(lot()) for lot in (fates.storms, fates.crashes, fates.redis)]
        producing = loop.create_task(Producer(self).live())
        await asyncio.sleep(fates.length)
        if calm:
            for task in (*lots, producing):
                task.cancel()
            fates.relent()
            await self._settle()
        collect.everything(self)
        for task in living:
            task.cancel()

    async def _settle(self) -> None:
        """Faults cease. One instance may be dead for good, the other lives."""
        self.note("calm")
        self.weather.clear()
        for process in self.processes:
            process.doomed = process.drowsy = 0.0
            process.thaw()
        for device in self.devices:
            device.gone = device.sleepy and self.random.random() < 0.3
        lost = {self.random.choice(self.instances)} if self.random.random() < 0.5 else set()
        for name in lost:
            self.meet("fate", "a dead instance at rest")
            for process in self.alive(name):
                process.end()
        for name in self.instances:
            if name not in lost and not any(process.open for process in self.alive(name)):
                self.start(name, forced=True)
        await self._rest(lost)

    async def _rest(self, lost: set[str]) -> None:
        """Wait until nothing is left to do, as long as that may take; then see whether it stays so."""
        history, given = self.history, settings("")
        history.calm_at, history.lost = self.clock.wall() * 1000, lost
        history.recovery = AFTERMATH / 1000
        history.adoption = given.heartbeat_ttl + 1.2 * given.janitor_interval + given.janitor_grace
        history.parked = 1.2 * given.janitor_interval
        longest = max(given.limits.command_ttl, max(WAIT_FOR) + history.parked) + LONGEST_ANSWER
        longest = max(longest, history.recovery + history.adoption) + LEEWAY
        for _ in range(round(longest / LOOK_EVERY)):
            if self._at_rest():
                break
            for name in set(self.instances) - lost:
                if not self.alive(name):
                    self.start(name)  # as a supervisor does
            await asyncio.sleep(LOOK_EVERY)
        self.note("at rest")
        await asyncio.sleep(1.2 * given.heartbeat_interval)
        for _ in range(200):
            if self._all_connected():  # no device is between two connections just now
                return
            await asyncio.sleep(0.05)

    def _all_connected(self) -> bool:
        return all(device.connected != device.gone for device in self.devices)

    def _at_rest(self) -> bool:
        losses = self.server.losses
        kept = [p for p in self.history.produced if not any(one.kept < p.at < one.at for one in losses)]
        asked = {p.command_id for p in kept if p.is_command} - {""}
        living = [process for process in self.processes if not process.dead]
        return (
            self._all_connected()
            and asked <= self.witness.decided
            and not any(
                self.server.keys.stream(f"commands:outbound:{name}").length for name in self.instances
            )
            and not any(len(process.gateway.dispatcher.entries) for process in living)
        )


def simulate(seed: int, *, calm: bool, counts: Sequence[int] = (1,)) -> tuple[list[Violation], World]:
    """Run a seed; what was violated, and the world for a closer look."""
    world = World(seed, counts)
    play(world, lambda world: world.live(calm=calm))
    return sorted(set(world.faults)) + check(world.history, at_rest=calm), world


def play(world: World, act: Callable[[World], Awaitable[None]]) -> None:
    """Let `act` happen in `world`, on its clock."""

    async def whole() -> None:
        await act(world)

    with installed(world):
        loop = VirtualLoop(world.clock)
        loop.set_task_factory(task_factory)
        loop.set_exception_handler(lambda loop, context: world.fault("error", _told(context)))
        run(whole(), loop)


def _told(context: dict[str, Any]) -> str:
    return f"{context.get('message')} {context.get('exception')!r}"

"""What befalls a run: storms, crashes, stops, freezes, two processes of one name, new lives of Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.simulation.process import FREEZES
from tests.simulation.write_observer import HEARTBEAT, RESPONSES

if TYPE_CHECKING:
    from tests.in_memory.server import Disk
    from tests.simulation.world import World

RESTARTS = ("", "", "with its data", "with its data", "empty", "as it was")
"""How Redis comes back in a run, if it goes."""


class Faults:
    """Draws lots, until it is calm.

    Args:
        length: seconds of the run in which faults come.
    """

    def __init__(self, world: World, length: float) -> None:
        self._world = world
        self._random = world.random
        self.length = length
        self._disk: Disk | None = None
        self._written = asyncio.Event()
        self._fair = False
        world.server.watch(self.see)

    async def storms(self) -> None:
        """Bad weather, again and again."""
        random, world = self._random, self._world
        while True:
            await asyncio.sleep(random.choice((0.5, 1.5, 4.0)) * random.uniform(0.5, 1.5))
            if world.weather.calm:
                return
            if self._fair:
                continue
            storm = world.weather.brew(world.clock.now, world.instances)
            world.meet("fate", storm.kind)
            touched = [store for store in world.weather.stores if storm.touches(world.instances[0], store)]
            if len(touched) == 1 < len(world.weather.stores) and storm.touches("", touched[0]):
                world.meet("one shard", storm.kind)
            world.note(f"storm: {storm.kind} until {world.passed(storm.until):.1f}")
            if random.random() < 0.2:
                world.meet("fate", "forgotten scripts")
                world.server.scripts.flush()

    async def redis(self) -> None:
        """In some runs Redis dies once, and comes back with its data, with what it had a while ago, or with
        none."""
        random, world = self._random, self._world
        how = random.choice(RESTARTS)
        if not how:
            return
        await asyncio.sleep(random.uniform(0.2, 0.8) * self.length)
        if random.random() < 0.5:
            await self._a_write()
        if how == "as it was":
            # Entries are known by the millisecond: what is saved and what is lost must not share one.
            await asyncio.sleep((1.001 - world.clock.wall() * 1000 % 1) / 1000)
            self._disk = world.server.save()
            await asyncio.sleep(random.choice((0.05, 1.0, 3.0)) * random.uniform(0.5, 1.0))
        elif how == "empty":
            self._disk = world.server.wipe()
        away = random.choice((0.05, 1.0, 5.0)) * random.uniform(0.5, 1.5)
        world.meet("redis", how)
        world.note("redis dies")
        world.server.die()
        for name in world.instances:
            world.weather.hinder(name, world.clock.now, world.clock.now + away)
        await asyncio.sleep(away)
        world.note(f"redis is back, {how}")
        self.relent()

    async def _a_write(self) -> None:
        """The moment after the next event of a command, of which nobody may ever hear."""
        self._written.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(3.0):
                await self._written.wait()

    def relent(self) -> None:
        """Let Redis come back if it is away."""
        if not self._world.server.up:
            self._world.revive_redis(self._disk)

    async def crashes(self) -> None:
        """Crashes, orderly stops, restarts, and two processes of one name."""
        random, world = self._random, self._world
        while True:
            await asyncio.sleep(random.choice((0.7, 2.5, 6.0)) * random.uniform(0.5, 1.5))
            name = random.choice(world.instances)
            living = world.alive(name)
            if not living:
                world.start(name)
                continue
            what = random.random()
            if what < 0.4:
                world.note(f"{name} is doomed")
                living[0].doomed = random.choice((0.5, 0.1, 0.02))
            elif what < 0.6:
                world.meet("fate", "an orderly stop")
                world.note(f"{name} is told to stop")
                living[0].gateway.stop()
            elif what < 0.7:
                world.start(name, forced=random.random() < 0.5)
            elif what < 0.8:
                world.note(f"{name} is drowsy")
                living[0].drowsy = random.choice((0.1, 0.02))
            elif what < 0.9:
                frozen = random.choice(FREEZES) * random.uniform(0.5, 1.5)
                world.meet("fate", "a freeze")
                world.note(f"{name} is frozen for {frozen:.1f} s")
                living[0].freeze(frozen)
                if random.random() < 0.3:
                    world.start(name)  # somebody thinks that it is dead
            else:
                await self._cut_off(name)
            later = random.choice((0.1, 3.0, 14.0)) * random.uniform(0.5, 1.5)
            asyncio.get_running_loop().call_later(later, self._revive, name)

    def see(self, name: str, arguments: Sequence[bytes]) -> None:
        """Somebody is about to miss the heartbeat of an instance: of all moments, it is back in this."""
        if name == "XADD" and arguments[0] == RESPONSES:
            self._written.set()
        for key in arguments if name == "EXISTS" else ():
            instance = key.removeprefix(HEARTBEAT).decode()
            missed = key.startswith(HEARTBEAT) and not self._world.server.keys.cmd_exists(key)
            if missed and self._random.random() < 0.1:
                moment, context = self._random.choice((0.0, 0.001, 0.05)), self._world.context
                asyncio.get_running_loop().call_later(moment, self._come_back, instance, context=context)

    def _come_back(self, name: str) -> None:
        frozen = [process for process in self._world.alive(name) if process.held is not None]
        if frozen and not self._world.weather.calm:
            self._world.meet("fate", "awake when it is missed")
            self._world.note(f"{name} wakes up")
            frozen[0].thaw()
        elif not self._world.alive(name):
            self._world.meet("fate", "back when it is missed")
            self._revive(name)

    async def _cut_off(self, name: str) -> None:
        """One instance reaches Redis no more, and lives on; the other has time to take it for dead."""
        world = self._world
        await self._a_write()
        world.meet("fate", "cut off")
        length = self._random.uniform(14.0, 20.0)
        storm = world.weather.cut_off(name, world.clock.now, length)
        world.note(f"{name} is cut off until {world.passed(storm.until):.1f}")
        self._fair = True
        await asyncio.sleep(length)
        self._fair = False

    def _revive(self, name: str) -> None:
        if not self._world.alive(name) and not self._world.weather.calm:
            self._world.start(name)

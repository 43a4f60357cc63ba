"""A run of the rig beside a swarm: the checker checks the run, and what the swarm saw is counted."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from itertools import cycle
from typing import Any
from urllib.request import urlopen

from store.client.errors import StoreError
from tests.load.daemon import Daemon
from tests.load.driver_process import DriverProcess
from tests.load.swarm import FIRST
from tests.rig.fleet import Fleet
from tests.rig.local import LocalServer
from tests.rig.memory import Log
from tests.rig.ports import free_port
from tests.rig.waiting import until

PAGE = 5000
"""Entries of a stream read at a time: Redis serves the gateway in between."""
EVERY = 3.0
"""Seconds between two faults."""
LASTS = 1.0
"""Seconds that an outage lasts."""
ROOMY: dict[str, Any] = {
    "responses_maxlen": 10_000_000,
    "telemetry_maxlen": 10_000_000,
    "telemetry_maxbytes": "40GiB",  # of which a quarter stays while Redis is full
    "responses_maxbytes": "40GiB",
    "max_connections_per_ip": 5000,
    "heartbeat_interval": 10,
    "heartbeat_ttl": 30,
}
"""Options of the gateway: nothing is trimmed, for it is checked in the end."""


class Endurance(Fleet):
    """A fleet whose streams hold more than a test wants to look at."""

    process = Daemon
    _cursor = "-"

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self._metrics = free_port()

    async def start(self, instance_id: str = "gw-1", **options: Any) -> Daemon:
        daemon = await super().start(instance_id, metrics=f"127.0.0.1:{self._metrics}", **options)
        assert isinstance(daemon, Daemon)
        return daemon

    async def pages(self, key: str, start: str = "-") -> Log:
        """All entries of a stream that concern this run's own trackers, page by page."""
        ours, found = set(self.imeis), []
        while page := await self.client.xrange(key, start, count=PAGE):
            start = f"({page[-1][0].decode()}"
            for entry, fields in page:
                if fields.get(b"imei", b"").decode() in ours or fields.get(b"kind") == b"command":
                    found.append((entry.decode(), {n.decode(): v.decode() for n, v in fields.items()}))
        if key == self.keys.responses:
            self._cursor = start
        return found

    async def stream(self, key: str, start: str = "-", client: Any = None) -> Log:
        return await self.pages(key, start)

    async def read_on(self) -> None:
        try:
            self.memory.hear(await self.pages(self.keys.responses, self._cursor))
        except StoreError:
            return

    async def told(self, within: float) -> None:
        """Whose session is missing comes again: the log is bounded, and the gateway counts what it lost."""
        await until(self._counted, "a log that names every session but those that the gateway counts", within)
        for line in await self.untold():
            line.cut()
        await super().told(within)

    async def _counted(self) -> bool:
        return len(await self.untold()) <= await self.dropped()

    async def dropped(self) -> int:
        """Events of sessions that the log had no room for, as the gateway counts them."""
        with await asyncio.to_thread(urlopen, f"http://127.0.0.1:{self._metrics}/metrics") as page:
            [line] = [line for line in page if line.startswith(b"teltonika_session_events_dropped_total")]
        return int(float(line.split()[1]))

    async def unplug(self) -> None:
        """Every tracker leaves, for good."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def unstored(self, acknowledged: dict[str, int]) -> list[str]:
        """Trackers of the swarm with an acknowledged record that is not in the stream."""
        missing = {imei: set(range(FIRST, FIRST + count)) for imei, count in acknowledged.items()}
        start = "-"
        while page := await self.client.xrange(self.keys.telemetry, start, count=PAGE):
            start = f"({page[-1][0].decode()}"
            for _, fields in page:
                if found := missing.get(fields[b"imei"].decode()):
                    found.discard(int(fields[b"data"].partition(b'"timestamp":')[2].partition(b",")[0]))
        return [imei for imei, timestamps in missing.items() if timestamps]


class Trouble:
    """One fault after the other, over and over."""

    def __init__(self, run: Fleet, server: LocalServer, swarm: DriverProcess) -> None:
        self._client = run.client
        self._server = server
        self._swarm = swarm
        self._faults: tuple[Callable[[], Awaitable[object]], ...] = (
            self.frozen,
            self.burst,
            self.cut_off,
            self.noise,
            self.forgetful,
            self.full,
        )

    async def begin(self, seconds: float) -> None:
        """Make trouble for so long."""
        end = asyncio.get_running_loop().time() + seconds - EVERY
        for fault in cycle(self._faults):
            if asyncio.get_running_loop().time() > end:
                return
            await asyncio.sleep(EVERY - LASTS)
            await fault()

    async def frozen(self) -> None:
        """Redis does not answer."""
        os.kill(self._server.pid, signal.SIGSTOP)
        await asyncio.sleep(LASTS)
        os.kill(self._server.pid, signal.SIGCONT)

    async def full(self) -> None:
        """Redis is out of memory."""
        await self._client.config_set("maxmemory", 1)
        await asyncio.sleep(LASTS)
        await self._client.config_set("maxmemory", 0)

    async def cut_off(self) -> None:
        """Every connection to Redis is closed, and the next too."""
        for _ in range(2):
            await self._client.client_kill_filter(_type="normal", skipme=True)
            await asyncio.sleep(LASTS / 2)

    async def forgetful(self) -> None:
        """Redis has lost its scripts."""
        await self._client.script_flush()

    async def burst(self) -> None:
        """A tenth of the swarm disconnects, and connects again."""
        await asyncio.to_thread(self._swarm.ask, do="burst", share=0.1)

    async def noise(self) -> None:
        """Unidentified clients send invalid bytes."""
        await asyncio.to_thread(self._swarm.ask, do="noise", count=200)

"""A driver of honest devices: each reports one record a second, and keeps it until it is acknowledged."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter

from tests import wire_format
from tests.load.driver_process import say

EVERY = 1.0
"""Seconds between two reports of a device."""


class Patrol:
    """All of them, and how long their acknowledgements took."""

    def __init__(self, port: int, devices: int) -> None:
        self._port = port
        self._devices = devices
        self.latencies: list[float] = []
        self.counts: Counter[str] = Counter()

    async def live(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._devices):
                group.create_task(self._device(f"3577{number:011d}", number / self._devices))

    async def _device(self, imei: str, wait: float) -> None:
        await asyncio.sleep(wait * EVERY)
        clock = int(time.time() * 1000)
        since: list[float] = []  # when the report that is not acknowledged was first sent
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                writer.write(wire_format.hello(imei))
                await reader.readexactly(1)
                while True:
                    since = since or [time.perf_counter()]
                    writer.write(wire_format.avl([clock]))
                    await reader.readexactly(4)
                    self.latencies.append((time.perf_counter() - since.pop()) * 1000)
                    clock += 1
                    await asyncio.sleep(EVERY)
            except (OSError, asyncio.IncompleteReadError):
                self.counts["closed"] += 1
                await asyncio.sleep(0.1)

    async def serve(self) -> None:
        """Tell the latencies since the last question, in milliseconds, the longest last."""
        life = asyncio.create_task(self.live())
        while await asyncio.to_thread(sys.stdin.readline):
            say(latencies=sorted(self.latencies), **self.counts)
            self.latencies.clear()
        life.cancel()


def main() -> None:
    """The driver."""
    patrol = Patrol(**json.loads(sys.argv[1]))
    say(ready=True)
    asyncio.run(patrol.serve())

"""A driver of thousands of trackers that report, come again and again, and count what went wrong.

A record that was not acknowledged is reported again on the next connection, as devices do: what a tracker
has had acknowledged are the records from the first on, without a gap.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from contextlib import suppress
from random import Random
from typing import Any, cast

from tests import wire_format
from tests.load.driver_process import SOURCES, open_files, say
from tests.load.sockets import fresh

FIRST = 1_700_000_000_000
"""Timestamp of every tracker's first record."""
TICK = 0.02
TIME_LIMIT = 15.0
"""Seconds in which an accept byte or an acknowledgement must come: more than any fault of a run lasts."""
ACCEPT, ACK = b"\x01", b"\0\0\0\x01"
NOISE = (
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00",
    b"\0\x0f12345678901234X",
    bytes(40),
    b"\xff" * 100,
)


class Line(asyncio.Protocol):
    """One connection of a tracker."""

    __slots__ = ("accepted", "ended", "reported", "since", "tracker", "transport")

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.accepted = self.ended = False
        self.reported = 0
        self.since = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are none by their class
        self.transport.write(wire_format.hello(self.tracker.imei))

    def report(self) -> None:
        """Send the tracker's next record."""
        self.reported, self.since = self.tracker.next, time.monotonic()
        self.transport.write(wire_format.avl([self.reported]))

    @property
    def overdue(self) -> bool:
        """Whether the gateway owes it a byte for too long."""
        owed = self.reported or not self.accepted
        return bool(owed) and not self.ended and time.monotonic() - self.since > TIME_LIMIT

    def data_received(self, data: bytes) -> None:
        if not self.accepted and data == ACCEPT:
            self.accepted = True
        elif self.accepted and self.reported and data == ACK:
            self.tracker.acked(self.reported)
            self.reported = 0
        else:
            self.tracker.swarm.wrong["bytes"] += 1

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended:
            self.tracker.swarm.wrong["closed"] += 1
            self.tracker.come()
        self.ended = True

    def leave(self, how: str) -> None:
        """The tracker goes; `how` is ``close`` or ``abort``."""
        self.ended = True
        getattr(self.transport, how)()


class Tracker:
    """One device."""

    __slots__ = ("coming", "imei", "line", "next", "swarm")

    def __init__(self, swarm: Swarm, imei: str) -> None:
        self.swarm = swarm
        self.imei = imei
        self.next = FIRST
        self.line: Line | None = None
        self.coming = False

    @property
    def ready(self) -> Line | None:
        """Its connection, if it is accepted there and has no other on its way."""
        line = self.line
        return line if line is not None and line.accepted and not line.ended and not self.coming else None

    def acked(self, timestamp: int) -> None:
        """A record is acknowledged; it may have been reported on two connections."""
        if timestamp == self.next:
            self.next += 1

    def come(self) -> None:
        """Connect, beside the connection that stands or after it."""
        self.coming = True
        self.swarm.begin(self._connect())

    async def _connect(self) -> None:
        loop, sock = asyncio.get_running_loop(), fresh(SOURCES[int(self.imei) % len(SOURCES)])
        self.swarm.counts["connections"] += 1
        try:
            await loop.sock_connect(sock, ("127.0.0.1", self.swarm.port))
            _, line = await loop.create_connection(lambda: Line(self), sock=sock)
        except OSError:
            self.swarm.wrong["refused"] += 1
            sock.close()
            return
        if self.line is not None:
            self.line.ended = True  # superseded: the gateway closes it
        self.line, self.coming = line, False


class Noise(asyncio.Protocol):
    """An unidentified client, which the gateway must close."""

    def __init__(self, swarm: Swarm, words: bytes) -> None:
        self._swarm = swarm
        self._words = words

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._swarm.unidentified += 1
        cast(asyncio.Transport, transport).write(self._words)

    def connection_lost(self, error: Exception | None) -> None:
        self._swarm.unidentified -= 1


class Swarm:
    """All trackers.

    Args:
        reports, reconnects: a second, all trackers together.

    Attributes:
        wrong: what must not happen: ``bytes`` nobody asked for, ``closed``, ``refused``, ``overdue``.
        unidentified: open connections of unidentified clients.
    """

    def __init__(self, port: int, count: int, reports: float, reconnects: float, seed: int) -> None:
        self.port = port
        self.counts: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.unidentified = 0
        self._reports, self._reconnects = reports, reconnects
        self._random = Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()
        self._all = [Tracker(self, f"3599{number:011d}") for number in range(count)]

    def begin(self, work: Any) -> None:
        """Run a coroutine beside."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def _ready(self) -> list[Line]:
        """The lines of those who are at ease."""
        return [line for tracker in self._all if (line := tracker.ready)]

    # What it does by itself

    async def come(self, per_second: float = 1000) -> None:
        """Everybody connects, and is accepted."""
        for start in range(0, len(self._all), round(per_second * TICK)):
            for tracker in self._all[start : start + round(per_second * TICK)]:
                tracker.come()
            await asyncio.sleep(TICK)
        await self._all_ready()

    async def live(self) -> None:
        """Report, and connect again, until it is cancelled."""
        began, reports, reconnects = time.monotonic(), 0, 0
        while True:
            await asyncio.sleep(TICK)
            elapsed = time.monotonic() - began
            while reports < elapsed * self._reports:
                reports += 1
                line = self._all[reports % len(self._all)].ready
                if line is not None and not line.reported:
                    line.report()
            while reconnects < elapsed * self._reconnects:
                reconnects += 1
                self._again(self._random.choice(self._all), self._random.choice(("close", "abort", "beside")))

    def _again(self, tracker: Tracker, how: str) -> None:
        line = tracker.ready
        if line is not None:
            if how != "beside":
                line.leave(how)
            tracker.come()

    # What it is asked for

    async def burst(self, share: float) -> None:
        """So many disconnect at one moment, and connect again."""
        ready = self._ready
        for line in self._random.sample(ready, round(share * len(ready))):
            self._again(line.tracker, "abort")

    async def noise(self, count: int) -> None:
        """So many unidentified clients connect."""
        for number in range(count):
            loop, sock = asyncio.get_running_loop(), fresh()
            await loop.sock_connect(sock, ("127.0.0.1", self.port))
            words = NOISE[number % len(NOISE)]
            await loop.create_connection(lambda words=words: Noise(self, words), sock=sock)

    async def end(self) -> None:
        """Wait for what is owed, and go."""
        await self._all_ready()
        for tracker in self._all:
            if tracker.line is not None and not tracker.line.ended:
                tracker.line.leave("close")

    async def _all_ready(self) -> None:
        """Wait until nothing is owed to anybody."""
        deadline = time.monotonic() + 2 * TIME_LIMIT
        while time.monotonic() < deadline:
            if not self._tasks and all((line := t.ready) and not line.reported for t in self._all):
                return
            await asyncio.sleep(TICK)
        self.wrong["never at ease"] += 1

    def told(self) -> dict[str, Any]:
        """The counts."""
        overdue = sum(tracker.line is not None and tracker.line.overdue for tracker in self._all)
        return {
            "connected": len(self._ready),
            "connections": self.counts["connections"],
            "acked": sum(tracker.next - FIRST for tracker in self._all),
            "unidentified": self.unidentified,
            "wrong": {**self.wrong, **({"overdue": overdue} if overdue else {})},
        }

    def acknowledged(self) -> dict[str, int]:
        """imei -> how many records from the first on are acknowledged."""
        return {tracker.imei: tracker.next - FIRST for tracker in self._all}


async def drive(swarm: Swarm) -> None:
    """Do what the lines of the test ask for."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    await swarm.come()
    say(**swarm.told())
    living: asyncio.Task[None] | None = None
    async for line in lines:
        match json.loads(line):
            case {"do": "live"}:
                living = loop.create_task(swarm.live())
            case {"do": "burst", "share": share}:
                await swarm.burst(share)
            case {"do": "noise", "count": count}:
                await swarm.noise(count)
            case {"do": "end"}:
                if living is not None:
                    living.cancel()
                    with suppress(asyncio.CancelledError):
                        await living
                await swarm.end()
                say(**swarm.told(), acknowledged=swarm.acknowledged())
                continue
        say(**swarm.told())


def main() -> None:
    """The driver, on the fastest event loop there is."""
    swarm = Swarm(**json.loads(sys.argv[1]))
    assert open_files(0)
    factory: Any = asyncio.new_event_loop
    with suppress(ImportError):
        from uvloop import new_event_loop as factory
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(drive(swarm))

"""What ``telgw top`` shows, read from Redis."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from fsm.command import FAILED, TIMEOUT
from store.api import Gateways, Sent
from store.fleet.commands import CommandEnded, CommandInFlight, CommandReader
from store.fleet.devices import Device, DeviceReader
from store.fleet.overview import Overview, OverviewReader
from store.keys import Keys
from store.streams.messages import CommandEvent
from store.streams.producer import PAGE, LogEntry, Producer

from .. import render
from .rates import Medians, Rate

FAILURES = 100
"""Commands that failed lately, at most."""
DAY_MS = 86_400_000
BEFORE = 100
"""Events before the start that the feed shows."""
EVENTS = 500
"""Events that are kept for the feed."""
PAGES = 4
"""Pages of the log that one refresh reads at most; then it goes on at the end."""


class Feed:
    """Reads a fleet, a part at a time.

    Every method that reads raises `StoreError` or `StoreUnreachable` if Redis does not answer or refuses.

    Attributes:
        overview: None until it was read.
        devices: of the last reading, sorted by IMEI; empty until they were read.
        in_flight: the oldest first.
        failed: commands that failed lately, the newest first; those before the start after `read_failed`.
        events: the newest entries of the log, the oldest first.
        records, answers: records and ended commands a second.
        latency: ms from the write of a command to its answer.

    Args:
        shard_client: the client of the server that has the streams of a shard; by default `client`.
    """

    def __init__(self, client: Any, keys: Keys, shard_client: Callable[[Keys], Any] | None = None) -> None:
        self._client = client
        self._overviews = OverviewReader(client, keys, shard_client)
        self._keys = keys
        self._producer = Producer(client, keys)
        self._gateways = Gateways(client, keys)
        self._position = ""
        self._ended = 0
        self.overview: Overview | None = None
        self.devices: list[Device] = []
        self.in_flight: list[CommandInFlight] = []
        self.failed: deque[CommandEnded] = deque(maxlen=FAILURES)
        self.events: deque[LogEntry] = deque(maxlen=EVENTS)
        self.records = Rate()
        self.answers = Rate()
        self.latency = Medians()

    @property
    def now_ms(self) -> int:
        """Epoch ms by the clock of Redis, as of the last overview; 0 before."""
        return self.overview.now_ms if self.overview else 0

    async def read_overview(self) -> None:
        """Read gateways, server and consumers, and what the log has got since the last call."""
        self.overview = found = await self._overviews.read()
        self.records.total(found.records, found.now_ms)
        await self._read_log()
        self.answers.total(self._ended, found.now_ms)
        self.latency.close()

    async def _read_log(self) -> None:
        if not self._position:
            await self._begin()
        for _ in range(PAGES):
            entries = await self._producer.after(self._position)
            for entry in entries:
                self._take(entry)
            if entries:
                self._position = entries[-1][0]
            if len(entries) < PAGE:
                return
        self._position = await self._producer.tail()

    async def _begin(self) -> None:
        """Read the last events before the start, which are not counted in the rates."""
        self._position = await self._producer.tail()
        async for entry in self._producer.newest(self._keys.responses):
            self.events.appendleft(entry)
            if len(self.events) == BEFORE:
                break
        if self.events:
            self._position = self.events[-1][0]

    def _take(self, entry: LogEntry) -> None:
        self.events.append(entry)
        message = render.read(entry[1])
        if isinstance(message, CommandEvent) and message.terminal:
            self._ended += 1
            if message.state in (FAILED, TIMEOUT):
                self.failed.appendleft(CommandEnded(*entry, message))
            if message.rtt_ms is not None:
                self.latency.add(message.rtt_ms)

    async def read_devices(self) -> None:
        """Read all devices."""
        self.devices = await DeviceReader(self._client, self._keys).read()

    async def read_commands(self) -> None:
        """Read the commands in flight."""
        self.in_flight = await CommandReader(self._client, self._keys).in_flight()

    async def read_failed(self) -> None:
        """Read the commands that failed within a day. Once is enough: later ones come with the log."""
        now_ms = await self._producer.now_ms()
        reader = CommandReader(self._client, self._keys)
        self.failed.clear()
        async for one in reader.ended(states=(FAILED, TIMEOUT), since_ms=now_ms - DAY_MS):
            self.failed.append(one)
            if len(self.failed) == FAILURES:
                return

    async def device(self, imei: str) -> Device | None:
        """One device; None if nothing is known of it."""
        found = await DeviceReader(self._client, self._keys).read([imei], claims=True)
        return found[0] if found else None

    async def history(self, command_id: str) -> Sequence[LogEntry]:
        """The entries of a command in the log; empty if it is unknown."""
        return await self._producer.history(command_id)

    async def send(self, imei: str, text: str) -> Sent:
        """Send a command.

        Raises:
            InvalidCommand: a gateway would refuse it.
            DeviceNotConnected: no gateway holds the device.
        """
        return await self._gateways.send(imei, text, patience=0, requested_by="telgw top")

    async def cancel(self, command_id: str) -> None:
        """Ask for a command to be cancelled.

        Raises:
            UnknownCommand: no gateway has accepted it.
        """
        await self._gateways.cancel(command_id, patience=0)

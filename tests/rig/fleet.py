"""Trackers, a producer and gateway processes on a real Redis, and the verdict of the checker on all of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random
from typing import Any

from redis.exceptions import RedisError

from store.keys import GROUP, Keys
from tests.checker import Violation, check
from tests.history import Bytes, History
from tests.process.gateway import Gateway
from tests.rig.producer import Producer
from tests.rig.tracker import Address, Tracker

BRISK: dict[str, Any] = {
    "heartbeat_interval": 0.5,
    "heartbeat_ttl": 2,
    "janitor_interval": 1,
    "janitor_grace": 0.5,
    "janitor_min_uptime": 0,
    "reconnect_grace": 5,
    "drain_timeout": 1,
    "response_timeout": 1,
    "command_ttl": 15,
    "ready_grace": 0.5,
}
"""Options of gateways whose deaths and deadlines come soon, so that a test need not wait for them."""
DEVICE_SIDE = 500.0
"""Milliseconds by which a device may see a command later than it was written."""


async def until(condition: Callable[[], Any], what: str, within: float = 30.0) -> None:
    """Wait until `condition`, which may be a coroutine function, holds."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"It did not come to pass within {within} s: {what}")


class Fleet:
    """A run on real processes.

    Args:
        url: the server as an administrator sees it; gateway_url: as the gateways do, if otherwise.

    Attributes:
        gateways: the living processes by instance id.
        history: what the checker will judge.
    """

    def __init__(
        self, url: str, seed: int = 1, *, gateway_url: str = "", prefix: str = "", **options: Any
    ) -> None:
        self.gateway_url = gateway_url or url
        self.random = Random(seed)
        self.keys = Keys(prefix)
        self.options = BRISK | ({"key_prefix": prefix} if prefix else {}) | options
        self.history = History(
            from_gateways=False, clock_error=DEVICE_SIDE, ttl=float(self.options["command_ttl"])
        )
        self.gateways: dict[str, Gateway] = {}
        self.ports: dict[str, int] = {}
        self.trackers: list[Tracker] = []
        self.producer = Producer(url, self.history, self.random, keys=self.keys)
        self.tasks: list[asyncio.Task[Any]] = []
        self._read_to = "-"
        self._verdicts: set[str] = set()

    @property
    def imeis(self) -> list[str]:
        """Of all trackers."""
        return [tracker.imei for tracker in self.trackers]

    async def start(self, instance_id: str = "gw-1", **options: Any) -> Gateway:
        """Start a gateway process, on the port it had before if it had one, and wait until it is ready."""
        port = self.ports.get(instance_id, 0)
        given = self.options | {"listen": f"127.0.0.1:{port}"} | options
        gateway = await asyncio.to_thread(Gateway, self.gateway_url, instance_id, **given)
        self.gateways[instance_id] = gateway
        self.ports[instance_id] = int(gateway.port)
        return gateway

    async def kill(self, instance_id: str = "gw-1") -> None:
        """SIGKILL."""
        await asyncio.to_thread(self.gateways.pop(instance_id).kill)

    def somewhere(self) -> Address | None:
        """The address of a living gateway."""
        found = [self.ports[name] for name in self.gateways]
        return ("127.0.0.1", self.random.choice(found)) if found else None

    def plug_in(self, count: int, **how: Any) -> list[Tracker]:
        """Let `count` more trackers live."""
        first = len(self.trackers) + 1
        new = [
            Tracker(f"3567{number:011d}", self.history, self.somewhere, self.random, **how)
            for number in range(first, first + count)
        ]
        self.trackers += new
        for tracker in new:
            self.begin(tracker.live(), tracker.imei)
        return new

    def begin(self, work: Any, name: str = "") -> asyncio.Task[Any]:
        """Run a coroutine beside; it is cancelled when the run ends."""
        self.tasks.append(asyncio.create_task(work, name=name))
        return self.tasks[-1]

    async def connected(self, within: float = 30.0) -> None:
        """Wait until every tracker is greeted and has had its first report acknowledged."""
        await until(
            lambda: all(t.settled and t.acks for t in self.trackers), "every tracker connected", within
        )

    # The end of a run

    def calm(self) -> None:
        """From now on every tracker answers."""
        for tracker in self.trackers:
            tracker.manners = ("answer",)

    async def rest(self, within: float = 60.0) -> None:
        """No more commands, calm, and wait until each has a verdict and nothing is left in any stream."""
        await self.producer.stop()
        self.calm()
        await until(self._decided, "a verdict for every command", within)
        await until(self._idle, "empty streams", within)
        await until(lambda: all(tracker.settled for tracker in self.trackers), "trackers at ease", within)

    async def _decided(self) -> bool:
        await self.read_on()
        return {p.command_id for p in self.history.produced if p.is_command} <= self._verdicts

    async def _idle(self) -> bool:
        client = self.producer.client
        try:
            return not any([await client.xlen(self.keys.outbound(name)) for name in self.ports])
        except RedisError:
            return False

    async def read_on(self) -> None:
        """Read the log as far as it goes."""
        try:
            found = await self.producer.client.xrange(self.keys.responses, self._read_to)
        except RedisError:
            return
        for entry, fields in found:
            self._read_to = f"({entry.decode()}"
            if fields[b"kind"] == b"command" and fields[b"terminal"] == b"1":
                self._verdicts.add(fields[b"command_id"].decode())

    async def _stream(self, key: str) -> list[tuple[str, dict[str, str]]]:
        found = await self.producer.client.xrange(key)
        return [(entry.decode(), _text(fields)) for entry, fields in found]

    async def verdict(self, *, at_rest: bool = True) -> list[Violation]:
        """Collect what Redis holds, and let the checker judge the run."""
        client, keys = self.producer.client, self.keys
        # Trackers go on reporting: what is acknowledged from here on may be younger than what is read.
        self.history = history = replace(self.history, acked=list(self.history.acked))
        history.responses = await self._stream(keys.responses)
        history.telemetry = [fields for _, fields in await self._stream(keys.telemetry)]
        history.registry = _text(await client.hgetall(keys.registry))
        history.tokens = _text(await client.hgetall(keys.sessions))
        async for key in client.scan_iter(keys.ledger("*"), count=1000):
            history.ledgers[key.decode().removeprefix(keys.ledger(""))] = _text(await client.hgetall(key))
        for name in self.ports:
            stream = keys.outbound(name)
            history.left[name] = [entry for entry, _ in await self._stream(stream)]
            if await client.exists(stream):
                found = await client.xpending_range(stream, GROUP, "-", "+", 1000)
                history.pending[name] = [one["message_id"].decode() for one in found]
        self._name_sessions()
        return check(history, at_rest=at_rest)

    def _name_sessions(self) -> None:
        """Give each connection the id of its session, as the log tells it by the peer's address."""
        begun = [
            (fields["peer"], int(entry.partition("-")[0]), fields["session_id"])
            for entry, fields in self.history.responses
            if fields["kind"] == "session" and fields["state"] == "identified"
        ]
        names = {}
        for tracker in self.trackers:
            for line in tracker.lines:
                found = [(at, session) for peer, at, session in begun if peer == line.peer]
                after = [(at, session) for at, session in found if at >= line.opened - 1000]
                if after:
                    names[line.name] = min(after)[1]
            if tracker.greeted and tracker.line is not None:
                instance = next(n for n, port in self.ports.items() if port == tracker.line.address[1])
                self.history.live[tracker.imei] = (instance, names.get(tracker.line.name, ""))
        history = self.history
        history.connections = {names.get(name, name): imei for name, imei in history.connections.items()}
        history.traffic = [
            Bytes(data.at, names.get(data.connection, data.connection), data.up, data.data)
            for data in history.traffic
        ]

    async def end(self) -> None:
        """Stop everything."""
        await self.producer.aclose()
        for task in self.tasks:
            task.cancel()
        outcomes = await asyncio.gather(*self.tasks, return_exceptions=True)
        for gateway in self.gateways.values():
            await asyncio.to_thread(gateway.kill)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome


def _text(fields: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in fields.items()}


@asynccontextmanager
async def fleet(url: str, seed: int = 1, **options: Any) -> AsyncIterator[Fleet]:
    """A run, whose processes and tasks end with the block."""
    run = Fleet(url, seed, **options)
    try:
        yield run
    finally:
        await run.end()

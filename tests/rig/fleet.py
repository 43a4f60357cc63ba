"""Trackers, a producer and gateway processes on a real Redis, and the verdict of the checker on all of it."""

from __future__ import annotations

import asyncio
import math
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

from store.client.client import connect
from store.client.errors import StoreError
from store.keys import GROUP, Keys
from tests.checker import Violation, check
from tests.history import Bytes, History
from tests.process.gateway import Gateway
from tests.rig.memory import Log, Memory
from tests.rig.producer import Producer
from tests.rig.sessions import session_names
from tests.rig.tracker import Address, Line, Tracker
from tests.rig.waiting import each, until

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
    "session_events_rate": 0,  # by them the checker tells which session a connection was
}
"""Options of gateways whose deaths and deadlines come soon, so that a test need not wait for them."""
PAGE = 5000
"""Entries read in one call."""
LAST_WORDS = 40
"""Lines of a gateway's log that are shown when a run fails."""
DEVICE_SIDE = 500.0
"""Milliseconds by which a device may see a command later than it was written."""


class Fleet:
    """A run on real processes.

    Args:
        url: the server as an administrator sees it; gateway_url: as the gateways do, if otherwise.

    Attributes:
        gateways: the living processes by instance id.
        history: what the checker reads.
        client: of Redis, with a longer time-out than those of the gateways.
        shards: the shards of telemetry, and a client for each.
        memory: what Redis has lost in the course of the run.
        process: what a gateway is started as.
    """

    process: type[Gateway] = Gateway

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
        self.client: Any = connect(url, purpose="checker", block=2.0, key_prefix=prefix)
        count = self.options.get("telemetry_shards", 1)
        self.shards: dict[Keys, Any] = {
            shard: self.client
            if count == 1
            else connect(url, purpose="checker", block=2.0, key_prefix=prefix, near=shard.telemetry)
            for shard in self.keys.shards(count)
        }
        self.tasks: list[asyncio.Task[Any]] = []
        self._thawed_at = -math.inf
        self.memory = Memory()
        self._read_to = "-"
        self._processes: list[Gateway] = []

    @property
    def imeis(self) -> list[str]:
        """Of all trackers."""
        return [tracker.imei for tracker in self.trackers]

    async def start(self, instance_id: str = "gw-1", **options: Any) -> Gateway:
        """Start a gateway process, on the port it had before if it had one, and wait until it is ready."""
        port = self.ports.get(instance_id, 0)
        given = self.options | {"listen": f"127.0.0.1:{port}"} | options
        gateway = self.process(self.gateway_url, instance_id, ready=False, **given)
        self._processes = [one for one in self._processes if one.process.returncode is None] + [gateway]
        ready = await asyncio.to_thread(gateway.said, "ready")
        gateway.port = ready["listen"][0].rpartition(":")[2]
        self.gateways[instance_id] = gateway
        self.ports[instance_id] = int(gateway.port)
        return gateway

    async def kill(self, instance_id: str = "gw-1") -> None:
        """SIGKILL."""
        await asyncio.to_thread(self.gateways.pop(instance_id).kill)

    async def stop(self, instance_id: str = "gw-1") -> int:
        """SIGTERM; the exit status."""
        gateway = self.gateways.pop(instance_id)
        gateway.terminate()
        try:
            return await asyncio.to_thread(gateway.exit_status)
        finally:
            await asyncio.to_thread(gateway.kill)

    def freeze(self, instance_id: str = "gw-1") -> None:
        """SIGSTOP: it does nothing, and its sockets stand."""
        self.gateways[instance_id].process.send_signal(signal.SIGSTOP)

    def thaw(self, instance_id: str = "gw-1") -> None:
        """SIGCONT."""
        self._thawed_at = time.monotonic()
        self.gateways[instance_id].process.send_signal(signal.SIGCONT)

    async def outlive(self, instance_id: str = "gw-1") -> None:
        """Let the heartbeat of an instance run out."""
        await self.client.delete(self.keys.heartbeat(instance_id), self.keys.boot(instance_id))

    def at(self, instance_id: str) -> Callable[[], Address | None]:
        """The address of one gateway, while it lives: where a tracker may connect."""
        return lambda: ("127.0.0.1", self.ports[instance_id]) if instance_id in self.gateways else None

    def somewhere(self) -> Address | None:
        """The address of a living gateway."""
        found = [self.ports[name] for name in self.gateways]
        return ("127.0.0.1", self.random.choice(found)) if found else None

    def plug_in(
        self, count: int, where: Callable[[], Address | None] | None = None, **how: Any
    ) -> list[Tracker]:
        """Let `count` more trackers live, anywhere or `where`."""
        first = len(self.trackers) + 1
        new = [
            Tracker(_imei(number), self.history, where or self.somewhere, self.random, **how)
            for number in range(first, first + count)
        ]
        self.trackers += new
        for tracker in new:
            self.begin(tracker.live(), tracker.imei)
        return new

    async def allow(self, count: int) -> None:
        """Put the first `count` trackers that will be plugged in on the list of allowed devices."""
        await self.client.sadd(self.keys.allowed, *map(_imei, range(1, count + 1)))

    def begin(self, work: Any, name: str = "") -> asyncio.Task[Any]:
        """Run a coroutine beside; it is cancelled when the run ends."""
        self.tasks.append(asyncio.create_task(work, name=name))
        return self.tasks[-1]

    async def connected(self, within: float = 30.0) -> None:
        """Wait until every tracker is accepted and has had its first report acknowledged."""
        await each(
            self.trackers, lambda t: bool(t.all_acknowledged and t.acks), "every tracker connected", within
        )

    # The end of a run

    def calm(self) -> None:
        """From now on every tracker answers."""
        for tracker in self.trackers:
            tracker.manners = ("answer",)

    async def rest(self, within: float = 40.0) -> None:
        """No more commands, calm, and wait until each has a verdict and nothing is left in any stream."""
        await self.producer.stop()
        self.calm()
        await until(self._decided, "a verdict for every command", within)
        await until(self._idle, "empty streams", within)
        await each(self.trackers, lambda tracker: tracker.at_ease, "every tracker at ease", within)
        await until(lambda: self._drained(within), "the drain time-out of a gateway that was frozen", within)
        await until(self.named, "a registry that names who is connected", within)
        await self.told(within)

    def _drained(self, within: float) -> bool:
        """Whether a gateway that was frozen has closed the tainted connections that it closes so soon.

        It does that for commands that wait behind an answer, although another has ended them meanwhile.
        """
        drained = 2 * self.options["drain_timeout"]
        return drained > within or time.monotonic() > self._thawed_at + drained

    async def told(self, within: float) -> None:
        """Wait until the log tells of the sessions of all who are connected."""
        await until(self.registered, "a log that names who is connected", within)

    async def _decided(self) -> bool:
        await self.read_on()
        asked = {p.command_id for p in self.history.produced if p.is_command}
        return asked <= self.memory.decided | self.memory.unheard

    async def _idle(self) -> bool:
        return not any([await self.client.xlen(self.keys.outbound(name)) for name in self.ports])

    async def registered(self) -> bool:
        """Whether the registry names everybody who is connected, and the log their sessions."""
        return await self.named() and not await self.untold()

    async def named(self) -> bool:
        """Whether the registry names everybody who is connected, and nobody else."""
        return _text(await self.client.hgetall(self.keys.registry)) == self._whereabouts()

    async def untold(self) -> list[Line]:
        """The connections of whose session the log does not tell."""
        await self.read_on()
        here = [(tracker.imei, tracker.line) for tracker in self.trackers if tracker.accepted]
        return [line for imei, line in here if line and (imei, line.peer) not in self.memory.sessions]

    def _whereabouts(self) -> dict[str, str]:
        """Who is connected, and to which instance."""
        names = {port: name for name, port in self.ports.items()}
        return {t.imei: names[t.line.address[1]] for t in self.trackers if t.accepted and t.line is not None}

    async def read_on(self) -> None:
        """Read the log as far as it goes."""
        try:
            found = await self.stream(self.keys.responses, self._read_to)
        except StoreError:
            return
        if found:
            self._read_to = f"({found[-1][0]}"
            self.memory.hear(found)

    def lose(self, log: Log, at: float) -> None:
        """`at` epoch ms Redis lost everything: `log` was in it, and all that was acknowledged until now."""
        self.memory.lose(log, self.history.produced, at)
        self.history.acked.clear()
        self._read_to = "-"

    async def stream(self, key: str, start: str = "-", client: Any = None) -> Log:
        """The entries of a stream; of a shard with its own client."""
        log: Log = []
        while page := await (client or self.client).xrange(key, start, count=PAGE):
            log += [(entry.decode(), _text(fields)) for entry, fields in page]
            start = f"({log[-1][0]}"
        return log

    async def verdict(self, *, at_rest: bool = True) -> list[Violation]:
        """Collect what Redis holds, and let the checker check the run."""
        client, keys = self.client, self.keys
        # Trackers go on reporting: what is acknowledged from here on may be younger than what is read.
        self.history = history = replace(self.history, acked=list(self.history.acked))
        history.responses = self.memory.lost + await self.stream(keys.responses)
        history.telemetry = []
        for shard, reader in self.shards.items():
            await until(partial(_found, reader, shard), "the server of a shard, which may have moved")
            history.telemetry += [fields for _, fields in await self.stream(shard.telemetry, client=reader)]
        history.messages = [fields for _, fields in await self.stream(keys.messages)]
        history.registry = _text(await client.hgetall(keys.registry))
        history.tokens = _text(await client.hgetall(keys.sessions))
        async for key in client.scan_iter(keys.ledger("*"), count=1000):
            history.ledgers[key.decode().removeprefix(keys.ledger(""))] = _text(await client.hgetall(key))
        for name in self.ports:
            stream = keys.outbound(name)
            history.left[name] = [entry for entry, _ in await self.stream(stream)]
            if await client.exists(stream):
                found = await client.xpending_range(stream, GROUP, "-", "+", 1000)
                history.pending[name] = [one["message_id"].decode() for one in found]
        self._name_sessions()
        history.produced = [p for p in history.produced if p.command_id not in self.memory.unheard]
        return check(history, at_rest=at_rest)

    def _name_sessions(self) -> None:
        """Give each connection the id of its session, as the log tells it by the peer's address."""
        names = session_names(self.history.responses, self.trackers)
        history = self.history
        whereabouts = self._whereabouts()
        for tracker in self.trackers:
            if tracker.line is not None and tracker.imei in whereabouts:
                history.live[tracker.imei] = (whereabouts[tracker.imei], names.get(tracker.line.name, ""))
        history.connections = {names.get(name, name): imei for name, imei in history.connections.items()}
        history.traffic = [
            Bytes(data.at, names.get(data.connection, data.connection), data.up, data.data)
            for data in history.traffic
        ]

    async def end(self) -> None:
        """Stop everything, also processes that never were ready."""
        for task in self.tasks:
            task.cancel()
        outcomes = await asyncio.gather(*self.tasks, return_exceptions=True)
        everyone = dict.fromkeys([*self.gateways.values(), *self._processes])
        dying = [asyncio.to_thread(one.kill) for one in everyone]
        killed = await asyncio.gather(*dying, return_exceptions=True)
        await self.producer.aclose()
        for client in {self.client, *self.shards.values()}:
            await client.aclose()
        for outcome in (*outcomes, *killed[: len(self.gateways)]):  # of the others `start` has told
            if isinstance(outcome, Exception):
                raise outcome


def _imei(number: int) -> str:
    return f"3567{number:011d}"


async def _found(reader: Any, shard: Keys) -> bool:
    """Whether the server that has a shard answers."""
    await reader.exists(shard.telemetry)
    return True


def _text(fields: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in fields.items()}


@asynccontextmanager
async def fleet(url: str, seed: int = 1, **options: Any) -> AsyncIterator[Fleet]:
    """A run, whose processes and tasks end with the block; when that fails, it prints what they said last."""
    run = Fleet(url, seed, **options)
    try:
        yield run
    except BaseException:
        for name, gateway in run.gateways.items():
            print(name, *gateway.lines[-LAST_WORDS:], sep="\n")
        raise
    finally:
        await run.end()

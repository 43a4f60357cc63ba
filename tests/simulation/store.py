"""Redis as a process sees it: a server behind a network that delays, loses and refuses."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import fakeredis
import hiredis
from fakeredis._helpers import SimpleError
from redis.commands import AsyncCoreCommands
from redis.exceptions import ConnectionError, RedisError, TimeoutError

from tests.simulation.weather import NEVER, Plan, Weather

if TYPE_CHECKING:
    from tests.simulation.process import Process

DENIED_WHEN_FULL = {"xadd", "hset", "hsetnx", "set", "xgroup create"}
OOM = "OOM command not allowed when used memory > 'maxmemory'."
START_UPTIME = 10_000.0


class Server:
    """One Redis. Commands take effect one after the other, each at a moment of the virtual clock."""

    def __init__(self, weather: Weather) -> None:
        self._weather = weather
        self.redis = fakeredis.FakeRedis(
            server=fakeredis.FakeServer(version=(7,)), protocol=2, single_connection_client=True
        )
        self.redis.ping()
        self._refuse_when_full(self.redis.connection._sock)
        self.blocked: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []

    def _refuse_when_full(self, socket: Any) -> None:
        run = socket._run_command

        def guarded(func: Any, sig: Any, args: Any, from_script: bool) -> Any:
            if sig.name in DENIED_WHEN_FULL and self._weather.oom(asyncio.get_running_loop().time()):
                return SimpleError(OOM)
            return run(func, sig, args, from_script)

        socket._run_command = guarded

    def execute(self, *args: Any, **options: Any) -> Any:
        """One command; an error of the server is raised. Blocked readers are served after it."""
        try:
            return self.redis.execute_command(*args, **options)
        finally:
            if args[0] in ("XADD", "EVALSHA", "EVAL"):
                self._serve_blocked()

    def _serve_blocked(self) -> None:
        for waiter in list(self.blocked):
            attempt, deliver = waiter
            found = attempt()
            if found:
                self.blocked.remove(waiter)
                deliver(found)

    def info(self) -> dict[str, Any]:
        """What INFO says."""
        uptime = START_UPTIME + asyncio.get_running_loop().time()
        return {"run_id": "one", "uptime_in_seconds": int(uptime)}


class Wire:
    """The way from one client of a process to the server and back."""

    def __init__(self, process: Process, purpose: str, patience: float) -> None:
        self._process = process
        self._purpose = purpose
        self._patience = patience
        self.server = process.world.server

    async def call(self, effect: Callable[[], Any], block: float = 0.0) -> Any:
        """Send a request and wait for its reply; what the network does to it is decided now.

        The effect does not depend on the process that asked for it: it may come after its patience, or its
        end.
        """
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Any] = loop.create_future()
        if self._process.dead:
            await reply
        self._process.tempt()
        plan = self._process.world.weather.plan(self._process.instance_id, self._purpose, loop.time())
        if plan.refused:
            await asyncio.sleep(plan.before if plan.before > 0 else 0)
            raise ConnectionError("Error 111 connecting: refused.")
        if plan.before != NEVER:
            self._later(plan.before, self._arrive, effect, plan, reply, block)
        elif plan.reset:
            self._later(0.001, self._settle, reply, ConnectionError("Connection reset."))
        return await self._wait(reply)

    async def _wait(self, reply: asyncio.Future[Any]) -> Any:
        try:
            async with asyncio.timeout(self._patience):
                outcome = await reply
        except builtins.TimeoutError:
            raise TimeoutError("Timeout reading from the server") from None
        self._process.tempt()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _arrive(
        self, effect: Callable[[], Any], plan: Plan, reply: asyncio.Future[Any], block: float
    ) -> None:
        try:
            outcome = effect()
        except RedisError as error:
            outcome = error
        if block and not outcome:
            self._block(effect, plan, reply, block)
        else:
            self._answer(plan, reply, outcome)

    def _block(self, effect: Callable[[], Any], plan: Plan, reply: asyncio.Future[Any], block: float) -> None:
        def attempt() -> Any:
            # The server knows that a process has died, and not that a client has lost its patience.
            try:
                return None if self._process.dead else effect()
            except RedisError as error:
                return error

        waiter = (attempt, lambda found: self._answer(plan, reply, found))
        self.server.blocked.append(waiter)

        def expire() -> None:
            if waiter in self.server.blocked:
                self.server.blocked.remove(waiter)
                self._answer(plan, reply, [])

        self._later(block, expire)

    def _answer(self, plan: Plan, reply: asyncio.Future[Any], outcome: Any) -> None:
        if self._process.dead:
            return
        self._process.tempt()
        if plan.after != NEVER:
            self._later(plan.after, self._settle, reply, outcome)
        elif plan.reset:
            self._later(0.001, self._settle, reply, ConnectionError("Connection reset."))

    def _later(self, delay: float, call: Callable[..., None], *args: Any) -> None:
        """Outside of the process: what is on its way goes on while that is frozen, or dead."""
        context = self._process.world.context
        asyncio.get_running_loop().call_later(delay, call, *args, context=context)

    @staticmethod
    def _settle(reply: asyncio.Future[Any], outcome: Any) -> None:
        if not reply.done():
            reply.set_result(outcome)


class SimulatedRedis(AsyncCoreCommands):
    """A client as the store uses it."""

    def __init__(self, process: Process, purpose: str, block: float) -> None:
        self._wire = Wire(process, purpose, block + 3.0 if block else 1.0)
        self.connection_pool = self

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        server = self._wire.server
        return await self._wire.call(lambda: server.execute(*args, **options))

    async def xreadgroup(self, *args: Any, block: int | None = None, **options: Any) -> Any:
        """A read that blocks as a real server's does."""
        redis = self._wire.server.redis
        return await self._wire.call(
            lambda: redis.xreadgroup(*args, **options), block=(block or 0) / 1000 if block else 0.0
        )

    async def info(self, section: str | None = None) -> Any:
        return await self._wire.call(self._wire.server.info)

    def pipeline(self, transaction: bool = True) -> Pipeline:
        return Pipeline(self._wire)

    async def aclose(self) -> None:
        """Nothing is held."""

    # A pool of connections, as the telemetry store borrows one

    async def get_connection(self) -> Connection:
        return Connection(self._wire)

    async def release(self, connection: Connection) -> None:
        """Nothing is held."""


class Connection:
    """A connection of one's own: commands go out packed."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._args: list[bytes] = []

    async def send_packed_command(self, packed: bytes, check_health: bool = True) -> None:
        reader = hiredis.Reader()
        reader.feed(packed)
        self._args = reader.gets()

    async def read_response(self) -> Any:
        name, *rest = self._args
        return await self._wire.call(lambda: self._wire.server.execute(name.decode(), *rest))


class Pipeline:
    """Commands that travel together and take effect one by one."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._entries: list[tuple[str, dict[str, str]]] = []

    async def __aenter__(self) -> Pipeline:
        return self

    async def __aexit__(self, *error: object) -> None:
        self._entries.clear()

    def xadd(self, stream: str, fields: dict[str, str]) -> None:
        self._entries.append((stream, fields))

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        entries = list(self._entries)
        return await self._wire.call(lambda: [self._add(stream, fields) for stream, fields in entries])

    def _add(self, stream: str, fields: dict[str, str]) -> Any:
        try:
            return self._wire.server.redis.xadd(stream, fields)
        except RedisError as error:
            return error

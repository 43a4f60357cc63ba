"""Clients of the in-memory server, as the store uses those of redis-py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar, cast

import hiredis
from redis.commands import AsyncCoreCommands
from redis.exceptions import RedisError

from store.client.client import Calls
from store.client.errors import ours, translated
from tests.in_memory.server import Server

T = TypeVar("T")


class Wire(Protocol):
    """The way from one client to the server and back."""

    server: Server

    async def call(self, effect: Callable[[], Any], block: float = 0.0, *, script: bool = False) -> Any:
        """Carry out `effect` on the server and return its outcome; wait `block` seconds for one."""

    @property
    def cut(self) -> bool:
        """Whether a kept connection has ended since its last call."""


class DirectWire:
    """A wire without a network: a call takes effect at once, and only a blocking read waits.

    Args:
        yields: whether a call lets other tasks run, as a call over a socket does.
    """

    cut = False

    def __init__(self, server: Server, *, yields: bool = True) -> None:
        self.server = server
        self._yields = yields

    async def call(self, effect: Callable[[], Any], block: float = 0.0, *, script: bool = False) -> Any:
        if self._yields:
            await asyncio.sleep(0)
        outcome = effect()
        if outcome or not block:
            return outcome
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        stop = self.server.block(effect, reply.set_result)
        try:
            async with asyncio.timeout(block):
                return await reply
        except TimeoutError:
            return []
        finally:
            stop()


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        return cast(T, done.value)
    raise AssertionError("The in-memory server makes nobody wait.")


class _Raw(AsyncCoreCommands):
    """What redis-py would be: it raises the errors of the driver."""

    _wire: Wire

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        server = self._wire.server
        block = int(args[args.index(b"BLOCK") + 1]) / 1000 if b"BLOCK" in args else 0.0
        script = args[0] in ("EVAL", "EVALSHA")
        return await self._wire.call(lambda: server.execute(*args, **options), block, script=script)


class Client(Calls, _Raw):  # type: ignore[misc]
    """A client whose commands go to the server over a wire; it is its own pool of connections."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.connection_pool = self

    async def batch(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        with translated():
            return await self._wire.call(lambda: [self._reply(command) for command in commands])

    def _reply(self, command: Sequence[Any]) -> Any:
        try:
            return self._wire.server.execute(*command)
        except RedisError as error:
            return ours(error)

    async def aclose(self) -> None:
        """Nothing is held."""

    async def disconnect(self) -> None:
        """Nothing is held."""

    async def get_connection(self) -> Connection:
        return Connection(self._wire)

    async def release(self, connection: Connection) -> None:
        """Nothing is held."""


class Connection:
    """A connection that one caller keeps: commands go out packed. It may end between two of them."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._args: list[bytes] = []
        self._ended = False

    async def drop_if_stale(self) -> None:
        """Connect anew if the connection has ended."""
        self._ended = False

    async def disconnect(self, nowait: bool = False) -> None:
        """The next command connects anew."""
        self._ended = False

    async def send_packed_command(self, packed: bytes, check_health: bool = True) -> None:
        if self._ended:
            raise RuntimeError("unable to perform operation on <TCPTransport closed=True>")
        reader = hiredis.Reader()
        reader.feed(packed)
        self._args = reader.gets()

    async def read_response(self) -> Any:
        name, *rest = self._args
        try:
            return await self._wire.call(lambda: self._wire.server.execute(name.decode(), *rest), script=True)
        finally:
            self._ended = self._wire.cut

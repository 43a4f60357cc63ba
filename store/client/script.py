"""Calls of Lua scripts: by digest, and with the whole source when the server does not have the script."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import sha1
from importlib import resources
from typing import Any, TypeVar, cast

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from store.client.client import Calls
from store.client.connection import LossyConnection
from store.client.errors import StoreRefused, translated
from store.client.replies import StrangeReply
from store.client.resp import Arguments, pack

T = TypeVar("T")


class Script:
    """A Lua script of ``store/scripts``, called by its digest and sent whole when the server lacks it."""

    def __init__(self, name: str) -> None:
        self.source = resources.files("store").joinpath("scripts", name).read_bytes()
        self.sha = sha1(self.source, usedforsecurity=False).hexdigest()

    async def __call__(self, client: Redis, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Any:
        """Run the script; the outcome of a call that raises may be unknown.

        Raises:
            StoreError: the call failed.
        """
        call = cast(Any, client).execute_command
        try:
            return await call("EVALSHA", self.sha, len(keys), *keys, *args)
        except StoreRefused as error:
            if error.code != "NOSCRIPT":
                raise
        return await call("EVAL", self.source, len(keys), *keys, *args)


def _as_it_is(reply: Any) -> Any:
    return reply


FEW = 6
"""Keys up to which a script is taken to be called with the same ones again."""


def _begin(command: str, script: str | bytes, *keys: str) -> Arguments:
    """A call of a script up to its keys."""
    return Arguments((command, script, len(keys), *keys))


_begun = lru_cache(maxsize=64)(_begin)


class KeptConnection:
    """A connection that one caller keeps for itself, and whose calls it packs: a quarter of the cost.

    It is taken from the client's pool at the first call, and made anew when it is lost.
    """

    def __init__(self, client: Redis) -> None:
        self._client = cast(Calls, client)
        self._pool: Any = client.connection_pool
        self._connection: LossyConnection | None = None
        self._owes = ""

    async def call(
        self,
        script: Script,
        keys: Sequence[str],
        args: Arguments,
        read: Callable[[Any], Any] = _as_it_is,
    ) -> Any:
        """What `read` makes of the reply of a script; the outcome of a call that raises may be unknown.

        Raises:
            StoreError: the call failed, or `read` raised: that was no reply, and the connection is closed.
        """
        begin = _begun if len(keys) <= FEW else _begin
        with translated():
            try:
                reply = await self._exchange(begin("EVALSHA", script.sha, *keys), args)
            except NoScriptError:
                reply = await self._exchange(begin("EVAL", script.source, *keys), args)
            return await self._understood("a script", reply, read)

    async def post(self, *command: str | bytes | int) -> None:
        """Send a command; `answer` reads its reply, before any other call.

        Raises:
            StoreError: as `call` does.
        """
        with translated():
            await self._write(Arguments(command))
            self._owes = str(command[0])

    async def answer(self, read: Callable[[Any], T]) -> T:
        """What `read` makes of the reply to the command of `post`, which redis-py does not touch.

        Raises:
            StoreError: as `call` does.
        """
        with translated():
            reply = await cast(Any, self._connection).read_response()
            what, self._owes = self._owes, ""
            return await self._understood(what, reply, read)

    async def _understood(self, what: str, reply: Any, read: Callable[[Any], T]) -> T:
        try:
            return read(reply)
        except Exception as error:
            await cast(Any, self._connection).disconnect(nowait=True)
            raise StrangeReply(what) from error

    async def _exchange(self, *call: Arguments) -> Any:
        begun = time.monotonic()
        await self._write(*call)
        reply = await cast(Any, self._connection).read_response()
        self._client.on_answer(time.monotonic() - begun)
        return reply

    async def _write(self, *call: Arguments) -> None:
        if self._connection is None:
            self._connection = await self._pool.get_connection()
        connection = cast(Any, self._connection)
        await connection.drop_if_stale()
        await connection.send_packed_command(pack(*call), check_health=False)

    async def release(self) -> None:
        """Give the connection back; one with an unread reply is closed first."""
        if self._connection is None:
            return
        connection, self._connection = self._connection, None
        if self._owes:
            self._owes = ""
            await cast(Any, connection).disconnect(nowait=True)
        await self._pool.release(connection)

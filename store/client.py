"""Clients, scripts and errors of Redis: the values that redis-py must never choose for us.

redis-py repeats writes on its own by default, and a repeated XADD is a second entry. Nothing here is ever
repeated by the client: whoever can prove that repeating is harmless does it.
"""

from __future__ import annotations

import asyncio
import builtins
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha1
from importlib import resources
from typing import Any, cast
from weakref import WeakValueDictionary

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import InvalidResponse, NoScriptError, RedisError

from store.connection import LossyConnection, TcpConnection, TlsConnection, pool_of
from store.errors import (
    CallFailed,
    NotOwnerYet,
    StoreError,
    StoreRefused,
    is_transient,
    ours,
    translated,
)
from store.keys import Keys
from store.locator import Cluster, LocatedConnection, LocatedPool, LocatedSSLConnection, Locator, Sentinels
from store.redis_url import CLUSTER, Address, BadRedisUrl, RedisUrl, read_url, redacted
from store.replies import StrangeReply, guard
from store.resolver import Resolver

__all__ = [
    "Backoff",
    "BadRedisUrl",
    "CallFailed",
    "Calls",
    "Client",
    "KeptConnection",
    "NotOwnerYet",
    "Script",
    "StoreError",
    "StoreRefused",
    "connect",
    "is_transient",
    "jittered",
    "redacted",
]

TIMEOUT = 1.0
READER_MARGIN = 3.0
HEALTH_CHECK = 15
MAX_CONNECTIONS = 16

_locators: WeakValueDictionary[tuple[str, str], Locator] = WeakValueDictionary()


class Calls:
    """What every client of ours adds to one of redis-py: its errors are a `StoreError`."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """One call.

        Raises:
            StoreError: it failed.
        """
        with translated():
            return await super().execute_command(*args, **options)  # type: ignore[misc]

    async def parse_response(self, connection: Any, command_name: Any, **options: Any) -> Any:
        """The reply to a call; one of another shape than the command's ends the connection."""
        try:
            return await super().parse_response(connection, command_name, **options)  # type: ignore[misc]
        except (RedisError, OSError):
            raise
        except Exception as error:
            await connection.disconnect(nowait=True)
            raise InvalidResponse(f"The reply to {command_name} is none: {error}") from error

    async def batch(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """The replies to several calls that travel together and take effect one by one.

        An error of one call is returned in its place, as a `StoreRefused`.

        Raises:
            CallFailed: the replies did not come.
        """
        with translated():
            async with cast(Any, self).pipeline(transaction=False) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                replies: list[Any] = await pipeline.execute(raise_on_error=False)
        # No cause: an error and the frames of its traceback would keep each other alive.
        return [ours(reply) if isinstance(reply, Exception) else reply for reply in replies]


class Client(Calls, Redis):  # type: ignore[misc]  # two mixins of redis-py disagree about a name
    """A client of one server, or of the one that takes the writes."""


def connect(url: str, *, purpose: str, block: float = 0.0, key_prefix: str = "") -> Client:
    """A client for one purpose, not connected yet.

    Args:
        url: as `store.redis_url` has it; of options it may hold logins and ``ssl_*`` only.
        purpose: shown by ``CLIENT LIST`` as ``telgw:{purpose}``.
        block: seconds that a read of this client may block on the server; its socket waits longer than that.
        key_prefix: of the keys that will be used: in a cluster it decides which server that is.

    Raises:
        BadRedisUrl: the URL names no server, or a cluster would scatter such keys.
    """
    where = read_url(url)
    where.check_prefix(key_prefix)
    options: dict[str, Any] = {
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "decode_responses": False,
        "socket_timeout": block + READER_MARGIN if block else TIMEOUT,
        "socket_connect_timeout": TIMEOUT,
        "health_check_interval": HEALTH_CHECK,
        "max_connections": MAX_CONNECTIONS,
        "client_name": f"telgw:{purpose}",
    }
    if not url.startswith("unix:"):
        options["socket_keepalive"] = True
    try:
        if not where.kind:
            return _client(pool_of(url, options))
        given, over_tls = _manners(where)
        locator = _locators.get((url, key_prefix)) or _locate(where, given, over_tls, key_prefix)
        _locators[url, key_prefix] = locator
        connection_class = LocatedSSLConnection if over_tls else LocatedConnection
        options |= {"locator": locator, "resolver": Resolver()}
        return _client(LocatedPool(connection_class=connection_class, **options | given))
    except (ValueError, TypeError, RedisError):
        raise BadRedisUrl(f"An option of the Redis URL {redacted(url)!r} cannot be used.") from None


def _client(pool: ConnectionPool) -> Client:
    """A client that takes no reply of a wrong form."""
    pool.make_connection()  # type: ignore[no-untyped-call]  # raises now if redis-py does not know an option
    client = cast(Client, Client.from_pool(pool))
    guard(client)
    return client


def _manners(where: RedisUrl) -> tuple[dict[str, Any], bool]:
    """How to speak to a server of data, wherever it is: login, database, TLS."""
    given: dict[str, Any] = dict(parse_url(where.server))
    for name in ("host", "port"):
        given.pop(name, None)
    return given, given.pop("connection_class", None) is SSLConnection


def _locate(where: RedisUrl, given: dict[str, Any], over_tls: bool, key_prefix: str) -> Locator:
    in_cluster = where.kind == CLUSTER
    login = given if in_cluster else where.login
    options: dict[str, Any] = {
        "protocol": 2,
        "resolver": Resolver(),
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": TIMEOUT,
        "socket_connect_timeout": TIMEOUT,
        **{name: login[name] for name in ("username", "password") if name in login},
        **{name: value for name, value in given.items() if name.startswith("ssl_")},
    }

    def dial(node: Address) -> Connection:
        return (TlsConnection if over_tls else TcpConnection)(host=node[0], port=node[1], **options)

    if in_cluster:
        return Cluster(where.nodes, dial, Keys(key_prefix).registry)
    return Sentinels(where.nodes, dial, where.service)


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


class KeptConnection:
    """A connection that one caller keeps for itself, with arguments packed in C: a quarter of the cost.

    It is taken from the client's pool at the first call, and made anew when it is lost.
    """

    def __init__(self, client: Redis) -> None:
        self._pool: Any = client.connection_pool
        self._connection: LossyConnection | None = None

    async def call(
        self,
        script: Script,
        keys: Sequence[str],
        args: Sequence[str | bytes | int],
        read: Callable[[Any], Any] = _as_it_is,
    ) -> Any:
        """What `read` makes of the reply of a script; the outcome of a call that raises may be unknown.

        Raises:
            StoreError: the call failed, or `read` raised: that was no reply, and the connection is closed.
        """
        rest = (len(keys), *keys, *args)
        with translated():
            if self._connection is None:
                self._connection = await self._pool.get_connection()
            try:
                reply = await self._exchange("EVALSHA", script.sha, *rest)
            except NoScriptError:
                reply = await self._exchange("EVAL", script.source, *rest)
            try:
                return read(reply)
            except Exception as error:
                await cast(Any, self._connection).disconnect(nowait=True)
                raise StrangeReply("a script") from error

    async def _exchange(self, *command: Any) -> Any:
        connection = cast(Any, self._connection)
        await connection.drop_if_stale()
        await connection.send_packed_command(hiredis.pack_command(command), check_health=False)
        return await connection.read_response()

    async def release(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await self._pool.release(connection)


def jittered(seconds: float) -> float:
    """About `seconds`, a fifth more or less: a fleet must not do everything at the same moment."""
    return seconds * random.uniform(0.8, 1.2)


class Backoff:
    """Waits that grow from `first` to `last` seconds, each cut short at random to spread a fleet."""

    def __init__(self, first: float = 0.05, last: float = 1.0) -> None:
        self._first = first
        self._last = last
        self._delay = first

    def reset(self) -> None:
        """Begin anew with the shortest wait."""
        self._delay = self._first

    async def wait(self, stop: asyncio.Event) -> None:
        """Wait once, or until `stop` is set."""
        delay = self._delay * random.uniform(0.5, 1.0)
        self._delay = min(self._delay * 2, self._last)
        with suppress(builtins.TimeoutError):
            async with asyncio.timeout(delay):
                await stop.wait()

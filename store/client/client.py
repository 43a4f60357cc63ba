"""Clients of Redis, with every option of redis-py that matters set here.

redis-py repeats failed calls by default, and a repeated XADD is a second entry. These clients never repeat a
call: a caller does so itself, where it can prove that a repetition is harmless.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast
from weakref import WeakValueDictionary

from redis.asyncio import Redis
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import InvalidResponse, RedisError

from store.client.connection import TcpConnection, TlsConnection, pool_of
from store.client.errors import (
    ours,
    translated,
)
from store.client.locator import (
    Cluster,
    LocatedConnection,
    LocatedPool,
    LocatedSSLConnection,
    Locator,
    Sentinels,
)
from store.client.replies import guard
from store.client.resolver import Resolver
from store.client.url import CLUSTER, Address, BadRedisUrl, RedisUrl, read_url, redacted
from store.keys import Keys

TIMEOUT = 1.0
READER_MARGIN = 3.0
HEALTH_CHECK = 15
MAX_CONNECTIONS = 16

_locators: WeakValueDictionary[tuple[str, str], Locator] = WeakValueDictionary()


def _untimed(_: float) -> None:
    """Nobody wants to know how long calls take."""


class Calls:
    """What every client of ours adds to one of redis-py: its errors are a `StoreError`.

    Attributes:
        on_answer: told of every call that was answered how many seconds that took.
    """

    on_answer: Callable[[float], None] = staticmethod(_untimed)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """A call: within the block it is made and answered."""
        begun = time.monotonic()
        yield
        self.on_answer(time.monotonic() - begun)

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """One call.

        Raises:
            StoreError: it failed.
        """
        with translated(), self.timed():
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
        with translated(), self.timed():
            async with cast(Any, self).pipeline(transaction=False) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                replies: list[Any] = await pipeline.execute(raise_on_error=False)
        # No cause: an error and the frames of its traceback would keep each other alive.
        return [ours(reply) if isinstance(reply, Exception) else reply for reply in replies]


class Client(Calls, Redis):  # type: ignore[misc]  # two mixins of redis-py disagree about a name
    """A client of one server, or of the one that takes the writes."""


def connect(url: str, *, purpose: str, block: float = 0.0, key_prefix: str = "", near: str = "") -> Client:
    """A client for one purpose, not connected yet.

    Args:
        url: as `store.client.url` has it; of options it may hold logins and ``ssl_*`` only.
        purpose: shown by ``CLIENT LIST`` as ``telgw:{purpose}``.
        block: seconds that a read of this client may block on the server; its socket waits longer than that.
        key_prefix: of the keys that will be used.
        near: one of these keys: in a cluster the server is the one that has it; by default the registry.

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
        key = near or Keys(key_prefix).registry
        locator = _locators.get((url, key)) or _locate(where, given, over_tls, key)
        _locators[url, key] = locator
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


def _locate(where: RedisUrl, given: dict[str, Any], over_tls: bool, key: str) -> Locator:
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
        return Cluster(where.nodes, dial, key)
    return Sentinels(where.nodes, dial, where.service)

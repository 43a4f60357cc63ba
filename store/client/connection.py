"""Connections to Redis on which every kind of loss looks the same.

A connection is lost in many ways: a reset or an end of the stream while it was idle, an exception of the
event loop's transport, of `ssl` or of the resolver, a reply that is none, or unread bytes of an earlier call.
redis-py asks only for unread bytes and for the end of the stream. It hands out a connection that was reset,
and the transport then raises an error of its own: uvloop a RuntimeError, asyncio a TypeError or an
AttributeError.

Two rules hold here, and only here:

* A connection that is `unusable` is closed before a call, never written to and never handed out.
* What a call raises because its connection failed is a `ConnectionError` or `TimeoutError` of redis-py, and
  the connection is closed. An error that came before the call was written is marked so
  (`store.client.errors`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.exceptions import ConnectionError, InvalidResponse, RedisError, ResponseError
from redis.exceptions import TimeoutError as Unanswered

from store.client.driver import CAN_READ, OPTIONS
from store.client.errors import mark_never_sent
from store.client.reasons import cause, reason
from store.client.reply_limit import Overdue, ReplyLimit
from store.client.resolver import Resolver
from store.client.tls_files import read_context

if TYPE_CHECKING:
    _Base = AbstractConnection
else:
    _Base = object

SHORT = 32 * 1024
"""Bytes of a call in many pieces that is written at once, as one in a single piece is: the loop keeps what
the socket does not take. The task in which redis-py waits for that costs more than the rest of the call."""


def _one_piece(pieces: Sequence[bytes]) -> bytes | None:
    """A short call in one piece; None for a long one."""
    return b"".join(pieces) if sum(map(len, pieces)) <= SHORT else None


@contextmanager
def _before_the_write() -> Iterator[None]:
    """Marks what is raised within the block: the call was not written."""
    try:
        yield
    except Exception as error:
        mark_never_sent(error)
        raise


class LossyConnection(_Base):
    """What each kind of connection adds to that of redis-py.

    Only asyncio's own attributes are read here (`StreamReader.at_eof`, `exception`, `Transport.is_closing`),
    and of redis-py the pair of streams and their parser.
    """

    _reader: Any
    _writer: Any
    _parser: Any

    def __init__(self, **given: Any) -> None:
        super().__init__(**OPTIONS | given)
        self._limit = ReplyLimit()

    def unusable(self) -> bool:
        """Whether the peer, the network or an error has ended this connection. False when not connected."""
        reader, writer = self._reader, self._writer
        if reader is None or writer is None:
            return False
        return bool(writer.transport.is_closing() or reader.at_eof() or reader.exception() is not None)

    async def connect(self) -> None:
        """Connect, unless there is a usable connection.

        Raises:
            RedisError: there is none, and nothing was sent.
        """
        with _before_the_write():
            await self._drop_unusable()
            try:
                await super().connect()  # type: ignore[no-untyped-call]
            except Exception as error:
                await self._failed(error)
                raise

    async def connect_check_health(self, *args: Any, **options: Any) -> None:
        """As of redis-py, for those who connect on their way to a call."""
        with _before_the_write():
            try:
                await super().connect_check_health(*args, **options)
            except Exception as error:
                await self._failed(error)
                raise

    @property
    def where(self) -> str:
        """The address of the server, for people: ``HOST:PORT``, or the path of a socket."""
        return str(cast(Any, self)._host_error())

    async def check_health(self) -> None:
        """PING when the connection was idle; a call waits for its reply before it is written."""
        with _before_the_write():
            await super().check_health()  # type: ignore[no-untyped-call]

    async def can_read(self) -> bool:
        """Whether there are unread bytes, which makes a pool connect anew.

        Raises:
            ConnectionError: the connection has ended.
        """
        if self.unusable():
            await self.disconnect(nowait=True)
            raise ConnectionError("The connection was lost while it was idle.")
        return await self._has_unread()

    can_read_destructive = can_read

    async def drop_if_stale(self) -> None:
        """Close the connection if it must not carry another call: it has ended, or holds unread bytes.

        For whoever keeps a connection; a pool asks by itself.
        """
        if self.is_connected and (self.unusable() or await self._has_unread()):
            await self.disconnect(nowait=True)

    async def _has_unread(self) -> bool:
        try:
            return bool(await getattr(super(), CAN_READ)())
        except Exception as error:
            await self._failed(error)
            raise

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Write a call, on a new connection when this one has ended.

        Raises:
            RedisError: the connection failed.
        """
        await self._drop_unusable()
        try:
            packed = command if isinstance(command, bytes) else _one_piece(command)
            if packed is None or not self.is_connected:
                await super().send_packed_command(command, check_health)
                return
            if check_health:
                await self.check_health()
            self._writer.write(packed)
        except Exception as error:
            await self._failed(error)
            raise

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """Read the response to a call.

        Raises:
            RedisError: the connection failed, or the server answered with an error.
        """
        try:
            if args or options or not self.socket_timeout:
                return await super().read_response(*args, **options)
            response = await self._read_in_time(self.socket_timeout)
        except Exception as error:
            await self._failed(error)
            raise
        if isinstance(response, ResponseError):
            raise response
        return response

    async def _read_in_time(self, within: float) -> Any:
        """The response. As redis-py reads it, whose timer for each call costs as much as the reading."""
        self._limit.begin(self._reader, within)
        try:
            response = await self._parser.read_response()
        except BaseException as error:  # whoever is cancelled leaves a reply that nobody will read
            await self.disconnect(nowait=True)
            if isinstance(error, Overdue):
                raise Unanswered(f"Timeout reading from {self.where}") from error
            raise
        finally:
            self._limit.end()
        if self.health_check_interval:
            self.next_health_check = asyncio.get_running_loop().time() + self.health_check_interval
        return response

    async def disconnect(self, nowait: bool = False, *args: Any, **options: Any) -> None:
        """Close at once, without waiting for a peer that may be gone."""
        writer = self._writer
        self._limit.close()
        with suppress(Exception):  # closing what is lost fails in as many ways as using it
            await super().disconnect(True, *args, **options)
        self._reader = self._writer = None
        if writer is not None:
            writer.transport.abort()

    async def _drop_unusable(self) -> None:
        if self.unusable():
            await self.disconnect(nowait=True)

    async def _failed(self, error: Exception) -> None:
        """A use of the connection has raised `error`, which its caller raises again if this returns.

        An error of redis-py keeps its class, and says why the server was not reached in words for people.

        Raises:
            ConnectionError: in place of an error unknown to redis-py; the connection is closed.
        """
        if isinstance(error, InvalidResponse):
            error.args = (f"what answers at {self.where} is not Redis",)
        elif type(error) in (ConnectionError, Unanswered) and (found := cause(error)) is not None:
            error.args = (reason(found, self.where),)
        if isinstance(error, RedisError):
            return
        await self.disconnect(nowait=True)
        if isinstance(error, OSError):
            raise ConnectionError(reason(error, self.where)) from error
        raise ConnectionError(f"The connection was lost: {error or type(error).__name__}") from error


class TcpConnection(LossyConnection, Connection):
    """A connection over TCP.

    Args:
        resolver: who looks the host up; connections of one client share it.
    """

    def __init__(self, *, resolver: Resolver | None = None, **given: Any) -> None:
        super().__init__(**given)
        self._resolver = resolver or Resolver()
        self._address = ""

    async def _connect(self) -> None:
        """Connect to the first address of the host that takes the connection."""
        *others, last = await self._find()
        for self._address in others:
            with suppress(OSError, TimeoutError):
                await cast(Any, super())._connect()
                return
        self._address = last
        await cast(Any, super())._connect()

    async def _find(self) -> list[str]:
        async with asyncio.timeout(self.socket_connect_timeout):
            return await self._resolver.find(self.host)

    def _connection_arguments(self) -> dict[str, Any]:
        return {**super()._connection_arguments(), "host": self._address}


class TlsConnection(TcpConnection, SSLConnection):
    """A connection over TLS. What its files hold counts when it connects, not when it was made."""

    async def _connect(self) -> None:
        async with asyncio.timeout(self.socket_connect_timeout):
            self.ssl_context.context = await read_context(self.ssl_context)
        await cast(Any, super())._connect()

    def _connection_arguments(self) -> dict[str, Any]:
        return {**super()._connection_arguments(), "server_hostname": self.host}


class UnixConnection(LossyConnection, UnixDomainSocketConnection):
    """A connection over a Unix socket."""


_OURS: dict[type[AbstractConnection], type[AbstractConnection]] = {
    Connection: TcpConnection,
    SSLConnection: TlsConnection,
    UnixDomainSocketConnection: UnixConnection,
}


def pool_of(url: str, options: dict[str, Any]) -> ConnectionPool:
    """A pool of such connections to the one server that `url` names.

    Raises:
        ValueError, TypeError: the URL is unusable.
    """
    pool = ConnectionPool.from_url(url, **options)
    pool.connection_class = _OURS[cast(Any, pool.connection_class)]
    if issubclass(pool.connection_class, TcpConnection):
        pool.connection_kwargs["resolver"] = Resolver()
    return pool

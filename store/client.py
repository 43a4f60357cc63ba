"""Clients, scripts and errors of Redis: the values that redis-py must never choose for us.

redis-py repeats writes on its own by default, and a repeated XADD is a second entry. Nothing here is ever
repeated by the client: whoever can prove that repeating is harmless does it.
"""

from __future__ import annotations

import asyncio
import builtins
import random
import re
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha1
from importlib import resources
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ConnectionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from fsm.errors import GatewayFault

__all__ = [
    "Backoff",
    "BadRedisUrl",
    "NotOwnerYet",
    "RedisError",
    "Script",
    "StoreRefused",
    "Unavailable",
    "connect",
    "is_transient",
    "redacted",
]

SCHEMES = ("redis", "rediss", "unix")
TIMEOUT = 1.0
READER_MARGIN = 3.0
HEALTH_CHECK = 15
MAX_CONNECTIONS = 16

Unavailable = (ConnectionError, TimeoutError, OSError, OutOfMemoryError, ReadOnlyError)
"""For ``except``: the store cannot be reached, or takes no writes for now. `is_transient` knows more."""

_REFUSALS = re.compile(r"\b(OOM|READONLY|MISCONF|MASTERDOWN|NOREPLICAS|CLUSTERDOWN|LOADING|BUSY|TRYAGAIN)\b")
# Words by which a server says "not now". An error that passed through a script has them within its text.

_PASSWORD = re.compile(r"(://[^:/?#@]*:).*@")
_PASSWORD_OPTION = re.compile(r"([?&]password=)[^&#]*")


class BadRedisUrl(GatewayFault):
    """A URL that names no Redis server; the sentence never holds the password."""


class NotOwnerYet(ConnectionError):
    """The instance id still belongs to an earlier process: this one has not been able to take it over."""


class StoreRefused(GatewayFault):
    """The store was reached and answered a write with an error."""


def is_transient(error: Exception) -> bool:
    """Whether `error` passes by waiting: no connection, or a server that takes no writes for now."""
    if isinstance(error, AuthenticationError | AuthorizationError):
        return False
    if isinstance(error, Unavailable):
        return True
    return isinstance(error, ResponseError | StoreRefused) and bool(_REFUSALS.search(str(error)))


def redacted(url: str) -> str:
    """`url` as it may be logged: without its password."""
    return _PASSWORD_OPTION.sub(r"\1***", _PASSWORD.sub(r"\1***@", url))


def connect(url: str, *, purpose: str, block: float = 0.0) -> Redis:
    """A client for one purpose, not connected yet.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``; its query may hold ``db``, logins and ``ssl_*`` only.
        purpose: shown by ``CLIENT LIST`` as ``telgw:{purpose}``.
        block: seconds that a read of this client may block on the server; its socket waits longer than that.

    Raises:
        BadRedisUrl: the URL names no server.
    """
    _check(url)
    try:
        return Redis.from_url(
            url,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            retry_on_error=[],
            decode_responses=False,
            socket_timeout=block + READER_MARGIN if block else TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            health_check_interval=HEALTH_CHECK,
            max_connections=MAX_CONNECTIONS,
            client_name=f"telgw:{purpose}",
            **({} if url.startswith("unix:") else {"socket_keepalive": True}),
        )
    except (ValueError, TypeError):
        raise BadRedisUrl(f"{redacted(url)!r} is not a usable Redis URL.") from None


def _check(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in SCHEMES and bool(parts.path if parts.scheme == "unix" else parts.hostname)
        shown, _ = redacted(url), parts.port
    except ValueError:
        raise BadRedisUrl("The Redis URL cannot be read: its host or port is malformed.") from None
    if not usable:
        raise BadRedisUrl(
            f"{shown!r} names no Redis server: write redis://, rediss:// or unix:// and where it is."
        )
    for name, _ in parse_qsl(parts.query):
        if name not in ("db", "username", "password") and not name.startswith("ssl_"):
            raise BadRedisUrl(f"The Redis URL cannot set {name!r}: the gateway chooses it.")


class Script:
    """A Lua script of ``store/scripts``, called by its digest and sent whole when the server lacks it."""

    def __init__(self, name: str) -> None:
        self.source = resources.files("store").joinpath("scripts", name).read_bytes()
        self.sha = sha1(self.source, usedforsecurity=False).hexdigest()

    async def __call__(self, client: Redis, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Any:
        """Run the script; the outcome of a call that raises may be unknown.

        Raises:
            RedisError: the call failed.
        """
        try:
            return await cast(Any, client).execute_command("EVALSHA", self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await cast(Any, client).execute_command("EVAL", self.source, len(keys), *keys, *args)

    async def call_packed(
        self, connection: AbstractConnection, keys: Sequence[str], args: Sequence[str | bytes | int]
    ) -> Any:
        """`__call__` on a connection of one's own, with the arguments packed in C: a quarter of the cost.

        Raises:
            RedisError: the call failed.
        """
        rest = (len(keys), *keys, *args)
        try:
            return await _exchange(connection, ("EVALSHA", self.sha, *rest))
        except NoScriptError:
            return await _exchange(connection, ("EVAL", self.source, *rest))


async def _exchange(connection: AbstractConnection, command: Any) -> Any:
    await connection.send_packed_command(hiredis.pack_command(command), check_health=False)
    return await connection.read_response()


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

"""The locator: finds the primary server where its address is not fixed, behind sentinels or in a cluster.

All keys of a fleet, or of a shard of telemetry, are on one server at a time, so the client is an ordinary
one. Only its connections ask for the address each time they connect, and they are closed when the primary
moves. A command is never repeated here: a call that a former primary refuses ends in a transient error, and
its caller decides.
"""

from __future__ import annotations

import asyncio
import builtins
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, cast

from redis.asyncio.connection import Connection, ConnectionPool
from redis.exceptions import (
    ClusterDownError,
    ConnectionError,
    MovedError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from store.client.connection import TcpConnection, TlsConnection
from store.client.url import Address

ANSWER_TIMEOUT = 1.0
"""Seconds that a sentinel or node has to answer, with connecting."""
TRUST = 1.0
"""Seconds after which the sentinels are asked again although nothing has failed. A primary that was frozen
and replaced accepts writes for some seconds when it wakes up, and all of them are lost."""
STALE = 3.0
"""Seconds after which a call waits for their answer: this process was idle, or was frozen itself."""

Dial = Callable[[Address], Connection]


class NotFound(ConnectionError):
    """No sentinel or node knows the address of the primary."""


class Elsewhere(ConnectionError):
    """The server is not the primary any more; the effect of the call, if any, is lost."""


class Answer(NamedTuple):
    """The answer of a sentinel or node. Of several answers the one with the highest `weight` counts."""

    weight: int
    address: Address


class Locator(ABC):
    """Finds the address of the server. All clients of a process share one locator, and so its result.

    Args:
        nodes: the sentinels or nodes to ask.
        dial: makes a connection to one of them, not connected yet.
    """

    trust: float
    """Seconds after which a known address is checked again, while connections to it continue."""
    stale: float
    """Seconds after which connections wait for that check."""

    def __init__(self, nodes: Sequence[Address], dial: Dial) -> None:
        self._nodes = nodes
        self._dial = dial
        self._address: Address | None = None
        self._asked_at = -math.inf
        self._search: asyncio.Task[Address] | None = None

    async def find(self) -> Address:
        """The address of the server.

        Raises:
            NotFound: none of the nodes knows it.
        """
        if self._address is None:
            return await asyncio.shield(self._ask())
        return self._address

    async def confirms(self, address: Address) -> bool:
        """Whether a connection to `address` may be used. If the last answer is old, ask again."""
        age = asyncio.get_running_loop().time() - self._asked_at
        if age >= self.trust:
            search = self._ask()
            if age >= self.stale:
                await asyncio.wait([search])
        return self.trusts(address)

    def trusts(self, address: Address) -> bool:
        """Whether the server at `address` is not known to be replaced by another one."""
        return self._address in (None, address)

    def lost(self, address: Address) -> None:
        """The server at `address` failed: ask before the next connection is made."""
        if self._address == address:
            self._address = None

    def moved(self, address: Address) -> None:
        """The server itself named the server that replaces it."""
        self._address = address

    async def wait_for_search(self) -> None:
        """Wait for the end of a search in progress."""
        if self._search is not None and not self._search.done():
            await asyncio.wait([self._search])

    def _ask(self) -> asyncio.Task[Address]:
        """Ask all nodes, unless a search is in progress."""
        if self._search is None or self._search.done():
            self._search = asyncio.create_task(self._ask_all(), name="locator")
            self._search.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._search

    async def _ask_all(self) -> Address:
        answers = await asyncio.gather(*map(self._ask_one, self._nodes))
        self._asked_at = asyncio.get_running_loop().time()
        known = [answer for answer in answers if isinstance(answer, Answer)]
        if not known:
            replies = zip(self._nodes, answers, strict=True)
            errors = "; ".join(_told(f"{host}:{port}", str(error)) for (host, port), error in replies)
            raise NotFound(f"No server names the address of Redis: {errors}")
        self._address = max(known, key=lambda answer: answer.weight).address
        return self._address

    async def _ask_one(self, node: Address) -> Answer | str:
        """The answer of `node`, or its error as text."""
        connection = self._dial(node)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                await cast(Any, connection).connect()
                return await self.answer(connection)
        except builtins.TimeoutError:
            return "does not answer"
        except Exception as error:  # an error of one node must not hide the answers of the others
            return str(error) or type(error).__name__
        finally:
            with suppress(RedisError, OSError):
                await connection.disconnect(nowait=True)

    @abstractmethod
    async def answer(self, connection: Connection) -> Answer:
        """Ask on `connection`.

        Raises:
            RedisError, LookupError, ValueError: there is no answer.
        """


class Sentinels(Locator):
    """Asks sentinels for the primary. Who has the newest configuration is right: others may be cut off."""

    trust, stale = TRUST, STALE

    def __init__(self, nodes: Sequence[Address], dial: Dial, service: str) -> None:
        super().__init__(nodes, dial)
        self._service = service

    async def answer(self, connection: Connection) -> Answer:
        """In this order: a failover between the two answers may make the address newer, and not the epoch."""
        facts = await _call(connection, "SENTINEL", "MASTER", self._service)
        epoch = dict(zip(facts[::2], facts[1::2], strict=True))[b"config-epoch"]
        found = await _call(connection, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
        if found is None:
            raise LookupError(f"does not know {self._service!r}")
        host, port = found
        return Answer(int(epoch), (host.decode(), int(port)))


class Cluster(Locator):
    """Asks nodes of a cluster for `key`, in whose slot all keys lie that will be used.

    A node that serves the slot says so by answering, and is believed before one that names another. There is
    no need to ask again without cause: every command is judged by the node that it reaches.
    """

    trust = stale = math.inf

    def __init__(self, nodes: Sequence[Address], dial: Dial, key: str) -> None:
        super().__init__(nodes, dial)
        self._key = key

    async def answer(self, connection: Connection) -> Answer:
        """Ask for nothing of value: HGET is what gateways and producers have a right to."""
        here = (connection.host, connection.port)
        try:
            await _call(connection, "HGET", self._key, "")
        except MovedError as error:
            return Answer(0, _target(error, here))
        except ClusterDownError:
            raise
        except ResponseError:
            # It may be no hash, but it is here. ASK, too: until a slot has moved as a whole, its keys are
            # looked for where it was.
            pass
        return Answer(1, here)


async def _call(connection: Connection, *command: str) -> Any:
    await connection.send_command(*command)
    return await connection.read_response()


def _told(where: str, said: str) -> str:
    return said if where in said else f"{where}: {said}"


def _target(error: MovedError, asked: Address) -> Address:
    """Where MOVED points; a node that does not know the name of the other means its own host."""
    return (asked[0] if error.host in ("", "?") else error.host, error.port)


class LocatedConnection(TcpConnection):
    """A connection to wherever the locator says."""

    def __init__(self, *, locator: Locator, **given: Any) -> None:
        super().__init__(**given)
        self._locator = locator

    @property
    def _peer(self) -> Address:
        return self.host, self.port

    async def _connect(self) -> None:
        self.host, self.port = await self._locator.find()
        try:
            await cast(Any, super())._connect()
        except Exception:
            self._locator.lost(self._peer)
            raise

    async def send_packed_command(self, *args: Any, **options: Any) -> None:
        """Send, to the server of now: a connection to an earlier one is closed, and made anew."""
        if self.is_connected and not await self._locator.confirms(self._peer):
            await self.disconnect(nowait=True)
        await super().send_packed_command(*args, **options)

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """Read the response to a command. That of a server which was replaced meanwhile is not believed.

        Raises:
            Elsewhere: the server has lost its role.
            RedisError: as ever.
        """
        try:
            response = await super().read_response(*args, **options)
        except MovedError as error:
            self._locator.moved(_target(error, self._peer))
            raise await self._leave(str(error)) from error
        except (ReadOnlyError, ClusterDownError) as error:
            self._locator.lost(self._peer)
            raise await self._leave(str(error)) from error
        except (ConnectionError, TimeoutError):
            self._locator.lost(self._peer)
            raise
        if not self._locator.trusts(self._peer):
            raise await self._leave("it was replaced")
        return response

    async def _leave(self, why: str) -> Elsewhere:
        await self.disconnect(nowait=True)
        return Elsewhere(f"{self.host}:{self.port} does not take the writes any more: {why}")


class LocatedSSLConnection(LocatedConnection, TlsConnection):
    """The same over TLS."""


class LocatedPool(ConnectionPool):
    """A pool of such connections."""

    async def aclose(self) -> None:
        """Close the connections, and wait for the end of a search in progress."""
        await super().aclose()
        await cast(Locator, self.connection_kwargs["locator"]).wait_for_search()

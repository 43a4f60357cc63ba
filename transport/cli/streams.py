"""Clients of Redis for verbs."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from store.api import Gateways
from store.client.client import connect
from store.client.errors import StoreError, plainly
from store.client.url import CLUSTER, read_url
from store.embedded import default_url
from store.keys import Keys
from store.streams.producer import Producer, StoreUnreachable

from . import stderr
from .stream_options import Where

BLOCK = 1.0
"""Seconds that one read waits in Redis for the next event."""

PATIENCE = 10.0
"""Seconds that `send` and `cancel` wait for a Redis that does not answer."""
NEW_AFTER = 5.0
"""Seconds without an error after which the next one begins another outage."""


def url(where: Where) -> str:
    """The URL of the Redis that the options name."""
    return default_url(where.state_dir) if where.redis == "embedded" else where.redis


@asynccontextmanager
async def server(where: Where, purpose: str) -> AsyncIterator[Any]:
    """A client of the Redis that the options name, open within the block.

    Raises:
        BadRedisUrl: the URL cannot be used.
        StoreUnreachable: no server answers there, or it refuses a call.
    """
    client = connect(url(where), purpose=purpose, block=BLOCK, key_prefix=where.key_prefix)
    try:
        yield client
    except StoreUnreachable as error:
        raise _explained(where, error) from error
    except StoreError as error:
        raise _explained(where, f"Redis cannot be used: {plainly(error)}") from error
    finally:
        await client.aclose()


class ShardClients:
    """A client for each shard that is asked for, kept until `aclose`; where there is one server, `client`."""

    def __init__(self, where: Where, purpose: str, client: Any) -> None:
        self._where = where
        self._purpose = purpose
        self._client = client
        self._of: dict[Keys, Any] = {}
        self.several = read_url(url(where)).kind == CLUSTER
        """Whether shards may be on servers of their own."""

    def __call__(self, shard: Keys) -> Any:
        """The client of the server that has the streams of a shard."""
        if not self.several:
            return self._client
        if shard not in self._of:
            self._of[shard] = connect(
                url(self._where),
                purpose=f"{self._purpose}:{shard.shard}",
                block=BLOCK,
                key_prefix=self._where.key_prefix,
                near=shard.telemetry,
            )
        return self._of[shard]

    async def aclose(self) -> None:
        """Close the clients that were made for shards."""
        for client in self._of.values():
            await client.aclose()


@asynccontextmanager
async def servers(where: Where, purpose: str) -> AsyncIterator[tuple[Any, ShardClients]]:
    """As `server`, with the clients of the shards of telemetry.

    Raises:
        BadRedisUrl, StoreUnreachable: as `server` does.
    """
    async with server(where, purpose) as client, aclosing(ShardClients(where, purpose, client)) as shards:
        yield client, shards


def _explained(where: Where, error: object) -> StoreUnreachable:
    kind = type(error) if isinstance(error, StoreUnreachable) else StoreUnreachable
    hint = " (the embedded server runs while `telgw run` runs; another server: --redis URL)"
    return kind(f"{error}{hint * (where.redis == 'embedded')}")


@asynccontextmanager
async def producer(where: Where, purpose: str) -> AsyncIterator[Producer]:
    """A producer on the Redis that the options name, open within the block.

    Raises:
        BadRedisUrl, StoreUnreachable: as `server` does.
    """
    async with server(where, purpose) as client:
        yield Producer(client, Keys(where.key_prefix))


@asynccontextmanager
async def gateways(where: Where, purpose: str) -> AsyncIterator[Gateways]:
    """A client of the gateways on the Redis that the options name, open within the block.

    Raises:
        BadRedisUrl, StoreUnreachable: as `server` does.
    """
    async with server(where, purpose) as client:
        yield Gateways(client, Keys(where.key_prefix), on_error=Outage())


class Outage:
    """What a verb does while Redis is away: it says so once, and gives up after `PATIENCE` seconds."""

    def __init__(self) -> None:
        self._since = self._last = -NEW_AFTER

    def __call__(self, error: Exception) -> None:
        """Take an error after which the call would be repeated.

        Raises:
            StoreUnreachable: it lasts for too long.
        """
        now = time.monotonic()
        if now - self._last > NEW_AFTER:
            self._since = now
            stderr.remark(f"{error}; waiting until it answers")
        self._last = now
        if now - self._since > PATIENCE:
            raise error

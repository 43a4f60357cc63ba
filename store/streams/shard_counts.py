"""How many shards of telemetry a fleet has, and had: whoever reads records finds all of their streams by it.

Every gateway notes its own number at its start and again and again. A number that no gateway has any more
stays noted as long as its shards hold entries, because consumers may not have read them. Then the gateways of
the fleet forget it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from redis.asyncio import Redis

from fsm.shards import MOST, shard_of
from store.client.client import connect
from store.client.errors import StoreError
from store.client.numbers import whole
from store.keys import Keys
from store.streams.trimming import empty_stream, trim_stream

FORGOTTEN_MS = 3_600_000
"""Milliseconds for which a number stays noted after its last gateway, even if its shards are empty."""


ShardClient = Callable[[Keys], Redis]
"""Makes a client of the server that has the streams of a shard."""


def shard_clients(url: str, purpose: str, key_prefix: str, block: float = 0.0) -> ShardClient:
    """Makes such clients for a Redis; arguments as of `connect`."""
    return lambda shard: connect(
        url, purpose=purpose, block=block, key_prefix=key_prefix, near=shard.telemetry
    )


async def read_counts(client: Redis, keys: Keys) -> dict[int, int]:
    """Each number of shards that is noted, and epoch ms when a gateway noted it last.

    Where nothing is noted, because no gateway or only earlier versions were here, that is one shard.

    Raises:
        StoreError: the call failed.
    """
    asked: Any = client
    found = await asked.hgetall(keys.shard_counts)
    counts = {whole(field, 0): whole(at, 0) for field, at in found.items()}
    return {count: at for count, at in counts.items() if 0 < count <= MOST} or {1: 0}


def shards_of(keys: Keys, counts: Iterable[int], imei: str) -> list[Keys]:
    """The shards that may have records of a device: one, unless the number of shards was changed."""
    found = [keys.shards(count)[shard_of(imei.encode(), count)] for count in sorted(counts)]
    return list(dict.fromkeys(found))


class ShardCounts:
    """What one gateway notes, and what it does about shards that it does not append to itself.

    Args:
        count: its own number of shards.
        open_client: makes a client of a shard; it is closed after use.
        maxlen: entries that all shards may hold together.
        retention: seconds.
        now_ms: epoch ms of Redis.
    """

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        count: int,
        *,
        open_client: ShardClient,
        maxlen: int,
        retention: float,
        now_ms: Callable[[], int],
    ) -> None:
        self._client: Any = client
        self._keys = keys
        self._count = count
        self._open = open_client
        self._maxlen = maxlen
        self._retention_ms = round(retention * 1000)
        self._now_ms = now_ms

    async def note(self) -> None:
        """Note the own number; and one shard, if its stream exists: an earlier version noted nothing.

        Raises:
            StoreError: a call failed.
        """
        key, now_ms = self._keys.shard_counts, self._now_ms()
        await self._client.hset(key, str(self._count), now_ms)
        if self._count > 1 and await self._client.exists(self._keys.telemetry):
            await self._client.hsetnx(key, "1", now_ms)

    async def clear_old(self) -> None:
        """Trim shards that belong to other numbers only, and forget numbers whose shards are empty.

        Raises:
            StoreError: a call failed; what concerns other shards is done all the same.
        """
        counts = await read_counts(self._client, self._keys)
        current = set(self._keys.shards(self._count))
        failed: StoreError | None = None
        left: set[Keys] = set()
        for shard in (keys for keys in self._keys.all_shards(counts) if keys not in current):
            try:
                if not await self._clear(shard):
                    left.add(shard)
            except StoreError as error:
                failed = error
                left.add(shard)
        await self._forget(counts, left)
        if failed is not None:
            raise failed

    async def _clear(self, shard: Keys) -> bool:
        """Trim the streams of a shard; whether they are empty."""
        client: Any = self._open(shard)
        empty = True
        try:
            for key in _streams(shard):
                now_ms = self._now_ms()
                await trim_stream(client, key, self._maxlen, self._retention_ms, now_ms)
                if await empty_stream(client, key, self._retention_ms, now_ms):
                    await client.delete(shard.sizes(key))
                else:
                    empty = False
        finally:
            await client.aclose()
        return empty

    async def _forget(self, counts: dict[int, int], left: set[Keys]) -> None:
        for count, noted_ms in counts.items():
            unused = count != self._count and self._now_ms() - noted_ms > FORGOTTEN_MS
            if unused and left.isdisjoint(self._keys.shards(count)):
                await self._client.hdel(self._keys.shard_counts, str(count))


def _streams(shard: Keys) -> list[str]:
    """The streams that are used no more: that of undecodable frames is in use without shards, too."""
    return [shard.telemetry] if shard.shard is None else [shard.telemetry, shard.undecodable]

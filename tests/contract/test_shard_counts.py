"""What a fleet notes of its number of shards, and what becomes of shards that it had."""

from __future__ import annotations

from typing import Any, cast

import pytest
from redis.asyncio import Redis

from store.keys import Keys
from store.streams.shard_counts import FORGOTTEN_MS, ShardCounts, read_counts

KEYS = Keys("{fleet}:")
HOUR = 3_600_000
NOW = 1_767_225_600_000


def counts(client: Redis, count: int, now_ms: int = NOW) -> ShardCounts:
    return ShardCounts(
        client,
        KEYS,
        count,
        open_client=lambda _: Kept(client),
        maxlen=1000,
        retention=3600,
        now_ms=lambda: now_ms,
    )


class Kept:
    """A client that is not closed after use."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def aclose(self) -> None:
        """Nothing: others use it, too."""


async def records(client: Redis, count: int, *shards: Keys) -> None:
    for shard in shards:
        for number in range(count):
            await client.xadd(shard.telemetry, {"a": "b"}, id=f"{NOW - 2 * HOUR + number}-0")


async def test_a_fleet_that_has_noted_nothing_has_one_shard(any_redis: Redis) -> None:
    assert await read_counts(any_redis, KEYS) == {1: 0}


async def test_a_stream_from_before_there_were_shards_is_noted(any_redis: Redis) -> None:
    await records(any_redis, 1, KEYS)
    await counts(any_redis, 4).note()
    assert await read_counts(any_redis, KEYS) == {1: NOW, 4: NOW}


@pytest.mark.parametrize("wrong", ["0", "-1", "x", "1e3", "100000000000"])
async def test_what_is_no_number_of_shards_is_passed_over(any_redis: Redis, wrong: str) -> None:
    client = cast(Any, any_redis)
    await client.hset(KEYS.shard_counts, wrong, NOW)
    await counts(any_redis, 2).note()
    assert await read_counts(any_redis, KEYS) == {2: NOW}


async def test_an_old_shard_is_kept_until_all_is_read_and_then_forgotten(any_redis: Redis) -> None:
    client, old = cast(Any, any_redis), KEYS.shards(2)
    await counts(any_redis, 2).note()
    await records(any_redis, 3, *old)
    for shard in old:
        await client.xgroup_create(shard.telemetry, "reader", "0")
    later = counts(any_redis, 1, NOW + FORGOTTEN_MS + 1)
    await later.note()
    await later.clear_old()
    assert [await client.xlen(shard.telemetry) for shard in old] == [3, 3]
    assert set(await read_counts(any_redis, KEYS)) == {1, 2}
    for shard in old:
        [(_, entries)] = await client.xreadgroup("reader", "me", {shard.telemetry: ">"})
        await client.xack(shard.telemetry, "reader", *(entry_id for entry_id, _ in entries))
    await later.clear_old()
    assert [await client.xlen(shard.telemetry) for shard in old] == [0, 0]
    assert set(await read_counts(any_redis, KEYS)) == {1}


async def test_old_entries_younger_than_the_retention_stay(any_redis: Redis) -> None:
    client, old = cast(Any, any_redis), KEYS.shards(2)[1]
    await counts(any_redis, 2).note()
    await client.xadd(old.telemetry, {"a": "b"}, id=f"{NOW}-0")
    later = counts(any_redis, 1, NOW + HOUR - 1)
    await later.clear_old()
    assert await client.xlen(old.telemetry) == 1
    assert 2 in await read_counts(any_redis, KEYS)


async def test_shards_in_use_are_not_touched(any_redis: Redis) -> None:
    client = cast(Any, any_redis)
    await counts(any_redis, 2).note()
    await counts(any_redis, 4).note()
    await records(any_redis, 3, *KEYS.shards(4))
    await counts(any_redis, 2).clear_old()
    assert [await client.xlen(shard.telemetry) for shard in KEYS.shards(4)] == [3, 3, 0, 0]

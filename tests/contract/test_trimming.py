"""A stream is trimmed by age, never past what somebody has still to read, unless memory runs short."""

from __future__ import annotations

from typing import Any, cast

import pytest
from redis.asyncio import Redis

from store.streams import trimming
from store.streams.trimming import Trimmed, trim_stream

KEY = "stream"
HOUR = 3_600_000
NOW = 10 * HOUR


async def fill(client: Redis, count: int = 1000) -> None:
    """Entries one second apart, the last of them an hour old."""
    for number in range(count):
        await client.xadd(KEY, {"number": str(number)}, id=f"{NOW - HOUR - (count - number) * 1000}-0")


async def read(client: Redis, group: str, count: int, acknowledged: int) -> None:
    await client.xgroup_create(KEY, group, "0")
    if count:
        [(_, entries)] = await client.xreadgroup(group, "reader", {KEY: ">"}, count=count)
        for entry_id, _ in entries[:acknowledged]:
            await client.xack(KEY, group, entry_id)


async def first(client: Redis) -> int:
    [(_, fields)] = await client.xrange(KEY, count=1)
    return int(fields[b"number"])


async def trim(client: Redis, maxlen: int = 10_000, retention: int = HOUR) -> Trimmed:
    return await trim_stream(client, KEY, maxlen, retention, NOW)


async def test_a_stream_that_does_not_exist_has_nothing_to_trim(any_redis: Redis) -> None:
    assert await trim(any_redis) == Trimmed(0, 0)


async def test_without_groups_age_decides(any_redis: Redis) -> None:
    await fill(any_redis)
    assert await trim(any_redis, retention=HOUR + 500_000) == Trimmed(500, 0)
    assert await first(any_redis) == 500
    assert await trim(any_redis, retention=HOUR) == Trimmed(500, 0)


async def test_the_slowest_group_decides(any_redis: Redis) -> None:
    await fill(any_redis)
    await read(any_redis, "quick", 700, 600)
    await read(any_redis, "slow", 400, 400)
    assert await trim(any_redis) == Trimmed(400, 0)
    assert await first(any_redis) == 400


async def test_what_is_read_but_not_acknowledged_stays(any_redis: Redis) -> None:
    await fill(any_redis)
    await read(any_redis, "group", 700, 600)
    assert await trim(any_redis) == Trimmed(600, 0)


async def test_what_is_acknowledged_but_young_stays(any_redis: Redis) -> None:
    await fill(any_redis)
    await read(any_redis, "group", 1000, 1000)
    assert await trim(any_redis, retention=HOUR + 900_000) == Trimmed(100, 0)


async def test_a_group_that_never_read_keeps_everything(any_redis: Redis) -> None:
    await fill(any_redis)
    await read(any_redis, "forgotten", 0, 0)
    assert await trim(any_redis) == Trimmed(0, 0)


async def test_the_cap_wins_over_a_forgotten_group_and_is_counted(any_redis: Redis) -> None:
    await fill(any_redis)
    await read(any_redis, "forgotten", 0, 0)
    assert await trim(any_redis, maxlen=300) == Trimmed(700, 700)


async def test_the_cap_takes_young_acknowledged_entries_first(any_redis: Redis) -> None:
    await fill(any_redis)
    await read(any_redis, "group", 600, 600)
    assert await trim(any_redis, maxlen=700, retention=HOUR * 5) == Trimmed(300, 0)
    assert await first(any_redis) == 300
    assert await trim(any_redis, maxlen=300, retention=HOUR * 5) == Trimmed(400, 100)


async def test_the_cap_without_groups_loses_nothing_unread(any_redis: Redis) -> None:
    await fill(any_redis)
    assert await trim(any_redis, maxlen=100, retention=HOUR * 5) == Trimmed(900, 0)


@pytest.mark.parametrize("acknowledged", [0, 1])
async def test_one_entry_is_enough_to_go_wrong(any_redis: Redis, acknowledged: int) -> None:
    await fill(any_redis, 1)
    await read(any_redis, "group", 1, acknowledged)
    assert await trim(any_redis) == Trimmed(acknowledged, 0)


async def test_a_long_stream_is_trimmed_in_many_calls(
    any_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[int] = []
    xtrim = any_redis.xtrim

    async def counted(*names: Any, limit: int, **options: Any) -> int:
        limits.append(limit)
        return cast(int, await xtrim(*names, limit=limit, **options))

    monkeypatch.setattr(any_redis, "xtrim", counted)
    monkeypatch.setattr(trimming, "STEP", 100)
    await fill(any_redis)
    assert await trim(any_redis, maxlen=100, retention=HOUR * 5) == Trimmed(900)
    assert (await any_redis.xlen(KEY), set(limits)) == (100, {100})
    assert 9 <= len(limits) <= 12

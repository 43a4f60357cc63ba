"""How long the reader of the outbound stream waits after errors, and what ends a wait."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from store.client.errors import CallFailed
from store.keys import GROUP, Keys
from store.streams import outbound
from store.streams.outbound import OutboundReader

KEYS = Keys()
TIME_LIMIT = 20.0


def reader_of(client: Redis, errors: list[Exception], **given: Any) -> OutboundReader:
    hooks: Any = {"on_entries": lambda *_: None, "may_read": lambda: True, "on_error": errors.append}
    return OutboundReader(client, KEYS, "gw-1", **hooks, **given)


async def test_the_waits_of_a_reader_grow_to_the_longest(
    fake_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(cursor: str, block: bool) -> Any:
        raise CallFailed("refused")

    reader = reader_of(fake_redis, [], next_batch=away)
    waits: list[float] = []

    async def pause(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 12:
            reader.stop()

    monkeypatch.setattr(outbound.random, "uniform", lambda low, high: high)
    monkeypatch.setattr(reader, "_pause", pause)
    await reader.run()
    assert waits[:3] == [0.05, 0.1, 0.2]
    assert waits[6:] == [2.0] * 6


async def test_a_pause_of_a_reader_ends_with_a_stop(fake_redis: Redis) -> None:
    reader = reader_of(fake_redis, [])
    reader.stop()
    async with asyncio.timeout(TIME_LIMIT):
        await reader._pause(3600.0)


async def test_a_group_that_is_there_is_no_error(fake_redis: Redis) -> None:
    errors: list[Exception] = []
    await fake_redis.xgroup_create(KEYS.outbound("gw-1"), GROUP, id="0", mkstream=True)
    await reader_of(fake_redis, errors)._ensure_group_quietly()
    assert errors == []

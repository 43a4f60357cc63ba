"""Tracing on every backend: who is watched, what is published, and what is left of it."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from fsm.trace import Chunk
from store.fleet import trace
from store.fleet.trace import TraceLog, ask, leave
from store.keys import Keys

KEYS = Keys()
IMEI = "352093081452251"
NOW = 1_767_225_600_000


def log_of(client: Any, errors: list[Exception] | None = None) -> TraceLog:
    return TraceLog(client, KEYS, "gw-1", on_error=(errors if errors is not None else []).append)


async def test_a_device_is_watched_until_its_watcher_is_gone(any_redis: Redis) -> None:
    log = log_of(any_redis)
    await ask(any_redis, KEYS, IMEI, NOW)
    assert await log.traced(NOW) == [IMEI]
    assert await log.traced(NOW + 15_000) == []
    assert 0 < await any_redis.pttl(KEYS.traced) <= 15_000
    await leave(any_redis, KEYS, IMEI)
    assert await log.traced(NOW) == []


async def test_of_the_watched_devices_so_many_are_traced(any_redis: Redis) -> None:
    for number in range(trace.DEVICES + 5):
        await ask(any_redis, KEYS, str(number), NOW)
    assert len(await log_of(any_redis).traced(NOW)) == trace.DEVICES


async def test_chunks_become_entries_that_expire(any_redis: Redis) -> None:
    log = log_of(any_redis)
    log.put(Chunk(IMEI, "s-1", 1, NOW, "in", b"\x00\xff"))
    log.put(Chunk(IMEI, "s-1", 2, NOW, "out", b"*", masked=True))
    await log._queue._attempt()
    stream = KEYS.trace(IMEI)
    entries: Any = [fields for _, fields in await any_redis.xrange(stream)]
    first = {b"instance_id": b"gw-1", b"session_id": b"s-1", b"n": b"1", b"at": b"1767225600000"}
    assert entries[0] == {**first, b"dir": b"in", b"hex": b"00ff"}
    assert (entries[1][b"dir"], entries[1][b"hex"], entries[1][b"masked"]) == (b"out", b"2a", b"1")
    assert 0 < await any_redis.pttl(stream) <= 60_000


async def test_chunks_that_redis_does_not_take_are_left_out(any_redis: Redis) -> None:
    log = log_of(any_redis)
    for number in range(trace.QUEUED + 5):
        log.put(Chunk(IMEI, "s-1", number + 1, NOW, "in", b""))
    assert log._queue.depth == trace.QUEUED
    await any_redis.set(KEYS.trace(IMEI), "no stream")
    assert await log._queue._attempt() is not None
    assert log._queue.depth == trace.QUEUED - trace.BATCH


@pytest.mark.parametrize("value", ["", "x", "-1", "9" * 30])
async def test_a_time_that_is_none_watches_nobody(any_redis: Redis, value: str) -> None:
    await any_redis.hset(KEYS.traced, IMEI, value)
    assert await log_of(any_redis).traced(NOW) == []

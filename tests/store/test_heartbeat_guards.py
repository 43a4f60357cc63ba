"""The heartbeat at its beginning and its end: how often a takeover is tried, and that a release is final."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from redis.asyncio import Redis

from store.client.errors import CallFailed, NotOwnerYet
from store.fleet.heartbeat import RETRY, TRIES, Heartbeat
from store.fleet.ownership import Holder, Watch
from store.keys import Keys

KEYS = Keys()
PATIENCE = 2.0
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


def ignore(*_: object) -> None:
    """A hook that nobody listens to."""


def heartbeat_of(client: Redis, interval: float = 30.0) -> Heartbeat:
    hooks: Any = {"on_renewed": ignore, "on_failure": ignore, "on_fenced": ignore}
    hooks["watch"] = Watch("gw-1", lambda: Holder("boot-1"), is_gone=lambda _: True)
    return Heartbeat(client, KEYS, "gw-1", "boot-1", interval, 90.0, **hooks)


async def test_after_its_release_a_heartbeat_beats_no_more(fake_redis: Redis, spawn: Spawn) -> None:
    heartbeat = heartbeat_of(fake_redis, interval=0.001)
    await heartbeat.take_over()
    task = spawn(heartbeat.run())
    await heartbeat.release()
    async with asyncio.timeout(PATIENCE):
        await task
    assert await fake_redis.exists(KEYS.heartbeat("gw-1"), KEYS.boot("gw-1")) == 0


@pytest.mark.parametrize("changes", range(TRIES + 1))
async def test_an_id_that_changes_hands_during_the_takeover_is_looked_at_again(
    fake_redis: Redis, monkeypatch: pytest.MonkeyPatch, changes: int
) -> None:
    heartbeat = heartbeat_of(fake_redis)
    get, left = fake_redis.get, changes

    async def look(name: str) -> Any:
        nonlocal left
        seen = await get(name)
        if left and name == KEYS.boot("gw-1"):
            left -= 1
            await fake_redis.set(name, f"another {left}")
        return seen

    monkeypatch.setattr(fake_redis, "get", look)
    if changes < TRIES:
        await heartbeat.take_over()
    else:
        with pytest.raises(NotOwnerYet):
            await heartbeat.take_over()
    assert heartbeat.taken is (changes < TRIES)


@pytest.mark.parametrize(
    ("interval", "taken", "hastened", "pause"),
    [
        (30.0, False, False, RETRY),
        (0.5, False, False, 0.5),
        (30.0, True, False, 30.0),
        (30.0, True, True, RETRY),
    ],
)
async def test_an_id_not_ours_yet_and_a_beat_after_an_error_are_tried_for_more_often(
    fake_redis: Redis, interval: float, taken: bool, hastened: bool, pause: float
) -> None:
    heartbeat = heartbeat_of(fake_redis, interval)
    heartbeat.taken = taken
    if hastened:
        heartbeat.renew_soon()
    assert heartbeat.pause == pause


async def test_a_later_start_is_known_by_its_own_time(fake_redis: Redis) -> None:
    """Janitors tell by it whether the estate of this start was settled."""
    await fake_redis.hset(KEYS.instances, "gw-1", "1")
    await heartbeat_of(fake_redis).take_over()
    assert int((await fake_redis.hget(KEYS.instances, "gw-1")) or 0) > 1


async def test_a_release_that_finds_nobody_in_possession_leaves_a_heartbeat_alone(fake_redis: Redis) -> None:
    """It may be that of a process that is just taking over."""
    await fake_redis.set(KEYS.heartbeat("gw-1"), "1")
    await heartbeat_of(fake_redis).release()
    assert await fake_redis.exists(KEYS.heartbeat("gw-1")) == 1


@pytest.mark.parametrize(("before", "seconds"), [(None, 0.0), ("boot-1", 0.0), ("earlier", 31.0)])
async def test_who_replaces_a_process_knows_for_how_long_that_may_live_on(
    fake_redis: Redis, before: str | None, seconds: float
) -> None:
    if before:
        await fake_redis.set(KEYS.boot("gw-1"), before)
    heartbeat = heartbeat_of(fake_redis)
    await heartbeat.take_over()
    assert heartbeat.shared_for() == seconds


async def test_who_replaces_a_process_knows_it_although_the_reply_was_lost(fake_redis: Redis) -> None:
    await fake_redis.set(KEYS.boot("gw-1"), "earlier")
    heartbeat = heartbeat_of(fake_redis)
    script = heartbeat._script

    async def lose(*call: Any) -> Any:
        await script(*call)
        heartbeat._script = script
        raise CallFailed("reply lost")

    heartbeat._script = lose  # type: ignore[assignment]
    with pytest.raises(CallFailed):
        await heartbeat.take_over()
    await heartbeat.take_over()
    assert heartbeat.shared_for() == 31.0

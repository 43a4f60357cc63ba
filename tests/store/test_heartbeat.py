"""An instance is alive for as long as its heartbeat, and learns at the next one that it was replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import fakeredis
import pytest
from freezegun.api import FrozenDateTimeFactory
from redis.asyncio import Redis

from store.client.errors import CallFailed, NotOwnerYet
from store.fleet.heartbeat import RETRY, TRIES, Heartbeat, expiry
from store.fleet.ownership import Holder, Watch
from store.keys import Keys

TIME_LIMIT = 20.0
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]

KEYS = Keys()
NEW_YEAR_MS = 1_767_225_600_000


class Pulse:
    """A heartbeat and what its hooks were told."""

    def __init__(
        self,
        client: Redis,
        boot: str = "boot 1",
        interval: float = 30,
        ttl: float = 90,
        watch: Watch | None = None,
    ) -> None:
        self.renewals: list[int] = []
        self.failures: list[Exception] = []
        self.fenced = 0
        self.changed = asyncio.Event()
        self.heartbeat = Heartbeat(
            client,
            KEYS,
            "gw-1",
            boot,
            interval,
            ttl,
            on_renewed=self.on_renewed,
            on_failure=self.on_failure,
            on_fenced=self.on_fenced,
            watch=watch,
        )

    def on_renewed(self, now_ms: int) -> None:
        self.renewals.append(now_ms)
        self.changed.set()

    def on_failure(self, error: Exception) -> None:
        self.failures.append(error)
        self.changed.set()

    def on_fenced(self) -> None:
        self.fenced += 1

    async def next(self) -> None:
        self.changed.clear()
        await self.changed.wait()


@pytest.mark.usefixtures("frozen")
async def test_taking_over_makes_the_instance_known_and_alive(fake_redis: Redis) -> None:
    pulse = Pulse(fake_redis)
    assert await pulse.heartbeat.take_over() == NEW_YEAR_MS
    assert pulse.renewals == [NEW_YEAR_MS]
    stamp = str(NEW_YEAR_MS).encode()
    assert await fake_redis.hgetall(KEYS.instances) == {b"gw-1": stamp}
    assert await fake_redis.get(KEYS.heartbeat("gw-1")) == stamp
    assert await fake_redis.get(KEYS.boot("gw-1")) == b"boot 1"
    assert await fake_redis.ttl(KEYS.heartbeat("gw-1")) == 90
    assert await fake_redis.ttl(KEYS.boot("gw-1")) == 90


async def test_it_lives_ninety_seconds_and_not_a_millisecond_more(
    fake_redis: Redis, frozen: FrozenDateTimeFactory
) -> None:
    await Pulse(fake_redis).heartbeat.take_over()
    frozen.tick(89)
    assert await fake_redis.exists(KEYS.heartbeat("gw-1")) == 1
    frozen.tick(timedelta(seconds=1, milliseconds=1))
    assert await fake_redis.exists(KEYS.heartbeat("gw-1"), KEYS.boot("gw-1"), KEYS.holder("gw-1")) == 0


async def test_every_heartbeat_gives_ninety_seconds_more(
    fake_redis: Redis, frozen: FrozenDateTimeFactory
) -> None:
    pulse = Pulse(fake_redis)
    await pulse.heartbeat.take_over()
    frozen.tick(60)
    assert await pulse.heartbeat.renew() == NEW_YEAR_MS + 60_000
    frozen.tick(89)
    assert await fake_redis.exists(KEYS.heartbeat("gw-1"), KEYS.boot("gw-1")) == 2
    assert await fake_redis.get(KEYS.heartbeat("gw-1")) == str(NEW_YEAR_MS + 60_000).encode()
    assert await fake_redis.hget(KEYS.instances, "gw-1") == str(NEW_YEAR_MS + 60_000).encode()


async def test_a_heartbeat_lists_a_forgotten_instance_again(fake_redis: Redis) -> None:
    pulse = Pulse(fake_redis)
    await pulse.heartbeat.take_over()
    await fake_redis.flushall()
    await pulse.heartbeat.renew()
    assert await fake_redis.hexists(KEYS.instances, "gw-1")
    assert await fake_redis.get(KEYS.boot("gw-1")) == b"boot 1"


@pytest.mark.parametrize(
    ("later", "lapses"),
    [(0, 1), (89.999, 1), (90, 2), (-0.001, 2)],
    ids=["at once", "in time", "too late", "by another clock"],
)
async def test_a_heartbeat_knows_whether_it_was_missed(
    fake_redis: Redis, frozen: FrozenDateTimeFactory, later: float, lapses: int
) -> None:
    """By the clock of Redis, by which it expires."""
    pulse = Pulse(fake_redis)
    await pulse.heartbeat.take_over()
    frozen.tick(timedelta(seconds=later))
    await pulse.heartbeat.renew()
    await pulse.heartbeat.renew()
    assert pulse.heartbeat.lapses == lapses


def forced(boot: str) -> Watch:
    """A process that takes the id whoever has it."""
    return Watch("gw-1", lambda: Holder(boot), forced=True)


async def test_a_forced_takeover_fences_the_older_process(
    fake_redis: Redis,
) -> None:
    older, newer = Pulse(fake_redis, "boot 1"), Pulse(fake_redis, "boot 2", watch=forced("boot 2"))
    await older.heartbeat.take_over()
    await newer.heartbeat.take_over()
    assert await older.heartbeat.renew() is None
    assert older.fenced == 1
    assert await fake_redis.get(KEYS.boot("gw-1")) == b"boot 2"
    assert await newer.heartbeat.renew() is not None


async def test_the_task_of_a_replaced_process_ends(fake_redis: Redis) -> None:
    older = Pulse(fake_redis, "boot 1", interval=0.001)
    await older.heartbeat.take_over()
    await Pulse(fake_redis, "boot 2", watch=forced("boot 2")).heartbeat.take_over()
    await older.heartbeat.run()
    assert older.fenced == 1


async def test_a_failed_heartbeat_is_reported_and_repeated(
    fake_redis: Redis, fake_server: fakeredis.FakeServer, spawn: Any
) -> None:
    pulse = Pulse(fake_redis, interval=0.001)
    await pulse.heartbeat.take_over()
    fake_server.connected = False
    spawn(pulse.heartbeat.run())
    while len(pulse.failures) < 2:
        await pulse.next()
    assert all(isinstance(error, CallFailed) for error in pulse.failures)
    fake_server.connected = True
    while len(pulse.renewals) < 3:
        await pulse.next()
    assert pulse.fenced == 0


async def test_a_failed_takeover_is_made_with_the_first_heartbeat(
    fake_redis: Redis, fake_server: fakeredis.FakeServer
) -> None:
    await Pulse(fake_redis, "a dead process").heartbeat.take_over()
    dead = Watch("gw-1", lambda: Holder("boot 1"), is_gone=lambda holder: holder.boot_id == "a dead process")
    pulse = Pulse(fake_redis, watch=dead)
    fake_server.connected = False
    with pytest.raises(CallFailed):
        await pulse.heartbeat.take_over()
    fake_server.connected = True
    await pulse.heartbeat.renew()
    assert (pulse.fenced, await fake_redis.get(KEYS.boot("gw-1"))) == (0, b"boot 1")


async def test_a_release_marks_the_instance_as_stopped(fake_redis: Redis) -> None:
    pulse = Pulse(fake_redis)
    await pulse.heartbeat.take_over()
    await pulse.heartbeat.release()
    assert await fake_redis.exists(KEYS.heartbeat("gw-1"), KEYS.boot("gw-1")) == 0
    assert set(await fake_redis.hgetall(KEYS.holder("gw-1"))) == {b"stopped"}
    assert 0 < await fake_redis.ttl(KEYS.holder("gw-1")) <= 7 * 86400
    await Pulse(fake_redis, "boot 2").heartbeat.take_over()
    assert not await fake_redis.hexists(KEYS.holder("gw-1"), "stopped")
    assert await fake_redis.hexists(KEYS.instances, "gw-1")


async def test_release_leaves_a_newer_process_alone(fake_redis: Redis) -> None:
    older, newer = Pulse(fake_redis, "boot 1"), Pulse(fake_redis, "boot 2", watch=forced("boot 2"))
    await older.heartbeat.take_over()
    await newer.heartbeat.take_over()
    await older.heartbeat.release()
    assert await fake_redis.exists(KEYS.heartbeat("gw-1"), KEYS.boot("gw-1"), KEYS.holder("gw-1")) == 3


async def test_stop_ends_the_task_at_once(fake_redis: Redis) -> None:
    pulse = Pulse(fake_redis, interval=3600)
    pulse.heartbeat.stop()
    await pulse.heartbeat.run()
    assert pulse.renewals == []


def test_only_whole_seconds_are_written_as_seconds() -> None:
    assert expiry(90) == expiry(90.0) == ("EX", 90)
    assert expiry(1.5) == ("PX", 1500)
    assert expiry(0.0001) == ("PX", 1)


def ignore(*_: object) -> None:
    """A hook that nobody listens to."""


def heartbeat_of(client: Redis, interval: float = 30.0) -> Heartbeat:
    hooks: Any = {"on_renewed": ignore, "on_failure": ignore, "on_fenced": ignore}
    hooks["watch"] = Watch("gw-1", lambda: Holder("boot-1"), is_gone=lambda _: True)
    return Heartbeat(client, KEYS, "gw-1", "boot-1", interval, 90.0, **hooks)


async def test_a_released_heartbeat_is_not_renewed(fake_redis: Redis, spawn: Spawn) -> None:
    heartbeat = heartbeat_of(fake_redis, interval=0.001)
    await heartbeat.take_over()
    task = spawn(heartbeat.run())
    await heartbeat.release()
    async with asyncio.timeout(TIME_LIMIT):
        await task
    assert await fake_redis.exists(KEYS.heartbeat("gw-1"), KEYS.boot("gw-1")) == 0


@pytest.mark.parametrize("changes", range(TRIES + 1))
async def test_an_id_that_changes_owner_in_the_takeover_is_read_again(
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
async def test_a_takeover_and_a_failed_heartbeat_are_tried_more_often(
    fake_redis: Redis, interval: float, taken: bool, hastened: bool, pause: float
) -> None:
    heartbeat = heartbeat_of(fake_redis, interval)
    heartbeat.taken = taken
    if hastened:
        heartbeat.renew_soon()
    assert heartbeat.pause == pause


async def test_a_later_start_is_known_by_its_own_time(fake_redis: Redis) -> None:
    """It tells janitors whether the work of this start was adopted."""
    await fake_redis.hset(KEYS.instances, "gw-1", "1")
    await heartbeat_of(fake_redis).take_over()
    assert int((await fake_redis.hget(KEYS.instances, "gw-1")) or 0) > 1


async def test_a_release_without_an_owner_leaves_the_heartbeat_alone(fake_redis: Redis) -> None:
    """It may be that of a process that is just taking over."""
    await fake_redis.set(KEYS.heartbeat("gw-1"), "1")
    await heartbeat_of(fake_redis).release()
    assert await fake_redis.exists(KEYS.heartbeat("gw-1")) == 1


@pytest.mark.parametrize(("before", "seconds"), [(None, 0.0), ("boot-1", 0.0), ("earlier", 31.0)])
async def test_a_takeover_returns_how_long_the_old_process_may_live(
    fake_redis: Redis, before: str | None, seconds: float
) -> None:
    if before:
        await fake_redis.set(KEYS.boot("gw-1"), before)
    heartbeat = heartbeat_of(fake_redis)
    await heartbeat.take_over()
    assert heartbeat.shared_for() == seconds


async def test_a_takeover_with_a_lost_reply_knows_the_old_process(fake_redis: Redis) -> None:
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

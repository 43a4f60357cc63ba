"""The janitor makes its rounds whatever happens in one of them, and does not run hot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import fakeredis
import pytest
from freezegun.api import FrozenDateTimeFactory
from redis.asyncio import Redis

from store.client.errors import CallFailed, StoreRefused
from tests.store.janitor_rig import CAPS, KEYS, SETTINGS, JanitorRig, die

NEVER = 3600.0


async def start(client: Redis, **settings: float) -> JanitorRig:
    """With one other instance, that has no heartbeat; on a clock that runs."""
    rig = JanitorRig(client, replace(SETTINGS, **settings))  # type: ignore[arg-type]
    await rig.know("us", "them")
    return rig


@asynccontextmanager
async def running(rig: JanitorRig) -> AsyncIterator[None]:
    """The janitor runs; it is told to stop, and not cancelled, which Python 3.11 may lose."""
    task = asyncio.create_task(rig.janitor.run())
    yield
    rig.janitor.stop()
    await task


# The task


async def test_the_end_of_a_grace_does_not_wait_for_the_interval(fake_redis: Redis) -> None:
    rig = await start(fake_redis, interval=NEVER, grace=0.01)
    await rig.janitor.check()
    async with running(rig):
        await rig.until(lambda: rig.adopted == ["them"])


async def test_it_checks_and_trims_every_interval(fake_redis: Redis) -> None:
    rig = await start(fake_redis, interval=0.001, grace=0.001)
    for number in range(1000):
        await fake_redis.xadd(KEYS.responses, {"n": str(number)})
    await fake_redis.xgroup_create(KEYS.responses, "group", "0")
    async with running(rig):
        await rig.until(lambda: bool(rig.adopted and rig.trimmed))
    assert rig.errors == []


async def test_it_ends_parked_commands_every_interval(fake_redis: Redis) -> None:
    rig = await start(fake_redis, interval=0.001)
    async with running(rig):
        await rig.until(lambda: rig.rounds > 3)
    assert rig.parked_rounds > 1


async def test_between_many_parked_commands_it_checks_and_does_not_wait(fake_redis: Redis) -> None:
    rig = await start(fake_redis, interval=0.2)
    rig.parked_pages = 50  # which would take 10 s of intervals
    async with asyncio.timeout(5), running(rig):
        await rig.until(lambda: rig.parked_pages == 0)
    assert rig.rounds >= rig.parked_rounds


async def test_it_stops_at_once(fake_redis: Redis) -> None:
    rig = await start(fake_redis, interval=NEVER)
    async with running(rig):
        await asyncio.sleep(0)
    assert rig.rounds == 0


async def test_rounds_during_an_outage_are_reported_and_continue(
    fake_redis: Redis, fake_server: fakeredis.FakeServer
) -> None:
    rig = await start(fake_redis, interval=0.001, grace=0.001)
    fake_server.connected = False
    async with running(rig):
        await rig.until(lambda: len(rig.errors) > 3)
        fake_server.connected = True
        await rig.until(lambda: rig.adopted == ["them"])


async def test_a_failed_check_does_not_prevent_trimming(fake_redis: Redis) -> None:
    rig = await start(fake_redis, interval=0.001)
    await fake_redis.set(KEYS.instances, "not a hash")
    for number in range(1000):
        await fake_redis.xadd(KEYS.telemetry, {"n": str(number)})
    await fake_redis.xgroup_create(KEYS.telemetry, "group", "0")
    async with running(rig):
        await rig.until(lambda: rig.trimmed == [("telemetry", 700)])
    assert all(isinstance(error, StoreRefused) for error in rig.errors)


@pytest.mark.parametrize(
    "fate", ["adopted", "not adopted", "not adopted for now", "forgotten", "forgotten by another"]
)
async def test_adopted_instances_cause_no_extra_rounds(
    rig: JanitorRig, frozen: FrozenDateTimeFactory, fate: str
) -> None:
    def refuse(_: str) -> None:
        raise StoreRefused("NOPERM this user may not")

    def be_troubled(_: str) -> None:
        rig.janitor.trouble()

    rig.on_adopt = {"not adopted": refuse, "not adopted for now": be_troubled}.get(fate, lambda _: None)
    if fate == "forgotten":
        await rig.client.hset(KEYS.instances, "them", "1")
    await die(rig, frozen)
    if fate == "forgotten by another":
        await rig.client.hdel(KEYS.instances, "them")
        await rig.janitor.check()
    frozen.tick(SETTINGS.grace)
    rounds = rig.rounds
    async with running(rig):  # the clock stands still, so the next interval never comes
        for _ in range(300):
            await asyncio.sleep(0)
    assert rig.rounds <= rounds + (fate == "forgotten")


async def test_without_a_grace_a_heartbeat_still_has_to_be_missing_twice(fake_redis: Redis) -> None:
    rig = await start(fake_redis, grace=0)
    await rig.janitor.check()
    assert rig.adopted == []
    await rig.janitor.check()
    assert rig.adopted == ["them"]


# Errors


@pytest.mark.parametrize("error", [StoreRefused("NOPERM this user may not"), StoreRefused("WRONGTYPE")])
async def test_one_adoption_that_fails_does_not_hold_up_the_others(
    rig: JanitorRig, frozen: FrozenDateTimeFactory, error: Exception
) -> None:
    await rig.know("others")

    def refuse(instance_id: str) -> None:
        if instance_id == "them":
            raise error

    rig.on_adopt = refuse
    await die(rig, frozen)
    assert (sorted(rig.adopted), rig.errors) == (["others", "them"], [error])
    await rig.janitor.check()
    assert sorted(rig.adopted) == ["others", "them", "them"]


async def test_an_error_that_passes_by_waiting_ends_the_round(
    rig: JanitorRig, frozen: FrozenDateTimeFactory, fake_server: fakeredis.FakeServer
) -> None:
    await rig.know("others")

    def refuse(_: str) -> None:
        raise CallFailed

    rig.on_adopt = refuse
    with pytest.raises(CallFailed):
        await die(rig, frozen)
    assert len(rig.adopted) == 1


# Trimming


async def test_every_stream_is_trimmed_and_unread_entries_are_reported(rig: JanitorRig) -> None:
    now_ms = round(time.time() * 1000)
    streams = (KEYS.responses, KEYS.telemetry, CAPS.session_events)
    for key in streams:
        for number in range(1000):
            await rig.client.xadd(key, {"n": str(number)}, id=f"{now_ms - 2000 + number}-0")
    await rig.client.xgroup_create(KEYS.telemetry, "group", "0")
    await rig.janitor.trim()
    assert rig.trimmed == [("telemetry", 700)]
    assert [await rig.client.xlen(key) for key in streams] == [300, 300, 300]


async def test_a_dead_letter_is_removed_after_the_retention(
    rig: JanitorRig,
) -> None:
    now_ms, retention_ms = round(time.time() * 1000), round(SETTINGS.retention * 1000)
    for age_ms in (retention_ms + 1000, retention_ms - 1000):
        await rig.client.xadd(KEYS.deadletter, {"error": str(age_ms)}, id=f"{now_ms - age_ms}-0")
    await rig.client.xgroup_create(KEYS.deadletter, "group", "0")
    await rig.janitor.trim()
    left = await rig.client.xrange(KEYS.deadletter)
    assert [fields[b"error"] for _, fields in left] == [str(retention_ms - 1000).encode()]


@pytest.mark.parametrize(
    ("retention", "kept"), [(3600.0, 3600), (7 * 86400.0, 86400)], ids=["1 hour", "7 days"]
)
async def test_a_kept_entry_is_removed_after_a_day_or_the_retention(
    fake_redis: Redis, retention: float, kept: int
) -> None:
    rig = JanitorRig(fake_redis, replace(SETTINGS, retention=retention))
    now_ms, kept_ms = round(time.time() * 1000), kept * 1000
    for age_ms in (kept_ms + 1000, kept_ms - 1000):
        await rig.client.xadd(KEYS.kept, {"payload": str(age_ms)}, id=f"{now_ms - age_ms}-0")
    await rig.janitor.trim()
    left = await rig.client.xrange(KEYS.kept)
    assert [fields[b"payload"] for _, fields in left] == [str(kept_ms - 1000).encode()]


async def test_a_device_that_left_is_forgotten_after_the_retention(rig: JanitorRig) -> None:
    now_ms, retention_ms = round(time.time() * 1000), round(SETTINGS.retention * 1000)
    for age_ms in (retention_ms + 1000, retention_ms - 1000):
        await rig.client.hset(KEYS.status, str(age_ms), f'{{"last_seen_at":{now_ms - age_ms}}}')
    await rig.janitor.trim()
    assert await rig.client.hkeys(KEYS.status) == [str(retention_ms - 1000).encode()]


async def test_the_next_round_is_at_the_end_of_the_first_grace(
    fake_redis: Redis, frozen: FrozenDateTimeFactory
) -> None:
    house = JanitorRig(fake_redis)
    await house.know("gone")
    start = time.monotonic()
    await house.janitor.check()
    assert house.janitor._due_times() == [start + SETTINGS.grace]
    frozen.tick(timedelta(seconds=SETTINGS.grace))
    await house.janitor.check()
    assert (house.adopted, house.janitor._due_times()) == (["gone"], [])

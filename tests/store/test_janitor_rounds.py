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
from tests.store.janitor_rig import KEYS, SETTINGS, JanitorRig

NEVER = 3600.0


@pytest.fixture
async def household(frozen: FrozenDateTimeFactory, fake_redis: Redis) -> JanitorRig:
    """With one other instance, that has no heartbeat; on a clock that the test moves."""
    found = JanitorRig(fake_redis)
    await found.know("us", "them")
    return found


async def die(household: JanitorRig, frozen: FrozenDateTimeFactory) -> None:
    """Look twice, a grace apart."""
    await household.janitor.check()
    frozen.tick(SETTINGS.grace)
    await household.janitor.check()


async def start(client: Redis, **settings: float) -> JanitorRig:
    """With one other instance, that has no heartbeat; on a clock that runs."""
    household = JanitorRig(client, replace(SETTINGS, **settings))  # type: ignore[arg-type]
    await household.know("us", "them")
    return household


@asynccontextmanager
async def running(household: JanitorRig) -> AsyncIterator[None]:
    """The janitor runs; it is told to stop, and not cancelled, which Python 3.11 may lose."""
    task = asyncio.create_task(household.janitor.run())
    yield
    household.janitor.stop()
    await task


# The task


async def test_the_end_of_a_grace_does_not_wait_for_the_interval(fake_redis: Redis) -> None:
    household = await start(fake_redis, interval=NEVER, grace=0.01)
    await household.janitor.check()
    async with running(household):
        await household.until(lambda: household.settled == ["them"])


async def test_it_checks_and_trims_every_interval(fake_redis: Redis) -> None:
    household = await start(fake_redis, interval=0.001, grace=0.001)
    for number in range(1000):
        await fake_redis.xadd(KEYS.responses, {"n": str(number)})
    await fake_redis.xgroup_create(KEYS.responses, "group", "0")
    async with running(household):
        await household.until(lambda: bool(household.settled and household.trimmed))
    assert household.errors == []


async def test_it_stops_at_once(fake_redis: Redis) -> None:
    household = await start(fake_redis, interval=NEVER)
    async with running(household):
        await asyncio.sleep(0)
    assert household.rounds == 0


async def test_rounds_during_an_outage_are_reported_and_continue(
    fake_redis: Redis, fake_server: fakeredis.FakeServer
) -> None:
    household = await start(fake_redis, interval=0.001, grace=0.001)
    fake_server.connected = False
    async with running(household):
        await household.until(lambda: len(household.errors) > 3)
        fake_server.connected = True
        await household.until(lambda: household.settled == ["them"])


async def test_a_failed_check_does_not_prevent_trimming(fake_redis: Redis) -> None:
    household = await start(fake_redis, interval=0.001)
    await fake_redis.set(KEYS.instances, "not a hash")
    for number in range(1000):
        await fake_redis.xadd(KEYS.telemetry, {"n": str(number)})
    await fake_redis.xgroup_create(KEYS.telemetry, "group", "0")
    async with running(household):
        await household.until(lambda: household.trimmed == [("telemetry", 700)])
    assert all(isinstance(error, StoreRefused) for error in household.errors)


@pytest.mark.parametrize(
    "fate", ["settled", "not settled", "not settled for now", "forgotten", "forgotten by another"]
)
async def test_adopted_instances_cause_no_extra_rounds(
    household: JanitorRig, frozen: FrozenDateTimeFactory, fate: str
) -> None:
    def refuse(_: str) -> None:
        raise StoreRefused("NOPERM this user may not")

    def be_troubled(_: str) -> None:
        household.janitor.trouble()

    household.on_settle = {"not settled": refuse, "not settled for now": be_troubled}.get(
        fate, lambda _: None
    )
    if fate == "forgotten":
        await household.client.hset(KEYS.instances, "them", "1")
    await die(household, frozen)
    if fate == "forgotten by another":
        await household.client.hdel(KEYS.instances, "them")
        await household.janitor.check()
    frozen.tick(SETTINGS.grace)
    rounds = household.rounds
    async with running(household):  # the clock stands still, so the next interval never comes
        for _ in range(300):
            await asyncio.sleep(0)
    assert household.rounds <= rounds + (fate == "forgotten")


async def test_without_a_grace_a_heartbeat_still_has_to_be_missing_twice(fake_redis: Redis) -> None:
    household = await start(fake_redis, grace=0)
    await household.janitor.check()
    assert household.settled == []
    await household.janitor.check()
    assert household.settled == ["them"]


# Errors


@pytest.mark.parametrize("error", [StoreRefused("NOPERM this user may not"), StoreRefused("WRONGTYPE")])
async def test_one_adoption_that_fails_does_not_hold_up_the_others(
    household: JanitorRig, frozen: FrozenDateTimeFactory, error: Exception
) -> None:
    await household.know("others")

    def refuse(instance_id: str) -> None:
        if instance_id == "them":
            raise error

    household.on_settle = refuse
    await die(household, frozen)
    assert (sorted(household.settled), household.errors) == (["others", "them"], [error])
    await household.janitor.check()
    assert sorted(household.settled) == ["others", "them", "them"]


async def test_an_error_that_passes_by_waiting_ends_the_round(
    household: JanitorRig, frozen: FrozenDateTimeFactory, fake_server: fakeredis.FakeServer
) -> None:
    await household.know("others")

    def refuse(_: str) -> None:
        raise CallFailed

    household.on_settle = refuse
    with pytest.raises(CallFailed):
        await die(household, frozen)
    assert len(household.settled) == 1


# Trimming


async def test_every_stream_is_trimmed_and_unread_entries_are_reported(household: JanitorRig) -> None:
    now_ms = round(time.time() * 1000)
    streams = (KEYS.responses, KEYS.telemetry, SETTINGS.session_events)
    for key in streams:
        for number in range(1000):
            await household.client.xadd(key, {"n": str(number)}, id=f"{now_ms - 2000 + number}-0")
    await household.client.xgroup_create(KEYS.telemetry, "group", "0")
    await household.janitor.trim()
    assert household.trimmed == [("telemetry", 700)]
    assert [await household.client.xlen(key) for key in streams] == [300, 300, 300]


async def test_a_dead_letter_is_removed_after_the_retention(
    household: JanitorRig,
) -> None:
    now_ms, retention_ms = round(time.time() * 1000), round(SETTINGS.retention * 1000)
    for age_ms in (retention_ms + 1000, retention_ms - 1000):
        await household.client.xadd(KEYS.deadletter, {"error": str(age_ms)}, id=f"{now_ms - age_ms}-0")
    await household.client.xgroup_create(KEYS.deadletter, "group", "0")
    await household.janitor.trim()
    left = await household.client.xrange(KEYS.deadletter)
    assert [fields[b"error"] for _, fields in left] == [str(retention_ms - 1000).encode()]


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
    assert (house.settled, house.janitor._due_times()) == (["gone"], [])

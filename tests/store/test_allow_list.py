"""The list of allowed devices in Redis: a copy that answers at once, and a look at what is not in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import fakeredis
import pytest
from redis.asyncio import Redis

from store.client.errors import StoreError
from store.fleet.allow_list import ANSWER_TIMEOUT, BATCH, RedisAllowList
from store.keys import Keys

HERE, ELSEWHERE = "352093081452251", "352093081452252"

IMEI = "352093081452251"
OTHER_IMEI = "352093081452252"
KEYS = Keys("{fleet}:")


class Watched:
    """A list, and what it reported."""

    def __init__(self, client: Redis, *, when_unavailable: bool = False) -> None:
        self.errors: list[Exception] = []
        self.devices = RedisAllowList(
            client, KEYS, when_unavailable=when_unavailable, on_error=self.errors.append
        )

    async def ask(self, imei: str) -> bool:
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.devices.ask(imei, answer.set_result)
        return await answer


Watch = Callable[..., Watched]


@pytest.fixture
def watch(fake_redis: Redis, spawn: Any) -> Watch:
    def start(**given: bool) -> Watched:
        watched = Watched(fake_redis, **given)
        spawn(watched.devices.keep_copy())
        spawn(watched.devices.answer())
        return watched

    return start


def test_the_name_of_the_set_has_the_prefix() -> None:
    assert KEYS.allowed == "{fleet}:devices:allowed"


async def test_a_device_of_the_copy_is_allowed_at_once(fake_redis: Redis) -> None:
    watched = Watched(fake_redis)
    await fake_redis.sadd(KEYS.allowed, IMEI)
    assert watched.devices.allows(IMEI) is None
    await watched.devices.copy()
    assert (watched.devices.allows(IMEI), watched.devices.allows(OTHER_IMEI)) == (True, None)


async def test_a_copy_of_many_is_whole(fake_redis: Redis) -> None:
    watched = Watched(fake_redis)
    imeis = [f"{number:015}" for number in range(5000)]
    await fake_redis.sadd(KEYS.allowed, *imeis)
    await watched.devices.copy()
    assert all(watched.devices.allows(imei) for imei in imeis)


async def test_a_device_taken_off_the_list_is_not_in_the_next_copy(fake_redis: Redis) -> None:
    watched = Watched(fake_redis)
    await fake_redis.sadd(KEYS.allowed, IMEI)
    await watched.devices.copy()
    await fake_redis.srem(KEYS.allowed, IMEI)
    await watched.devices.copy()
    assert watched.devices.allows(IMEI) is None


async def test_a_device_missing_in_the_copy_is_looked_up(fake_redis: Redis, watch: Watch) -> None:
    watched = watch()
    await fake_redis.sadd(KEYS.allowed, IMEI)
    assert (await watched.ask(IMEI), await watched.ask(OTHER_IMEI)) == (True, False)
    assert watched.errors == []


async def test_without_a_set_no_device_is_allowed(watch: Watch) -> None:
    assert not await watch(when_unavailable=True).ask(IMEI)


async def test_many_look_ups_share_few_calls(
    fake_redis: Redis, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched, calls, smismember = watch(), [], fake_redis.smismember

    def counted(*args: Any) -> Any:
        calls.append(args)
        return smismember(*args)

    monkeypatch.setattr(fake_redis, "smismember", counted)
    imeis = [f"{number:015}" for number in range(2 * BATCH + 1)]
    await fake_redis.sadd(KEYS.allowed, *imeis[::2])
    answers = await asyncio.gather(*(watched.ask(imei) for imei in imeis))
    assert answers == [number % 2 == 0 for number in range(len(imeis))]
    assert len(calls) == 3


@pytest.mark.parametrize("policy", [False, True])
async def test_during_an_outage_the_copy_and_the_policy_decide(
    fake_redis: Redis, fake_server: fakeredis.FakeServer, watch: Watch, policy: bool
) -> None:
    await fake_redis.sadd(KEYS.allowed, IMEI)
    watched = watch(when_unavailable=policy)
    await watched.devices.copy()
    fake_server.connected = False
    with pytest.raises(StoreError):
        await watched.devices.copy()
    assert watched.devices.allows(IMEI)
    assert await watched.ask(OTHER_IMEI) is policy
    assert watched.errors
    fake_server.connected = True
    assert not await watched.ask(OTHER_IMEI)


async def test_a_set_of_another_type_is_reported_and_the_policy_stands(
    fake_redis: Redis, watch: Watch
) -> None:
    await fake_redis.set(KEYS.allowed, "not a set")
    watched = watch(when_unavailable=True)
    assert await watched.ask(IMEI)
    assert watched.errors


async def test_a_look_up_has_a_time_limit(
    fake_redis: Redis, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched, never = watch(), asyncio.Event()
    assert not await watched.ask(IMEI)
    monkeypatch.setattr("store.fleet.allow_list.ANSWER_TIMEOUT", 0.02)

    async def silent(*_: Any) -> Any:
        await never.wait()

    monkeypatch.setattr(fake_redis, "smismember", silent)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    answers = await asyncio.gather(*(watched.ask(f"{number:015}") for number in range(BATCH + 1)))
    assert not any(answers)
    assert loop.time() - begun < ANSWER_TIMEOUT
    assert [type(error) for error in watched.errors] == [TimeoutError]


async def test_a_refresh_makes_the_copy_anew_in_the_background(
    fake_redis: Redis, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched, copied = watch(), asyncio.Queue[None]()
    copy = watched.devices.copy

    async def told() -> None:
        await copy()
        copied.put_nowait(None)

    monkeypatch.setattr(watched.devices, "copy", told)
    await copied.get()
    await fake_redis.sadd(KEYS.allowed, IMEI)
    watched.devices.refresh()
    await copied.get()
    assert watched.devices.allows(IMEI)


async def test_a_reload_makes_the_copy_anew_and_counts_it(fake_redis: Redis, watch: Watch) -> None:
    watched = watch()
    await fake_redis.sadd(KEYS.allowed, IMEI)
    assert await watched.devices.reload() == 1
    assert watched.devices.allows(IMEI)


async def test_the_copy_allows_only_its_devices(fake_redis: Redis) -> None:
    errors: list[Exception] = []
    listed = RedisAllowList(fake_redis, Keys(), when_unavailable=False, on_error=errors.append)
    await fake_redis.sadd(Keys().allowed, HERE)
    assert listed.allows(HERE) is None
    await listed.copy()
    assert (listed.allows(HERE), listed.allows(ELSEWHERE)) == (True, None)
    assert errors == []

"""The list of allowed devices in Redis: a copy that answers at once, and a look at what is not in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import fakeredis
import pytest
from redis.asyncio import Redis

from fsm.device_terms import Absence, Listed, Terms
from store.client.errors import StoreError
from store.fleet.allow_list import ANSWER_TIMEOUT, BATCH, RedisAllowList
from store.keys import Keys

HERE, ELSEWHERE = "352093081452251", "352093081452252"

IMEI = "352093081452251"
OTHER_IMEI = "352093081452252"
KEYS = Keys("{fleet}:")
ANYHOW = Terms()
NOT_LISTED, UNKNOWN = Absence.NOT_LISTED, Absence.UNKNOWN
HASH = "5a" * 32


class Watched:
    """A list, and what it reported."""

    def __init__(self, client: Redis) -> None:
        self.errors: list[Exception] = []
        self.devices = RedisAllowList(client, KEYS, on_error=self.errors.append)

    async def ask(self, imei: str) -> Listed:
        answer: asyncio.Future[Listed] = asyncio.get_running_loop().create_future()
        self.devices.ask(imei, answer.set_result)
        return await answer


Watch = Callable[..., Watched]


@pytest.fixture
def watch(fake_redis: Redis, spawn: Any) -> Watch:
    def start() -> Watched:
        watched = Watched(fake_redis)
        spawn(watched.devices.keep_copy())
        spawn(watched.devices.answer())
        return watched

    return start


def test_the_name_of_the_set_has_the_prefix() -> None:
    assert KEYS.allowed == "{fleet}:devices:allowed"


async def test_a_device_of_the_copy_is_allowed_at_once(fake_redis: Redis) -> None:
    watched = Watched(fake_redis)
    await fake_redis.sadd(KEYS.allowed, IMEI)
    assert watched.devices.look_up(IMEI) is None
    await watched.devices.copy()
    assert (watched.devices.look_up(IMEI), watched.devices.look_up(OTHER_IMEI)) == (ANYHOW, None)


async def test_a_copy_of_many_is_whole(fake_redis: Redis) -> None:
    watched = Watched(fake_redis)
    imeis = [f"{number:015}" for number in range(5000)]
    await fake_redis.sadd(KEYS.allowed, *imeis)
    await watched.devices.copy()
    assert all(watched.devices.look_up(imei) == ANYHOW for imei in imeis)


async def test_a_device_taken_off_the_list_is_not_in_the_next_copy(fake_redis: Redis) -> None:
    watched = Watched(fake_redis)
    await fake_redis.sadd(KEYS.allowed, IMEI)
    await watched.devices.copy()
    await fake_redis.srem(KEYS.allowed, IMEI)
    await watched.devices.copy()
    assert watched.devices.look_up(IMEI) is None


async def test_a_device_missing_in_the_copy_is_looked_up(fake_redis: Redis, watch: Watch) -> None:
    watched = watch()
    await fake_redis.sadd(KEYS.allowed, IMEI)
    assert (await watched.ask(IMEI), await watched.ask(OTHER_IMEI)) == (ANYHOW, NOT_LISTED)
    assert watched.errors == []


async def test_without_a_set_no_device_is_allowed(watch: Watch) -> None:
    assert await watch().ask(IMEI) is NOT_LISTED


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
    assert answers == [NOT_LISTED if number % 2 else ANYHOW for number in range(len(imeis))]
    assert len(calls) == 3


async def test_during_an_outage_the_copy_counts_and_others_are_unknown(
    fake_redis: Redis, fake_server: fakeredis.FakeServer, watch: Watch
) -> None:
    await fake_redis.sadd(KEYS.allowed, IMEI)
    watched = watch()
    await watched.devices.copy()
    fake_server.connected = False
    with pytest.raises(StoreError):
        await watched.devices.copy()
    assert watched.devices.look_up(IMEI) == ANYHOW
    assert await watched.ask(OTHER_IMEI) is UNKNOWN
    assert watched.errors
    fake_server.connected = True
    assert await watched.ask(OTHER_IMEI) is NOT_LISTED


@pytest.mark.parametrize("key", [KEYS.allowed, KEYS.terms])
async def test_a_key_of_another_type_is_reported_and_nothing_is_known(
    fake_redis: Redis, watch: Watch, key: str
) -> None:
    await fake_redis.sadd(KEYS.allowed, IMEI)
    await fake_redis.set(key, "neither a set nor a hash")
    watched = watch()
    assert await watched.ask(IMEI) is UNKNOWN
    assert watched.errors


async def test_a_look_up_has_a_time_limit(
    fake_redis: Redis, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched, never = watch(), asyncio.Event()
    assert await watched.ask(IMEI) is NOT_LISTED
    monkeypatch.setattr("store.fleet.allow_list.ANSWER_TIMEOUT", 0.02)

    async def silent(*_: Any) -> Any:
        await never.wait()

    monkeypatch.setattr(fake_redis, "smismember", silent)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    answers = await asyncio.gather(*(watched.ask(f"{number:015}") for number in range(BATCH + 1)))
    assert set(answers) == {UNKNOWN}
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
    assert watched.devices.look_up(IMEI) == ANYHOW


async def test_a_reload_makes_the_copy_anew_and_counts_it(fake_redis: Redis, watch: Watch) -> None:
    watched = watch()
    await fake_redis.sadd(KEYS.allowed, IMEI)
    assert await watched.devices.reload() == 1
    assert watched.devices.look_up(IMEI) == ANYHOW


async def test_the_copy_allows_only_its_devices(fake_redis: Redis) -> None:
    errors: list[Exception] = []
    listed = RedisAllowList(fake_redis, Keys(), on_error=errors.append)
    await fake_redis.sadd(Keys().allowed, HERE)
    assert listed.look_up(HERE) is None
    await listed.copy()
    assert (listed.look_up(HERE), listed.look_up(ELSEWHERE)) == (ANYHOW, None)
    assert errors == []


async def test_what_a_device_has_to_show_is_read_with_it(fake_redis: Redis, watch: Watch) -> None:
    watched = watch()
    await fake_redis.hset(KEYS.terms, IMEI, f"10.0.0.0/8 fd00::/8 cert={HASH}")
    assert await watched.ask(IMEI) is NOT_LISTED
    await fake_redis.sadd(KEYS.allowed, IMEI, OTHER_IMEI)
    expected = Terms((ip_network("10.0.0.0/8"), ip_network("fd00::/8")), (f"cert:{HASH}",))
    assert (await watched.ask(IMEI), await watched.ask(OTHER_IMEI)) == (expected, ANYHOW)
    await watched.devices.copy()
    assert (watched.devices.look_up(IMEI), watched.devices.look_up(OTHER_IMEI)) == (expected, ANYHOW)


async def test_terms_that_cannot_be_read_admit_nobody(fake_redis: Redis, watch: Watch) -> None:
    watched = watch()
    await fake_redis.hset(KEYS.terms, IMEI, "10.0.0.0/33")
    await fake_redis.sadd(KEYS.allowed, IMEI)
    assert await watched.ask(IMEI) is Absence.WRONG
    await watched.devices.copy()
    assert watched.devices.look_up(IMEI) is Absence.WRONG

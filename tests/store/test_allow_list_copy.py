"""A device that is not in the copy of the allow-list is looked up, however much is in the copy."""

from __future__ import annotations

from redis.asyncio import Redis

from store.fleet.allow_list import RedisAllowList
from store.keys import Keys

HERE, ELSEWHERE = "352093081452251", "352093081452252"


async def test_the_copy_lets_in_those_it_holds_and_nobody_else(fake_redis: Redis) -> None:
    errors: list[Exception] = []
    listed = RedisAllowList(fake_redis, Keys(), when_unavailable=False, on_error=errors.append)
    await fake_redis.sadd(Keys().allowed, HERE)
    assert listed.allows(HERE) is None
    await listed.copy()
    assert (listed.allows(HERE), listed.allows(ELSEWHERE)) == (True, None)
    assert errors == []

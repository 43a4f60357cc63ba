"""When a janitor has to look again: at the end of each suspect's grace, whatever its rounds are."""

from __future__ import annotations

import time
from datetime import timedelta

from freezegun.api import FrozenDateTimeFactory
from redis.asyncio import Redis

from tests.store.household import SETTINGS, Household


async def test_the_end_of_each_grace_is_a_time_to_look_and_the_dead_need_none(
    fake_redis: Redis, frozen: FrozenDateTimeFactory
) -> None:
    house = Household(fake_redis)
    await house.know("gone")
    start = time.monotonic()
    await house.janitor.look()
    assert house.janitor._due_times() == [start + SETTINGS.grace]
    frozen.tick(timedelta(seconds=SETTINGS.grace))
    await house.janitor.look()
    assert (house.settled, house.janitor._due_times()) == (["gone"], [])

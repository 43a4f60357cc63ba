"""What the tests of the store share."""

from __future__ import annotations

import pytest
from freezegun.api import FrozenDateTimeFactory
from redis.asyncio import Redis

from tests.store.janitor_rig import JanitorRig


@pytest.fixture
async def rig(frozen: FrozenDateTimeFactory, fake_redis: Redis) -> JanitorRig:
    """With one other instance, that has no heartbeat; on a clock that the test moves."""
    found = JanitorRig(fake_redis)
    await found.know("us", "them")
    return found

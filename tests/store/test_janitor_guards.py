"""What a janitor forgets and what it does not: a verdict over an instance lasts no longer than its ground."""

from __future__ import annotations

import pytest
from freezegun.api import FrozenDateTimeFactory
from redis.asyncio import Redis

from store.client.errors import CallFailed, StoreRefused
from tests.store.household import KEYS, SETTINGS, Household


@pytest.fixture
async def household(fake_redis: Redis, frozen: FrozenDateTimeFactory) -> Household:
    household = Household(fake_redis)
    await household.know("us", "them")
    await household.beat("us")
    return household


async def settle(household: Household, frozen: FrozenDateTimeFactory) -> None:
    """`them` is missed twice, a grace apart."""
    await household.janitor.look()
    frozen.tick(SETTINGS.grace)
    await household.janitor.look()


async def test_an_instance_that_woke_up_after_it_was_settled_is_settled_again(
    household: Household, frozen: FrozenDateTimeFactory
) -> None:
    """It is the same start of it, and its stream is empty, but it may hold devices again."""
    await settle(household, frozen)
    await household.beat("them")
    await household.janitor.look()
    await household.client.delete(KEYS.heartbeat("them"))
    await settle(household, frozen)
    assert household.settled == ["them", "them"]


async def test_after_trouble_an_instance_that_was_settled_is_settled_again(
    household: Household, frozen: FrozenDateTimeFactory
) -> None:
    await settle(household, frozen)
    household.janitor.trouble()
    frozen.tick(SETTINGS.heartbeat_ttl)
    await settle(household, frozen)
    assert household.settled == ["them", "them"]


async def test_what_was_settled_amid_trouble_counts_as_not_settled(
    household: Household, frozen: FrozenDateTimeFactory
) -> None:
    household.on_settle = lambda _: household.janitor.trouble()
    await settle(household, frozen)
    household.on_settle = lambda _: None
    frozen.tick(SETTINGS.heartbeat_ttl)
    await settle(household, frozen)
    assert household.settled == ["them", "them"]


async def test_an_instance_that_was_forgotten_and_is_known_again_is_suspected_anew(
    household: Household, frozen: FrozenDateTimeFactory
) -> None:
    await household.janitor.look()
    await household.client.hdel(KEYS.instances, "them")
    frozen.tick(SETTINGS.grace)
    await household.janitor.look()
    await household.know("them")
    await household.janitor.look()
    assert household.settled == []


@pytest.mark.parametrize("error", [StoreRefused("WRONGTYPE"), CallFailed("gone"), None])
async def test_a_round_that_fails_is_told_and_ends_nothing(
    household: Household, error: Exception | None
) -> None:
    async def fail() -> None:
        if error:
            raise error

    await household.janitor._attempt(fail)
    assert household.errors == ([error] if error else [])

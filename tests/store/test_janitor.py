"""An instance is dead when its heartbeat is missing twice, a grace apart, and what we see can be trusted."""

from __future__ import annotations

from typing import Any

import pytest
from freezegun.api import FrozenDateTimeFactory
from redis.asyncio import Redis

from store.client.errors import CallFailed, StoreRefused
from store.fleet.adoption import Alive
from store.keys import GROUP
from tests.store.janitor_rig import KEYS, SETTINGS, JanitorRig, die

# Who is dead


async def test_a_heartbeat_has_to_be_missing_twice_a_grace_apart(
    rig: JanitorRig, frozen: FrozenDateTimeFactory
) -> None:
    await rig.janitor.check()
    frozen.tick(29.999)
    await rig.janitor.check()
    assert rig.adopted == []
    frozen.tick(0.001)
    await rig.janitor.check()
    assert rig.adopted == ["them"]


async def test_an_instance_with_a_heartbeat_is_alive(rig: JanitorRig, frozen: FrozenDateTimeFactory) -> None:
    await rig.renew_heartbeat("them")
    await die(rig, frozen)
    assert rig.adopted == []


async def test_our_own_id_is_never_suspected(rig: JanitorRig, frozen: FrozenDateTimeFactory) -> None:
    await rig.client.hdel(KEYS.instances, "them")
    await die(rig, frozen)
    assert rig.adopted == []


async def test_a_heartbeat_that_returns_clears_the_suspicion(
    rig: JanitorRig, frozen: FrozenDateTimeFactory
) -> None:
    await rig.janitor.check()
    frozen.tick(SETTINGS.grace)
    await rig.renew_heartbeat("them")
    await rig.janitor.check()
    await rig.client.delete(KEYS.heartbeat("them"))
    await rig.janitor.check()
    assert rig.adopted == []
    frozen.tick(SETTINGS.grace)
    await rig.janitor.check()
    assert rig.adopted == ["them"]


async def test_an_instance_back_during_adoption_is_suspected_anew(
    rig: JanitorRig, frozen: FrozenDateTimeFactory
) -> None:
    def wake(_: str) -> None:
        raise Alive("It is alive again.")

    rig.on_adopt = wake
    await die(rig, frozen)
    await rig.janitor.check()
    frozen.tick(29)
    await rig.janitor.check()
    assert rig.adopted == ["them"]
    assert (rig.errors, await rig.known()) == ([], ["them", "us"])


async def test_another_server_process_proves_no_death_at_first(
    rig: JanitorRig, frozen: FrozenDateTimeFactory
) -> None:
    await rig.janitor.check()
    rig.run_id = "run 2"
    frozen.tick(SETTINGS.grace)
    await rig.janitor.check()
    await rig.janitor.check()
    assert rig.adopted == []
    frozen.tick(SETTINGS.grace)
    await rig.janitor.check()
    assert rig.adopted == ["them"]


async def test_a_young_server_proves_nothing(rig: JanitorRig, frozen: FrozenDateTimeFactory) -> None:
    rig.uptime = 179.9
    await die(rig, frozen)
    rig.uptime = 180
    await rig.janitor.check()
    assert rig.adopted == []
    frozen.tick(SETTINGS.grace)
    await rig.janitor.check()
    assert rig.adopted == ["them"]


async def test_an_error_of_redis_proves_no_death_for_a_heartbeat_ttl(
    rig: JanitorRig, frozen: FrozenDateTimeFactory
) -> None:
    await rig.janitor.check()
    frozen.tick(20)
    rig.janitor.trouble()
    for _ in range(3):
        await rig.janitor.check()
        frozen.tick(29.9)
    assert rig.adopted == []
    frozen.tick(0.3)
    await die(rig, frozen)
    assert rig.adopted == ["them"]


async def test_trouble_in_the_middle_of_a_round_spares_the_rest(
    rig: JanitorRig, frozen: FrozenDateTimeFactory
) -> None:
    await rig.know("others")
    rig.on_adopt = lambda _: rig.janitor.trouble()
    await die(rig, frozen)
    await rig.janitor.check()
    assert len(rig.adopted) == 1


# What becomes of the dead


async def test_dead_instances_are_adopted_again_while_entries_come(
    rig: JanitorRig, frozen: FrozenDateTimeFactory
) -> None:
    await die(rig, frozen)
    for _ in range(3):
        frozen.tick(SETTINGS.interval)
        await rig.janitor.check()
    assert rig.adopted == ["them"]
    await rig.client.xadd(KEYS.outbound("them"), {"command_id": "late"})
    for _ in range(2):
        frozen.tick(SETTINGS.interval)
        await rig.janitor.check()
    assert rig.adopted == ["them"] * 3


async def test_an_instance_that_restarted_unseen_is_adopted_again(
    rig: JanitorRig, frozen: FrozenDateTimeFactory
) -> None:
    await die(rig, frozen)
    frozen.tick(1)
    await rig.know("them")
    await rig.janitor.check()
    assert rig.adopted == ["them"] * 2


async def test_an_instance_older_than_the_retention_is_forgotten(
    rig: JanitorRig, frozen: FrozenDateTimeFactory
) -> None:
    await rig.client.xgroup_create(KEYS.outbound("them"), GROUP, "0", mkstream=True)
    await die(rig, frozen)
    frozen.tick(SETTINGS.retention - SETTINGS.grace)
    await rig.janitor.check()
    assert await rig.known() == ["them", "us"]
    frozen.tick(0.001)
    await rig.janitor.check()
    assert await rig.known() == ["us"]
    assert await rig.client.exists(KEYS.outbound("them")) == 0


async def test_an_old_instance_alive_or_with_entries_stays_listed(
    rig: JanitorRig, frozen: FrozenDateTimeFactory
) -> None:
    await rig.know("living")
    frozen.tick(2 * SETTINGS.retention)
    await rig.renew_heartbeat("living")
    await rig.client.xadd(KEYS.outbound("them"), {"command_id": "c1"})
    await die(rig, frozen)
    assert (rig.adopted, await rig.known()) == (["them"], ["living", "them", "us"])


@pytest.mark.parametrize("event", ["a command comes", "it starts"])
async def test_what_happens_at_the_last_moment_keeps_an_instance_known(
    rig: JanitorRig, frozen: FrozenDateTimeFactory, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the last look and the removal, as far as there is a between."""
    frozen.tick(2 * SETTINGS.retention)
    execute = rig.client.execute_command

    async def meddle(*words: Any, **options: Any) -> Any:
        if words[0] in ("EVALSHA", "HDEL"):
            if event == "it starts":
                await execute("SET", KEYS.heartbeat("them"), "1")
            else:
                await execute("XADD", KEYS.outbound("them"), "*", "command_id", "c1")
        return await execute(*words, **options)

    monkeypatch.setattr(rig.client, "execute_command", meddle)
    await die(rig, frozen)
    assert (rig.adopted, await rig.known()) == (["them"], ["them", "us"])
    assert await rig.client.xlen(KEYS.outbound("them")) == (event == "a command comes")


async def test_an_invalid_start_time_does_no_harm(rig: JanitorRig, frozen: FrozenDateTimeFactory) -> None:
    await rig.client.hset(KEYS.instances, "them", "yesterday")
    await rig.client.hset(KEYS.instances, b"\xff", "")
    await die(rig, frozen)
    assert "them" not in await rig.known()


@pytest.fixture
async def beating(fake_redis: Redis, frozen: FrozenDateTimeFactory) -> JanitorRig:
    beating = JanitorRig(fake_redis)
    await beating.know("us", "them")
    await beating.renew_heartbeat("us")
    return beating


async def adopt(beating: JanitorRig, frozen: FrozenDateTimeFactory) -> None:
    """`them` is missed twice, a grace apart."""
    await beating.janitor.check()
    frozen.tick(SETTINGS.grace)
    await beating.janitor.check()


async def test_an_instance_back_after_adoption_is_adopted_again(
    beating: JanitorRig, frozen: FrozenDateTimeFactory
) -> None:
    """It is the same start of it, and its stream is empty, but it may hold devices again."""
    await adopt(beating, frozen)
    await beating.renew_heartbeat("them")
    await beating.janitor.check()
    await beating.client.delete(KEYS.heartbeat("them"))
    await adopt(beating, frozen)
    assert beating.adopted == ["them", "them"]


async def test_after_an_error_an_adopted_instance_is_adopted_again(
    beating: JanitorRig, frozen: FrozenDateTimeFactory
) -> None:
    await adopt(beating, frozen)
    beating.janitor.trouble()
    frozen.tick(SETTINGS.heartbeat_ttl)
    await adopt(beating, frozen)
    assert beating.adopted == ["them", "them"]


async def test_an_adoption_during_errors_does_not_count(
    beating: JanitorRig, frozen: FrozenDateTimeFactory
) -> None:
    beating.on_adopt = lambda _: beating.janitor.trouble()
    await adopt(beating, frozen)
    beating.on_adopt = lambda _: None
    frozen.tick(SETTINGS.heartbeat_ttl)
    await adopt(beating, frozen)
    assert beating.adopted == ["them", "them"]


async def test_an_instance_listed_again_is_suspected_anew(
    beating: JanitorRig, frozen: FrozenDateTimeFactory
) -> None:
    await beating.janitor.check()
    await beating.client.hdel(KEYS.instances, "them")
    frozen.tick(SETTINGS.grace)
    await beating.janitor.check()
    await beating.know("them")
    await beating.janitor.check()
    assert beating.adopted == []


@pytest.mark.parametrize("error", [StoreRefused("WRONGTYPE"), CallFailed("gone"), None])
async def test_a_failed_round_is_reported_and_the_next_follows(
    beating: JanitorRig, error: Exception | None
) -> None:
    async def fail() -> None:
        if error:
            raise error

    await beating.janitor._attempt(fail)
    assert beating.errors == ([error] if error else [])

"""An estate alone with each of its surprises: somebody is back, or was faster, or had other limits."""

from __future__ import annotations

import pytest
from freezegun.api import FrozenDateTimeFactory
from redis.asyncio import Redis

from fsm.command import Command, decide
from fsm.moves import Discard, Step
from fsm.outbound import Limits
from store.fleet.adoption import Alive
from tests.redis.fleet import IMEI, KEYS, Fleet, ignore


@pytest.fixture
async def fleet(fake_redis: Redis, frozen: FrozenDateTimeFactory) -> Fleet:
    seconds, _ = await fake_redis.time()
    return Fleet(fake_redis, seconds * 1000)


async def test_an_instance_that_is_back_is_not_adopted(fleet: Fleet) -> None:
    """Janitors would take it for adopted, and not check it again."""
    await fleet.hold("dead", IMEI, "s1")
    await fleet.renew_heartbeat("dead")
    with pytest.raises(Alive):
        await fleet.adoption().adopt()
    assert await fleet.client.hget(KEYS.registry, IMEI) == b"dead"


async def test_of_an_ended_command_only_the_entry_is_removed(
    fleet: Fleet,
) -> None:
    fields = {"payload": "x" * 1000}
    entry = await fleet.accept("sent", **fields)
    command = Command("c1", "sent", 2, session_id="s1")
    event = decide(command, "fail", reason="gateway_restart", entry=entry)
    await fleet.ledger().execute(Step(event, entry, ignore))
    again = await fleet.client.xadd(
        KEYS.outbound("dead"), {"command_id": "c1", "imei": IMEI, **fields}, id="*"
    )
    await fleet.client.hset(KEYS.ledger("c1"), "outbound_id", again)
    before = await fleet.log()
    await fleet.adoption(limits=Limits(max_payload=512)).adopt()
    assert (await fleet.log(), await fleet.left()) == (before, 0)


async def test_the_ledger_of_a_command_that_was_given_up_goes_in_time(fleet: Fleet) -> None:
    entry = await fleet.accept()
    event = decide(Command("c1", "queued", 1), "fail", reason="internal_error", entry=entry)
    await fleet.ledger().execute(Discard(entry, ignore, error="internal_error", events=(event,)))
    assert await fleet.client.hget(KEYS.ledger("c1"), "state") == b"failed"
    assert 59_000 < await fleet.client.pttl(KEYS.ledger("c1")) <= 60_000


async def test_a_command_in_a_state_of_another_version_is_left_alone(fleet: Fleet) -> None:
    await fleet.accept()
    await fleet.client.hset(KEYS.ledger("c1"), "state", "parked")
    before = (await fleet.log(), await fleet.left())
    await fleet.adoption().adopt()
    assert (await fleet.log(), await fleet.left()) == before


async def test_what_waits_for_its_device_is_parked_by_an_adopter(fleet: Fleet) -> None:
    entry = await fleet.accept(offline="wait")
    await fleet.adoption().adopt()
    assert await fleet.notes() == [("parked", "c1", "")]
    ledger = await fleet.ledger().read("c1")
    assert (ledger["state"], ledger["instance_id"], await fleet.left(), fleet.adopted) == ("queued", "", 0, 1)
    [(parked_id, fields)] = await fleet.client.xrange(KEYS.parked(IMEI))
    assert (ledger["outbound_id"], fields[b"offline"]) == (parked_id.decode(), b"wait")
    assert parked_id != entry.outbound_id


async def test_what_waits_is_handed_over_if_its_device_is_there(fleet: Fleet) -> None:
    await fleet.accept(offline="wait")
    await fleet.hold("other")
    await fleet.renew_heartbeat("other")
    await fleet.adoption().adopt()
    assert await fleet.notes() == [("moved", "c1", "other")]
    assert await fleet.left("other") == 1


async def test_a_parking_that_redis_refuses_ends_an_adopted_command(fleet: Fleet) -> None:
    await fleet.accept(offline="wait")
    await fleet.client.set(KEYS.parked(IMEI), "no stream")
    await fleet.adoption().adopt()
    assert await fleet.verdict() == (2, "failed", "instance_lost", "not_sent")

"""What gateways know of a command is read from its ledger, whatever a producer writes into its entry."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from tests.redis.live_gateway import IMEI, Device, running, told
from transport.teltonika.handshake import ACCEPT

pytestmark = pytest.mark.redis

FORGED = {"accepted_at": "1000000000000", "hops": "3", "instance_id": "gw-2", "seq": "7", "state": "sent"}


async def test_a_hand_over_keeps_its_times_and_a_producer_forges_none(client: Redis, redis_url: str) -> None:
    entry = {"command_id": "c-1", "imei": IMEI, "payload": "getver", **FORGED}
    async with running(redis_url) as (_, here), running(redis_url, instance_id="gw-2") as (_, there):
        async with Device.at(*here) as device:
            assert await device.name_itself() == ACCEPT
            await client.xadd("commands:outbound:gw-1", entry)
            queued = await told(client, ("command_id", "c-1"), ("state", "queued"))
            accepted = await client.hgetall("commands:state:c-1")
        async with Device.at(*there) as device:
            assert await device.name_itself() == ACCEPT
            assert await device.report() == 1
            assert (await device.command()).payload == b"getver"
            device.answer(b"OK")
            responded = await told(client, ("command_id", "c-1"), ("state", "responded"))
    ledger = await client.hgetall("commands:state:c-1")
    assert ledger[b"accepted_at"] == accepted[b"accepted_at"]
    assert (accepted[b"seq"], ledger[b"hops"], responded["instance_id"]) == (b"1", b"1", "gw-2")
    assert int(responded["age_ms"]) < 60_000
    assert queued["age_ms"] == "0"

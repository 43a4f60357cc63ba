"""Which devices keep their places after an orderly restart, when anybody may have taken them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from redis.asyncio import Redis

from fsm.device_status import DeviceStatus, LastRecord
from store.fleet.device_status import status_json
from store.keys import Keys
from tests.redis.live_gateway import IMEI, Device, running
from tests.rig.waiting import until
from transport.connection.known_devices import SETTLED
from transport.teltonika.handshake import ACCEPT

pytestmark = pytest.mark.redis

KEYS = Keys()
ROOM = 20
LAST = LastRecord(timestamp=1, latitude=0.0, longitude=0.0, speed=0, satellites=0)


async def report_long_ago(client: Redis, imei: str) -> None:
    """A gateway has had a record of the device, long enough ago."""
    seconds, _ = await client.time()  # type: ignore[no-untyped-call]
    ago = round((seconds - SETTLED - 1) * 1000)
    told = DeviceStatus(
        instance_id="gw-0",
        session_id="b-1",
        state="closed",
        connected_at=ago,
        last_seen_at=ago,
        first_reported_at=ago,
        last=LAST,
    )
    await client.hset(KEYS.status, imei, status_json(told))


@pytest.mark.parametrize("was_here", [True, False])
async def test_strangers_do_not_keep_out_a_device_that_was_known_before_the_start(
    client: Redis, redis_url: str, was_here: bool
) -> None:
    settings: dict[str, Any] = {"max_connections": ROOM}
    if was_here:
        await report_long_ago(client, IMEI)
    async with running(redis_url, **settings) as (_, address), Device.at(*address) as device:
        assert await device.name_itself() == ACCEPT
        assert await device.report() == 1
    assert not await client.exists(KEYS.registry)
    async with running(redis_url, **settings) as (gateway, address), AsyncExitStack() as stack:
        known = gateway.sessions.known
        await until(lambda: (IMEI in known) is was_here, "recalled")
        for number in range(ROOM - 1):
            stranger = await stack.enter_async_context(Device.at(*address))
            assert await stranger.name_itself(f"{number:015}") == ACCEPT
            assert await stranger.report() == 1
        device = await stack.enter_async_context(Device.at(*address))
        try:
            accepted = await device.name_itself() == ACCEPT
        except (asyncio.IncompleteReadError, ConnectionError):
            accepted = False
        assert accepted is was_here

"""A second process with the same instance id, on a port that the first one has."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from store.keys import Keys
from tests.redis.live_gateway import Device, running
from transport.daemon.addresses import CannotListen
from transport.daemon.gateway import Gateway
from transport.settings import Settings

pytestmark = pytest.mark.redis


async def test_a_second_process_without_the_port_leaves_the_id_alone(redis_url: str, client: Redis) -> None:
    async with running(redis_url) as (first, address):
        boot = await client.get(Keys().boot("gw-1"))
        assert boot == first.boot_id.encode()
        second = Gateway(Settings(instance_id="gw-1", listen=(address,), metrics=None), redis_url)
        with pytest.raises(CannotListen, match=str(address[1])):
            await second.run()
        assert await client.get(Keys().boot("gw-1")) == boot
        async with Device.at(*address) as device:
            await device.name_itself()
            assert await device.report() == 1
        await second.backend.close()
    assert first.exit_status == 0

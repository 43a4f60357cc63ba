"""``telgw trace`` and a gateway: the bytes of a device while somebody watches, no text of a command."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from click.testing import CliRunner
from redis.asyncio import Redis

from store.keys import Keys
from tests.redis.live_gateway import IMEI, Device, running
from tests.rig.waiting import until
from transport.cli import cli
from transport.daemon import recurring

pytestmark = pytest.mark.redis

KEYS = Keys()
SECRET = "login secret getinfo"


@pytest.mark.timeout(60)
async def test_a_device_is_traced_while_somebody_watches(
    client: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recurring, "TRACED_EVERY", 0.05)
    arguments = ["trace", IMEI, "--redis", redis_url, "--for", "3s", "--utc"]
    async with running(redis_url) as (gateway, address), Device.at(*address) as device:
        await device.name_itself()
        await device.report()
        watching = asyncio.create_task(asyncio.to_thread(CliRunner().invoke, cli, arguments))
        await until(lambda: IMEI in gateway.connections.tap, "the gateway traces the device")
        assert await device.report() == 1
        command: Any = {"command_id": "c-1", "imei": IMEI, "payload": SECRET}
        await client.xadd(KEYS.outbound("gw-1"), command)
        await device.command()
        device.answer(b"Data Link: 1")
        result = await watching
        await until(lambda: not gateway.connections.tap, "the gateway traces nothing")
        entries = await client.xrange(KEYS.trace(IMEI))
    assert result.exit_code == 0, result.output
    for said in ("codec 8, 1 record", "acknowledgement of 1 record", "not shown", 'type 06: "Data Link: 1"'):
        assert said in result.output
    assert "secret" not in result.output
    assert not any(SECRET.encode().hex().encode() in fields[b"hex"] for _, fields in entries)
    assert await client.hgetall(KEYS.traced) == {}  # type: ignore[misc]

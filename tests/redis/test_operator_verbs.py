"""What an operator asks about a running gateway, with a user who may only read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from store.client.client import connect
from store.fleet.commands import CommandReader
from store.fleet.devices import Device as Known
from store.fleet.devices import DeviceReader
from store.fleet.waits import Wait
from store.keys import Keys
from tests.redis.live_gateway import IMEI, Device, running, told
from transport.cli import waiting

pytestmark = pytest.mark.redis

KEYS = Keys()
RIGHTS = (
    *("reset", "on", ">secret", "-@all", "%R~*", "+@read"),
    *("+time", "+info", "+ping", "+select", "+client|setname"),
)


@pytest.fixture
async def operator(client: Redis, redis_url: str) -> AsyncIterator[Redis]:
    """A client that may read everything and change nothing."""
    await client.execute_command("ACL", "SETUSER", "reader", *RIGHTS)  # type: ignore[no-untyped-call]
    found = connect(redis_url.replace("://", "://reader:secret@"), purpose="operator")
    yield found
    await found.aclose()
    await client.execute_command("ACL", "DELUSER", "reader")  # type: ignore[no-untyped-call]


async def known(client: Redis, when: Callable[[Known], bool]) -> Known:
    """The device, as soon as `when` holds."""
    while True:
        for device in await DeviceReader(client, KEYS).read([IMEI]):
            if when(device):
                return device
        await asyncio.sleep(0.01)


@pytest.mark.timeout(60)
async def test_a_device_and_its_commands_are_seen_as_they_change(
    client: Redis, redis_url: str, operator: Redis
) -> None:
    async with running(redis_url, heartbeat_interval=0.2, drain_timeout=60) as (_, address):
        async with Device.at(*address) as device:
            await device.name_itself()
            assert (await known(operator, lambda one: one.state == "identified")).online
            assert await device.report() == 1
            here = await known(operator, lambda one: one.state == "online")
            assert here.status is not None
            assert here.since_ms == here.status.connected_at
            seen = await known(operator, lambda one: bool(one.status and one.status.last))
            assert seen.status is not None
            assert seen.status.last is not None
            assert (seen.status.records, seen.status.last.latitude) == (1, 54.6872)
            entry: Any = {"imei": IMEI, "payload": "getinfo", "response_timeout": "0.1"}
            await client.xadd(KEYS.outbound("gw-1"), {"command_id": "c-1", **entry})
            await device.command()
            await told(client, ("command_id", "c-1"), ("state", "timeout"))
            await known(operator, lambda one: one.state == "tainted")
            await client.xadd(KEYS.outbound("gw-1"), {"command_id": "c-2", **entry})
            await told(client, ("command_id", "c-2"), ("state", "queued"))
            [waiting] = await CommandReader(operator, KEYS).in_flight()
            assert (waiting.command.command_id, waiting.wait) == ("c-2", Wait.LATE_ANSWER)
            [ended] = [one async for one in CommandReader(operator, KEYS).ended(imei=IMEI)]
            assert (ended.event.command_id, ended.event.reason) == ("c-1", "response_timeout")
        gone = await known(operator, lambda one: not one.online)
        assert gone.status is not None
        assert gone.status.reason in ("device_closed", "connection_reset")
    await known(operator, lambda one: one.status is not None and one.status.last is not None)


@pytest.mark.timeout(60)
async def test_who_sends_is_told_what_the_command_waits_for(
    client: Redis, redis_url: str, operator: Redis, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(waiting, "FIRST_LOOK", 0.01)
    async with (
        running(redis_url, heartbeat_interval=0.2, drain_timeout=60) as (_, address),
        Device.at(*address) as device,
    ):
        await device.name_itself()
        assert await device.report() == 1
        entry: Any = {"imei": IMEI, "payload": "getinfo", "response_timeout": "0.1"}
        await client.xadd(KEYS.outbound("gw-1"), {"command_id": "c-1", **entry})
        await device.command()
        await told(client, ("command_id", "c-1"), ("state", "timeout"))
        await client.xadd(KEYS.outbound("gw-1"), {"command_id": "c-2", **entry})
        said = ""
        async with waiting.saying_why(operator, KEYS, IMEI, "c-2"):
            while "owes the answer to an earlier command; that comes within" not in said:
                await asyncio.sleep(0.01)
                said += capsys.readouterr().err
        device.answer(b"late")
        await device.command()

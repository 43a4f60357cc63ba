"""Commands for a tracker that sleeps outlive the gateway that parked them: two real processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from store.keys import Keys
from tests.process.test_adoption import gateway
from tests.rig.waiting import until
from transport.simulator import Behaviour, Tracker

KEYS = Keys()
IMEI = "356307042441013"
Spawn = Callable[[Any], asyncio.Task[None]]

pytestmark = pytest.mark.process


async def ask(client: Any, instance: str, command_id: str) -> None:
    fields = {"command_id": command_id, "imei": IMEI, "payload": f"getver {command_id}", "offline": "wait"}
    await client.xadd(KEYS.outbound(instance), fields)


async def told(client: Any) -> list[tuple[str, str]]:
    """The notes and states of the log, with their commands."""
    entries = [fields for _, fields in await client.xrange(KEYS.responses)]
    return [
        (fields[b"command_id"].decode(), (fields.get(b"note") or fields[b"state"]).decode())
        for fields in entries
        if fields[b"kind"] != b"session"
    ]


async def test_parked_commands_outlive_their_gateway_and_reach_the_device_once(
    client: Redis, redis_url: str, spawn: Spawn
) -> None:
    asked: Any = client
    async with gateway(redis_url, "a") as (first, _), gateway(redis_url, "b") as (_, port):
        await ask(asked, "a", "c1")
        await ask(asked, "a", "c2")

        async def parked() -> bool:
            return {("c1", "parked"), ("c2", "parked")} <= set(await told(asked))

        await until(parked, "the commands are parked")
        first.kill()
        await first.wait()
        sleeper = Behaviour(interval=0.2, answer_delay=0.0, wake_every=1.5, awake_for=1.0)
        tracker = Tracker(IMEI, "127.0.0.1", port, sleeper, now_ms=lambda: round(time.time() * 1000))
        spawn(tracker.run())

        async def answered() -> bool:
            return {("c1", "responded"), ("c2", "responded")} <= set(await told(asked))

        await until(answered, "the commands are answered")
    assert [one.text for one in tracker.counters.commands] == [b"getver c1", b"getver c2"]
    assert await asked.exists(KEYS.parked_devices, KEYS.parked(IMEI)) == 0

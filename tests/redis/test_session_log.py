"""The log of sessions on real servers: what an outage leaves in memory."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from redis.asyncio import Redis

from fsm.events import SessionEvent
from store.client.errors import StoreRefused
from store.client.script import Script
from store.streams.session_log import SessionLog

pytestmark = pytest.mark.redis

STREAM = "commands:responses"


def errors() -> list[StoreRefused]:
    """Those that are alive."""
    return [thing for thing in gc.get_objects() if isinstance(thing, StoreRefused)]


async def test_errors_of_an_outage_make_no_reference_cycles(client: Redis, spawn: Any) -> None:
    told = asyncio.Event()
    await Script("session_log.lua")(client, ["another"], [])  # the first call of a script makes an error
    log = SessionLog(client, STREAM, on_error=lambda error: told.set())
    await client.set(STREAM, "no stream")
    for number in range(100):
        event = SessionEvent("s1", number, "closed", "ready", "close", "idle", "1", "", "gw-1", True)
        log.append(event, 1)
    gc.collect()
    gc.disable()
    before = errors()
    try:
        task = spawn(log.run())
        await told.wait()
        log.stop()
        await task
        left = [error for error in errors() if not any(error is one for one in before)]
    finally:
        gc.enable()
    assert left == []

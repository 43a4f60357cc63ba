"""Telemetry against real servers: out of memory, stopped, frozen, restarted, without its script."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from fsm.telemetry import PendingFrame
from store.client.client import connect
from store.client.errors import is_transient
from store.keys import Keys
from store.streams.telemetry import Telemetry
from tests.rig.local import LocalServer

pytestmark = pytest.mark.redis

KEYS = Keys()


class Flow:
    """Telemetry on a client of its own, with what was confirmed and what failed."""

    def __init__(self, url: str) -> None:
        self.client = connect(url, purpose="telemetry")
        self.telemetry = Telemetry(self.client, KEYS, "gw-1", on_error=self.on_error)
        self.confirmed: list[int] = []
        self.errors: list[Exception] = []
        self.changed = asyncio.Event()

    def on_error(self, error: Exception) -> None:
        self.errors.append(error)
        self.changed.set()

    def store(self, *numbers: int, size: int = 0) -> None:
        for number in numbers:
            body = str(number).encode() + b" " * size
            batch = PendingFrame(
                b"356307042441013", b"8E", 1, [body], lambda number=number: self.confirm(number)
            )
            self.telemetry.store(batch)

    def confirm(self, number: int) -> None:
        self.confirmed.append(number)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.changed.clear()
            await self.changed.wait()


async def numbers(client: Redis) -> list[int]:
    return [int(fields[b"data"]) for _, fields in await client.xrange(KEYS.telemetry)]


@pytest.fixture
async def flow(redis_url: str) -> AsyncIterator[Flow]:
    found = Flow(redis_url)
    yield found
    await found.client.aclose()


async def test_everything_is_stored_and_confirmed_in_order(flow: Flow, client: Redis, spawn: Any) -> None:
    spawn(flow.telemetry.run())
    flow.store(*range(5000))
    assert await flow.telemetry.flush(10) == 0
    assert flow.confirmed == await numbers(client) == list(range(5000))


async def test_a_server_that_forgot_the_script_is_given_it_again(
    flow: Flow, client: Redis, spawn: Any
) -> None:
    spawn(flow.telemetry.run())
    flow.store(1)
    await flow.telemetry.flush(10)
    await client.script_flush()
    flow.store(2)
    await flow.telemetry.flush(10)
    assert (flow.errors, await numbers(client)) == ([], [1, 2])


async def test_without_memory_nothing_is_confirmed_and_all_kept(
    flow: Flow, client: Redis, spawn: Any
) -> None:
    spawn(flow.telemetry.run())
    flow.store(1)
    await flow.telemetry.flush(10)
    await client.config_set("maxmemory", 1)
    flow.store(2, 3)
    await flow.until(lambda: bool(flow.errors))
    assert is_transient(flow.errors[0]), flow.errors
    assert (flow.confirmed, flow.telemetry.healthy) == ([1], False)
    await client.config_set("maxmemory", 0)
    assert await flow.telemetry.flush(10) == 0
    assert flow.confirmed == await numbers(client) == [1, 2, 3]


async def test_memory_running_out_in_a_call_confirms_earlier_frames(
    flow: Flow, client: Redis, spawn: Any
) -> None:
    used = (await client.info("memory"))["used_memory"]
    await client.config_set("maxmemory", used + 3_000_000)
    flow.store(*range(10), size=900_000)
    spawn(flow.telemetry.run())
    await flow.until(lambda: bool(flow.errors))
    assert 0 < len(flow.confirmed) < 10
    assert await client.xlen(KEYS.telemetry) == len(flow.confirmed)
    await client.config_set("maxmemory", 0)
    assert await flow.telemetry.flush(10) == 0
    assert flow.confirmed == list(range(10))


async def test_a_read_only_replica_is_waited_out(flow: Flow, client: Redis, spawn: Any) -> None:
    await client.config_set("replica-serve-stale-data", "yes")
    await client.replicaof("127.0.0.1", 1)
    try:
        flow.store(1)
        spawn(flow.telemetry.run())
        await flow.until(lambda: bool(flow.errors))
        assert is_transient(flow.errors[0]), flow.errors
    finally:
        await client.replicaof("NO", "ONE")
    assert await flow.telemetry.flush(10) == 0
    assert await numbers(client) == [1]


async def test_a_connection_cut_by_the_server_loses_nothing(flow: Flow, client: Redis, spawn: Any) -> None:
    spawn(flow.telemetry.run())
    flow.store(1)
    await flow.telemetry.flush(10)
    for peer in await client.client_list():
        if peer["name"] == "telgw:telemetry":
            await client.client_kill_filter(_id=peer["id"])
    flow.store(2)
    assert await flow.telemetry.flush(10) == 0
    assert flow.confirmed == await numbers(client) == [1, 2]


async def test_a_frozen_server_stores_records_at_least_once(
    flow: Flow, client: Redis, server: LocalServer, spawn: Any
) -> None:
    spawn(flow.telemetry.run())
    flow.store(1)
    await flow.telemetry.flush(10)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        flow.store(2, 3)
        await flow.until(lambda: bool(flow.errors))
        assert (flow.confirmed, is_transient(flow.errors[0])) == ([1], True)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert await flow.telemetry.flush(10) == 0
    assert flow.confirmed == [1, 2, 3]
    assert set(await numbers(client)) == {1, 2, 3}


async def test_a_restarted_server_has_everything_that_was_confirmed(tmp_path: Path, spawn: Any) -> None:
    server = LocalServer.start(tmp_path, 0)
    flow = Flow(server.url)
    task = spawn(flow.telemetry.run())
    flow.store(*range(100))
    await flow.telemetry.flush(10)
    server.stop()
    flow.store(*range(100, 200))
    await flow.until(lambda: bool(flow.errors))
    assert flow.confirmed == list(range(100))
    with LocalServer.start(tmp_path, server.port):
        assert await flow.telemetry.flush(10) == 0
        assert flow.confirmed == await numbers(flow.client) == list(range(200))
        flow.telemetry.stop()
        await task
        await flow.client.aclose()

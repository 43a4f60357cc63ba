"""Redis is killed under load: what it kept is gone on with, and what it lost is said to be lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from store.keys import GROUP
from tests.rig.fleet import Fleet, fleet, until
from tests.rig.outages import (
    HASTY,
    OBEDIENT,
    ON_ITS_WAY,
    assert_calm,
    assert_steady,
    assert_unharmed,
    busy,
    caught_up,
    keep_waiting,
    nothing_acknowledged,
)
from tests.rig.proxy import Proxy, proxy
from tests.rig.redis import RedisServer, redis_server


@pytest.mark.parametrize("persistence", ["always", pytest.param("everysec", marks=pytest.mark.long)])
async def test_a_redis_back_with_its_data_has_cost_only_time(tmp_path: Path, persistence: str) -> None:
    async with redis_server(tmp_path, persistence) as server, fleet(server.url, **HASTY) as run:
        await busy(run)
        server.kill()
        async with nothing_acknowledged(run):
            # Longer than a heartbeat lives: whoever comes back first finds nobody alive.
            await asyncio.sleep(run.options["heartbeat_ttl"])
        await server.start("--key-load-delay", "100")
        await caught_up(run)
        assert_steady(run)
        await assert_unharmed(run)


async def killed(run: Fleet, wire: Proxy, server: RedisServer, other: RedisServer) -> None:
    """Redis is killed with all it had, just after it said its last word, and started empty."""
    with server.client() as operator:
        operator.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
        log = operator.xrange(run.keys.responses)
        server.kill()
    ended = time.time() * 1000
    await asyncio.sleep(ON_ITS_WAY)
    run.lose(log, ended)
    await server.start()


async def replaced(run: Fleet, wire: Proxy, server: RedisServer, other: RedisServer) -> None:
    """Redis takes no more writes, and another one, which is empty, has its address and resets connections."""
    with server.client() as operator:
        operator.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
        log = operator.xrange(run.keys.responses)
    ended = time.time() * 1000
    await asyncio.sleep(ON_ITS_WAY)
    run.lose(log, ended)
    wire.port = other.port
    for connection in wire.wires():
        connection.cut()


async def flushed(run: Fleet, wire: Proxy, server: RedisServer, other: RedisServer) -> None:
    """FLUSHALL."""
    with server.client() as operator:
        both = operator.pipeline(transaction=True)
        log, _, (seconds, microseconds) = both.xrange(run.keys.responses).flushall().time().execute()
    await asyncio.sleep(ON_ITS_WAY)
    run.lose(log, seconds * 1000 + microseconds / 1000)


async def restored(run: Fleet) -> bool:
    """Whether gateways, devices and streams are where producers and janitors look for them."""
    client, keys = run.producer.client, run.keys
    beating = [await client.exists(keys.heartbeat(name)) for name in run.gateways]
    known = await client.hkeys(keys.instances)
    groups = [await client.exists(keys.outbound(name)) for name in run.gateways]
    if not all(beating) or not all(groups) or len(known) < len(run.gateways):
        return False
    for name in run.gateways:
        if [group["name"] for group in await client.xinfo_groups(keys.outbound(name))] != [GROUP.encode()]:
            return False
    return all(await client.hmget(keys.registry, [t.imei for t in run.trackers if t.manners == OBEDIENT]))


Forget = Callable[[Fleet, Proxy, RedisServer, RedisServer], Awaitable[None]]


@pytest.mark.parametrize("forget", [killed, flushed, replaced], ids=["killed", "FLUSHALL", "replaced"])
async def test_an_empty_redis_is_filled_and_commands_in_flight_end(tmp_path: Path, forget: Forget) -> None:
    (tmp_path / "other").mkdir()
    async with (
        redis_server(tmp_path) as server,
        redis_server(tmp_path / "other") as other,
        proxy(server.port) as wire,
        fleet(wire.url) as run,
    ):
        await busy(run)
        run.producer.again = 0.0  # who asks a second time after the loss asks for another command
        slow = await keep_waiting(run)
        await forget(run, wire, server, other)
        slow.answer()
        await until(lambda: restored(run), "all as it was", within=3.0)
        later = len(run.history.produced)
        await until(lambda: len(run.history.produced) > later + 30, "commands")
        await run.rest()
        asked = [p.command_id for p in run.history.produced[later:] if p.is_command]
        assert await run.verdict() == []
        assert_calm(run)
        ends = {f["command_id"]: f for _, f in run.history.responses if f.get("outcome")}
        unfinished = [ends[name] for name in run.memory.open()]
        assert {end["prev"] for end in unfinished} == {"queued", "sent"}
        assert {end.get("recovered") for end in unfinished} == {"1"}
        assert "ledger_lost" in {end["reason"] for end in unfinished}
        states = [ends[name]["state"] for name in asked]
        assert states.count("responded") > len(states) / 2

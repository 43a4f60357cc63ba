"""Shards of telemetry on clusters of six nodes, three primaries and their replicas: faults of one shard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fsm.shards import shard_of
from store.api import Gateways
from store.embedded import _binary
from store.keys import Keys
from tests.conftest import REDIS_SERVER
from tests.redis.cluster import Sharded, sharded
from tests.redis.nodes import Node
from tests.rig.fleet import Fleet, fleet, until
from tests.rig.outages import LONG_TIME_LIMIT, OBEDIENT, progress
from tests.rig.tracker import Tracker
from tests.rig.worker_fleet import worker_fleet

pytestmark = [
    pytest.mark.redis,
    pytest.mark.process,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not REDIS_SERVER.exists(), reason="redis-server is not installed"),
]

PREFIX = "{fleet}:"
SHARDS = 4
KEYS = Keys(PREFIX).shards(SHARDS)
TRACKERS = 12


@pytest.fixture(params=[pytest.param("redis", marks=pytest.mark.full), "valkey"])
def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sharded]:
    """Six nodes, which a test may kill."""
    server = REDIS_SERVER if request.param == "redis" else _binary()
    with sharded(tmp_path, server=server, replicated=True) as nodes:
        yield nodes


@asynccontextmanager
async def served(nodes: Sharded, seed: int) -> AsyncIterator[Fleet]:
    """Two gateways, and trackers of all shards at work."""
    async with fleet(nodes.url, seed, prefix=PREFIX, telemetry_shards=SHARDS) as run:
        await asyncio.gather(run.start("gw-1"), run.start("gw-2"))
        run.plug_in(TRACKERS, manners=OBEDIENT, time_limit=LONG_TIME_LIMIT)
        await run.connected()
        run.producer.begin(run.imeis, 10)
        await progress(run, "commands before")
        yield run


def of_node(nodes: Sharded, node: Node) -> set[int]:
    """The shards that a node serves."""
    return {number for number, shard in enumerate(KEYS) if nodes.owner(shard.telemetry) is node}


def of_shards_on(run: Fleet, nodes: Sharded, node: Node) -> list[Tracker]:
    """The trackers whose shards a node serves."""
    there = of_node(nodes, node)
    return [tracker for tracker in run.trackers if shard_of(tracker.imei.encode(), SHARDS) in there]


def failing(run: Fleet, shards: set[int]) -> set[str]:
    """The gateways that have told of an error of one of these shards."""
    return {
        name
        for name, gateway in run.gateways.items()
        if any(line.get("shard") in shards and "error" in line for line in list(gateway.lines))
    }


def closed(run: Fleet) -> set[str]:
    """Why connections have ended."""
    return {line["reason"] for g in run.gateways.values() for line in list(g.lines) if "reason" in line}


def elsewhere(nodes: Sharded) -> Node:
    """A primary that serves a shard, and not the slot of the fleet."""
    fleet_node = nodes.owner(PREFIX)
    return next(node for shard in KEYS if (node := nodes.owner(shard.telemetry)) is not fleet_node)


async def reports_go_on(trackers: list[Tracker], count: int = 2) -> None:
    known = [len(tracker.acks) for tracker in trackers]
    await until(
        lambda: all(len(t.acks) >= n + count for t, n in zip(trackers, known, strict=True)),
        "acknowledgements for everybody",
    )


async def test_records_are_spread_over_the_nodes_and_all_are_read(nodes: Sharded) -> None:
    async with served(nodes, 1) as run:
        await run.kill("gw-2")
        await progress(run, "commands on one gateway")
        await run.rest()
        assert await run.verdict() == []
        async with Gateways.connect(nodes.url, key_prefix=PREFIX) as gateways, asyncio.timeout(20):
            missing = {record["imei"] for record in run.history.telemetry}
            async for record in gateways.records(group="reader", consumer="me"):
                missing.discard(record.imei)
                if not missing:
                    break
    assert len({nodes.owner(shard.telemetry) for shard in KEYS}) == 3


async def test_a_worker_that_is_killed_costs_no_record_of_any_shard(nodes: Sharded) -> None:
    async with worker_fleet(nodes.url, 5, workers=2, prefix=PREFIX, telemetry_shards=SHARDS) as run:
        await run.start()
        run.plug_in(TRACKERS, manners=OBEDIENT, time_limit=LONG_TIME_LIMIT)
        await run.connected()
        run.producer.begin(run.imeis, 10)
        await progress(run, "commands before")
        for number in (1, 2):
            await run.kill_worker(number)
            await reports_go_on(run.trackers)
            await progress(run, "commands after")
        await run.rest()
        assert await run.verdict() == []


async def test_another_number_of_shards_loses_nothing_that_is_on_its_way(nodes: Sharded) -> None:
    """Gateways get it one after the other, and a consumer reads on."""
    async with served(nodes, 6) as run, Gateways.connect(nodes.url, key_prefix=PREFIX) as gateways:
        read: set[tuple[str, int]] = set()

        async def consume() -> None:
            async for record in gateways.records(group="reader", consumer="me"):
                assert record.data is not None
                read.add((record.imei, int(record.data.timestamp)))

        reading = run.begin(consume(), "consumer")
        for name in ("gw-1", "gw-2"):
            assert await run.stop(name) == 0
            await run.start(name, telemetry_shards=2)
            await reports_go_on(run.trackers)
            await progress(run, "commands after")
        await run.rest()
        acked = set(run.history.acked)
        await until(lambda: acked <= read, "every acknowledged record at the consumer")
        assert not reading.done()
        assert await run.verdict() == []
        assert {2, SHARDS} <= {int(count) for count in await run.client.hkeys(run.keys.shard_counts)}


async def test_a_primary_that_is_killed_costs_no_record_and_pauses_its_own_devices(nodes: Sharded) -> None:
    async with served(nodes, 2) as run:
        node = elsewhere(nodes)
        others = [tracker for tracker in run.trackers if tracker not in of_shards_on(run, nodes, node)]
        node.kill()
        await reports_go_on(others)
        await until(lambda: nodes.replicas[node].client.role()[0] == b"master", "a promotion")
        await reports_go_on(run.trackers)
        await run.rest()
        assert await run.verdict() == []


async def test_a_slot_of_a_shard_that_moves_loses_and_repeats_nothing(nodes: Sharded) -> None:
    async with served(nodes, 3) as run:
        shard = next(shard for shard in KEYS if nodes.owner(shard.telemetry) is not nodes.owner(PREFIX))
        moving = nodes.moving(shard.telemetry, nodes.other(shard.telemetry))
        moving.move_key(shard.telemetry)
        refused = {"AskError", "TryAgainError"}

        def is_refused() -> bool:
            lines = [line for gateway in run.gateways.values() for line in list(gateway.lines)]
            return any(line.get("shard") == shard.shard and line.get("error") in refused for line in lines)

        await until(is_refused, "a refused call")
        moving.move()
        moving.end()
        await reports_go_on(run.trackers)
        await run.rest()
        assert await run.verdict() == []
    assert nodes.owner(shard.telemetry) is moving.target


async def test_a_shard_that_is_away_pauses_its_own_devices_only(nodes: Sharded, long: bool) -> None:
    """With ``--long`` for so long that their connections are closed."""
    async with served(nodes, 4) as run:
        node = elsewhere(nodes)
        shards, paused = of_node(nodes, node), of_shards_on(run, nodes, node)
        others = [tracker for tracker in run.trackers if tracker not in paused]
        # Or it could be promoted when it wakes, and Redis lose what the primary has confirmed meanwhile.
        nodes.replicas[node].client.config_set("cluster-replica-no-failover", "yes")
        for one in (nodes.replicas[node], node):
            one.freeze()
        # What was stored before is acknowledged when a call is known to have failed.
        await until(lambda: failing(run, shards) == {"gw-1", "gw-2"}, "calls that fail")
        known = [len(tracker.acks) for tracker in paused]
        await reports_go_on(others, 5)
        if long:
            await until(lambda: "store_unavailable" in closed(run), "connections that are closed", 90.0)
        assert [len(tracker.acks) for tracker in paused] == known
        for one in (node, nodes.replicas[node]):
            one.thaw()
        await reports_go_on(run.trackers)
        await run.rest()
        assert await run.verdict() == []
        assert ("store_unavailable" in closed(run)) == long

"""Redis answers, but takes no writes: it has no memory, no replicas, or has become one. It is as if away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from store.keys import GROUP
from tests.process.gateway import Gateway
from tests.rig.fleet import fleet, until
from tests.rig.outages import assert_steady, assert_unharmed, busy, caught_up, nothing_acknowledged
from tests.rig.redis import RedisServer, redis_server


@asynccontextmanager
async def out_of_memory(server: RedisServer, directory: Path) -> AsyncIterator[str]:
    """No memory is left, and nothing may be evicted."""
    with server.client() as operator:
        operator.config_set("maxmemory-policy", "noeviction")
        operator.config_set("maxmemory", 1)
        yield "used memory"
        operator.config_set("maxmemory", 0)


@asynccontextmanager
async def too_few_replicas(server: RedisServer, directory: Path) -> AsyncIterator[str]:
    """The server wants a replica that it has not."""
    with server.client() as operator:
        operator.config_set("min-replicas-to-write", 1)
        yield "good replicas"
        operator.config_set("min-replicas-to-write", 0)


@asynccontextmanager
async def a_replica(server: RedisServer, directory: Path) -> AsyncIterator[str]:
    """The server hands its office to another, who has all its data, and takes it back."""
    (directory / "other").mkdir()
    async with redis_server(directory / "other") as other:
        with server.client() as operator, other.client() as deputy:
            deputy.replicaof("127.0.0.1", str(server.port))
            await until(lambda: deputy.info("replication")["master_link_status"] == "up", "a replica")
            operator.execute_command("FAILOVER")
            await until(lambda: operator.info("replication")["role"] == "slave", "the change of roles")
            yield "read only replica"
            operator.replicaof("NO", "ONE")


@pytest.mark.timeout(180)
async def test_a_read_only_redis_is_waited_for_without_loss(tmp_path: Path, long: bool) -> None:
    lasts = 10.0 if long else 0.5  # as long as a move of a command is tried that Redis refuses for good
    async with redis_server(tmp_path) as server, fleet(server.url, command_ttl=60) as run:
        await busy(run)
        for refusal in (out_of_memory, too_few_replicas, a_replica):
            async with refusal(server, tmp_path) as word, nothing_acknowledged(run):
                for gateway in run.gateways.values():
                    await until(lambda gateway=gateway, word=word: has_met(gateway, word), word)
                await asyncio.sleep(lasts)
            await caught_up(run)
        assert_steady(run)
        await assert_unharmed(run)


def has_met(gateway: Gateway, word: str) -> bool:
    """Whether the gateway has logged such an error of Redis."""
    return any(
        word in line.get("detail", "") for line in list(gateway.lines) if line["event"] == "redis_error"
    )


async def test_lost_scripts_and_groups_are_created_again_under_load(
    tmp_path: Path,
) -> None:
    async with redis_server(tmp_path) as server, fleet(server.url) as run:
        await busy(run)
        with server.client() as operator:
            for _ in range(5):
                operator.script_flush()
                for name in run.gateways:
                    operator.xgroup_destroy(run.keys.outbound(name), GROUP)
                asked = len(run.history.produced)
                await until(lambda asked=asked: len(run.history.produced) > asked + 10, "commands")
        await assert_unharmed(run)

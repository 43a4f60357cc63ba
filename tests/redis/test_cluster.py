"""Gateways on a Redis cluster of three nodes: the keys of a fleet on one of them, which may change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from store.client.client import connect
from store.diagnosis.rights import ServerUnfit, check_rights
from store.keys import Keys
from tests.conftest import REDIS_SERVER
from tests.redis.cluster import Sharded, sharded
from tests.rig.fleet import fleet, until
from tests.rig.outages import progress
from transport.cli import cli

pytestmark = [
    pytest.mark.redis,
    pytest.mark.process,
    pytest.mark.slow,
    pytest.mark.skipif(not REDIS_SERVER.exists(), reason="redis-server is not installed"),
]

PREFIX = "{fleet}:"
IMEI = "352093081452251"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sharded]:
    with sharded(tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes


@pytest.fixture
def nodes(started: Sharded) -> Sharded:
    """Three nodes, empty."""
    for node in started.nodes:
        node.client.flushall()
    return started


async def test_a_cluster_works_like_one_server_with_adoption(
    nodes: Sharded,
) -> None:
    async with fleet(nodes.url, 1, prefix=PREFIX) as run:
        await run.start("gw-1")
        await run.start("gw-2")
        run.plug_in(4, manners=("answer",))
        await run.connected()
        run.producer.begin(run.imeis, 30)
        await progress(run, "commands on two gateways", 20)
        await run.kill("gw-2")
        adopter = run.gateways["gw-1"]
        await asyncio.to_thread(adopter.said, "instance_lost", dead="gw-2")
        await progress(run, "commands on one gateway")
        await run.rest()
        assert await run.verdict() == []
    owner = nodes.owner(PREFIX)
    assert [node.client.dbsize() > 0 for node in nodes.nodes] == [node is owner for node in nodes.nodes]


async def test_a_moved_slot_is_followed_without_loss_or_repeat(
    nodes: Sharded,
) -> None:
    async with fleet(nodes.url, 2, prefix=PREFIX) as run:
        gateway = await run.start()
        run.plug_in(3)
        await run.connected()
        run.producer.begin(run.imeis, 20)
        await progress(run, "commands before")
        moving = nodes.moving(PREFIX, nodes.other(PREFIX))
        half = len(moving.keys()) // 2
        moving.move(half)
        refused = {"AskError", "TryAgainError"}
        await until(lambda: refused & {line.get("error") for line in gateway.lines}, "a refused call")
        moving.move()
        moving.end()
        await progress(run, "commands after")
        await run.rest()
        assert await run.verdict() == []
    assert nodes.owner(PREFIX) is moving.target
    assert moving.source.client.dbsize() == 0


async def test_an_outcome_after_a_stream_id_ahead_is_published_once(nodes: Sharded) -> None:
    """A script reaches streams that it does not name: it may find them gone when it has already written."""
    async with fleet(nodes.url, 3, prefix=PREFIX) as run:
        gateway = await run.start()
        (tracker,) = run.plug_in(1, manners=("hold",), pause=1000.0)
        await run.connected()
        owner = nodes.owner(PREFIX)
        for name in (run.keys.deadletter, run.keys.undecodable):
            owner.client.xadd(name, {"any": "entry, for the key to be there"})
        owner.client.sadd(run.keys.serial, "a member, for the key to be there")
        owner.client.zadd(run.keys.parked_devices, {"a member, for the key to be there": 10**15})
        command_id = await run.producer.ask(run.imeis[0], response_timeout="30", codec="12")
        await until(lambda: run.history.received, "a command that is out")
        moving = nodes.moving(PREFIX, nodes.other(PREFIX))
        moving.move_key(run.keys.outbound("gw-1"))
        tracker.answer()
        await until(run._decided, "a verdict in the log")
        moving.move()
        moving.end()
        await asyncio.to_thread(gateway.said, "command", command_id=command_id)
        refused = gateway.said("redis_error", part="ledger", error="StoreRefused")
        assert "non local key" in refused["detail"]
        await run.kill()
        await run.start()  # reads its stream from the beginning, as every gateway does twice a minute
        await run.rest()
        assert await run.verdict() == []


async def test_when_the_node_of_the_fleet_dies_its_replica_is_followed(tmp_path: Path) -> None:
    with sharded(tmp_path) as nodes:
        await _die_and_follow(nodes)


async def _die_and_follow(nodes: Sharded) -> None:
    async with fleet(nodes.url, 4, prefix=PREFIX) as run:
        await run.start()
        run.plug_in(2, manners=("answer",))
        await run.connected()
        run.producer.begin(run.imeis, 20)
        await progress(run, "commands before")
        await run.producer.stop()
        await until(run._decided, "verdicts on all of it")
        owner = nodes.owner(PREFIX)
        replica = nodes.replicate(owner)
        await asyncio.to_thread(nodes.in_step, owner, replica)
        owner.kill()
        run.producer.begin(run.imeis, 20)
        await until(lambda: replica.client.role()[0] == b"master", "a promotion")
        await progress(run, "commands after")
        await run.rest()
        assert await run.verdict() == []


def test_verbs_find_the_node_of_the_fleet(nodes: Sharded) -> None:
    where = ("--redis", nodes.url, "--key-prefix", PREFIX)
    nodes.owner(PREFIX).client.hset("{fleet}:instances:known", "gw-9", 0)
    result = CliRunner().invoke(cli, ["check", *where, "--json", "--replay"])
    found = {one["subject"]: one["level"] for one in map(json.loads, result.stdout.splitlines())}
    assert (found["role"], found["instance gw-9"], found["replay"]) == ("ok", "ok", "ok")


def test_a_dead_letter_is_put_back_on_the_node_of_the_fleet(nodes: Sharded) -> None:
    keys, client = Keys(PREFIX), nodes.owner(PREFIX).client
    client.hset(keys.registry, IMEI, "gw-9")
    client.set(keys.heartbeat("gw-9"), 1)
    command = {"imei": IMEI, "payload": "getver", "expires_at": "4000000000000", "retry_of": "c-1"}
    kept = client.xadd(keys.kept, command)
    letter = client.xadd(
        keys.deadletter, {"error": "internal_error", "command_id": "c-1", "kept_id": kept}
    ).decode()
    where = ("--redis", nodes.url, "--key-prefix", PREFIX)
    result = CliRunner().invoke(cli, ["dead-letters", "--requeue", letter, *where, "--json"])
    said = json.loads(result.stdout)
    [(entry_id, fields)] = client.xrange(keys.outbound("gw-9"))
    assert (said["outbound_id"], said["command_id"]) == (entry_id.decode(), fields[b"command_id"].decode())
    assert (fields[b"payload"], client.xlen(keys.deadletter), client.xlen(keys.kept)) == (b"getver", 0, 0)


@pytest.mark.parametrize(
    "verb",
    [
        ["run", "--listen", "127.0.0.1:0"],
        ["send", "352093081452251", "getinfo"],
        ["cancel", "c-1"],
        ["watch"],
        ["history", "c-1"],
        ["check"],
    ],
    ids=lambda words: words[0],
)
def test_verbs_refuse_a_cluster_without_a_hash_tag_prefix(verb: list[str]) -> None:
    result = CliRunner().invoke(cli, [*verb, "--redis", "redis+cluster://127.0.0.1:1", "--key-prefix", "f:"])
    assert result.exit_code == 2
    assert "--key-prefix with a hash tag, for example {fleet}:" in result.stderr


async def test_a_cluster_node_as_a_single_server_is_refused(nodes: Sharded) -> None:
    for node in nodes.nodes:
        client = connect(f"redis://127.0.0.1:{node.port}", purpose="test")
        with pytest.raises(ServerUnfit, match=r"write redis\+cluster://"):
            await check_rights(client, Keys(), "gw-1", "b00t")
        await client.aclose()

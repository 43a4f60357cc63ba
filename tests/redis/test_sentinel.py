"""Gateways on a Redis behind sentinels: through failovers, with the same checker."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from store.client.locator import STALE
from tests.conftest import REDIS_SERVER
from tests.process.gateway import Gateway
from tests.redis.nodes import Node
from tests.redis.sentinels import Watched, watched
from tests.rig.fleet import Fleet, fleet, until
from tests.rig.outages import progress
from transport.cli import cli

pytestmark = [
    pytest.mark.redis,
    pytest.mark.process,
    pytest.mark.slow,
    pytest.mark.skipif(not REDIS_SERVER.exists(), reason="redis-server is not installed"),
]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched(tmp_path_factory.mktemp("sentinel")) as servers:
        yield servers


@pytest.fixture
def servers(started: Watched) -> Iterator[Watched]:
    """A primary, empty, with its replica in step and three sentinels; what a test breaks is mended."""
    started.primary.client.flushall()
    yield started
    started.mend()


async def test_after_a_failover_gateways_go_on_by_themselves(servers: Watched) -> None:
    old, new = servers.primary, servers.replica
    async with fleet(servers.url, 1) as run:
        gateway = await run.start()
        run.plug_in(3)
        await run.connected()
        run.producer.begin(run.imeis, 20)
        await progress(run, "work before")
        await run.producer.stop()
        await until(run._decided, "verdicts on all of it")
        await asyncio.to_thread(servers.in_step)
        old.kill()
        run.producer.begin(run.imeis, 20)
        await asyncio.to_thread(servers.failed_over, new)
        await progress(run, "work after")
        await run.rest()
        assert await run.verdict() == []
        assert {line.ended for tracker in run.trackers for line in tracker.lines[-1:]} == {False}
        assert gateway.process.poll() is None


async def test_a_frozen_and_replaced_primary_is_not_written_to(servers: Watched) -> None:
    old, new = servers.primary, servers.replica
    async with fleet(servers.url, 2) as run:
        await run.start()
        run.plug_in(2, manners=("answer",))
        await run.connected()
        await asyncio.to_thread(servers.in_step)
        old.freeze()
        await asyncio.to_thread(servers.failed_over, new)
        agreed = time.monotonic()
        await until(lambda: _visited(new), "the gateway at the new one")
        # What a client heard of the sentinels before they agreed is trusted for so long.
        await until(lambda: time.monotonic() - agreed > STALE, "answers that are too old to be trusted")
        old.thaw()
        run.producer.begin(run.imeis, 20)
        await progress(run, "work after")
        takes_writes = old.client.role()[0] == b"master"
        await run.rest()
        assert await run.verdict() == []
        assert takes_writes, "the sentinels were too fast for this test"
        await run.read_on()
        asked = {produced.command_id for produced in run.history.produced}
        assert asked & {fields[b"command_id"].decode() for _, fields in _events(old)} == set()


def _visited(node: Node) -> bool:
    return any(found["name"].startswith("telgw:gw-1:") for found in node.client.client_list())


def _events(node: Node) -> list[tuple[bytes, dict[bytes, bytes]]]:
    return [
        (entry, fields)
        for entry, fields in node.client.xrange("commands:responses")
        if fields[b"kind"] == b"command"
    ]


async def test_a_failover_that_loses_an_answer_repeats_no_command(servers: Watched) -> None:
    old, new = servers.primary, servers.replica
    async with fleet(servers.url, 3) as run:
        gateway = await run.start()
        run.plug_in(1, pause=1000.0)
        await run.connected()
        await until(lambda: _is_ready(run), "a session whose every event the replica can have")
        run.calm()
        await asyncio.to_thread(servers.in_step)
        gateway.process.send_signal(signal.SIGSTOP)
        command_id = await run.producer.ask(run.imeis[0])
        await asyncio.to_thread(servers.in_step)
        _cut_off(old, new)
        gateway.process.send_signal(signal.SIGCONT)
        await until(run._decided, "an answer that only the old primary knows")
        run.memory.decided.clear()
        run.freeze()  # or it would tell the new primary before that is looked at
        old.kill()
        new.thaw()
        await asyncio.to_thread(servers.failed_over, new)
        assert not new.client.exists(f"commands:state:{command_id}"), "nothing was lost"
        run.thaw()
        await until(run._decided, "the same verdict once more")
        await run.rest()
        broken = {violation.rule for violation in await run.verdict()}
        assert broken <= {"I4", "peer"}, "of the write, only the log of the old primary could tell more"
        assert gateway.said("events_restored")["command_id"] == command_id
        told = [fields for _, fields in run.history.responses if fields["kind"] == "command"]
        assert [event["state"] for event in told] == ["queued", "sent", "responded"]
        assert told[-1]["recovered"] == "1"


async def _is_ready(run: Fleet) -> bool:
    log = await run.stream(run.keys.responses)
    return any(fields["kind"] == "session" and fields["state"] == "ready" for _, fields in log)


def _cut_off(primary: Node, replica: Node) -> None:
    """Of what the primary is told from here on, the replica learns nothing."""
    replica.freeze()
    primary.client.execute_command("CLIENT", "KILL", "TYPE", "replica")


async def test_min_replicas_to_write_acknowledges_replicated_only(
    servers: Watched,
) -> None:
    primary, replica = servers.primary, servers.replica
    primary.client.config_set("min-replicas-to-write", 1)
    async with fleet(servers.url, 4) as run:
        gateway = await run.start()
        (tracker,) = run.plug_in(1)
        await run.connected()
        replica.kill()
        refused = await asyncio.to_thread(gateway.said, "redis_error", part="telemetry")
        assert "NOREPLICAS" in refused["detail"]
        acked, stored = len(run.history.acked), primary.client.xlen("telemetry:records")
        await until(lambda: not tracker.all_acknowledged, "a record that is not acknowledged")
        assert (len(run.history.acked), primary.client.xlen("telemetry:records")) == (acked, stored)
        servers.rejoin(replica)
        run.producer.begin(run.imeis, 20)
        await progress(run, "work after")
        await run.rest()
        assert await run.verdict() == []


def test_verbs_find_the_primary_and_check_warns_of_failover(servers: Watched) -> None:
    with Gateway(servers.url):
        found = checked(servers)
    assert (found["role"]["level"], found["instance gw-1"]["level"]) == ("ok", "ok")
    assert found["replicas"]["level"] == "warning"
    assert "min-replicas-to-write" in found["replicas"]["mend"]
    servers.primary.client.config_set("min-replicas-to-write", 1)
    assert checked(servers)["replicas"]["level"] == "ok"


def checked(servers: Watched) -> dict[str, dict[str, str]]:
    """What ``telgw check`` finds, by subject."""
    result = CliRunner().invoke(cli, ["check", "--redis", servers.url, "--json", "--replay"])
    return {one["subject"]: one for one in map(json.loads, result.stdout.splitlines())}

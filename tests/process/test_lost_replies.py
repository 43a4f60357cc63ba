"""What Redis has done and told nobody: replies lost on the wire, for each call that a gateway makes."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from statistics import median

import pytest

from tests.process.gateway import Gateway
from tests.rig.fleet import Fleet, until
from tests.rig.outages import (
    OBEDIENT,
    assert_beating,
    assert_calm,
    assert_unharmed,
    caught_up,
    keep_waiting,
)
from tests.rig.proxied_fleet import load, of, wired
from tests.rig.proxy import Wanted

AT_WORK = {
    "first moves of commands": of("ledger", '"act":"open"'),
    "last moves of commands": of("ledger", '"responded"'),
    "records": of("telemetry", "EVALSHA"),
    "first registrations": of("registry", '"first"'),
    "the ends of sessions": of("registry", '"remove"'),
    "heartbeats": of("heartbeat", "renew"),
    "new entries": of("reader", "XREADGROUP", ">"),
    "session events": of("sessions", "EVALSHA"),
}


@pytest.mark.parametrize("wanted", AT_WORK.values(), ids=AT_WORK)
async def test_calls_with_lost_replies_are_done_exactly_once(tmp_path: Path, wanted: Wanted) -> None:
    async with wired(tmp_path) as (_, wire, run):
        await run.start()
        await load(run)
        lost = wire.fault("lose", wanted, 3)
        await until(lambda: lost.met == 3, "three lost replies")
        await assert_unharmed(run)


async def test_registrations_that_are_missing_are_made_again_with_lost_replies(tmp_path: Path) -> None:
    async with wired(tmp_path) as (server, wire, run):
        await run.start()
        await load(run)
        lost = wire.fault("lose", of("registry", '"deferred"'), 3)
        with server.client() as operator:

            def three_are_lost() -> bool:
                operator.hdel(run.keys.registry, *run.imeis)
                return lost.met == 3

            await until(three_are_lost, "three lost replies")
        await assert_unharmed(run)


@pytest.mark.parametrize("part", ["ledger", pytest.param("telemetry", marks=pytest.mark.long)])
async def test_a_reply_that_never_comes_is_waited_for_only_so_long(tmp_path: Path, part: str) -> None:
    async with wired(tmp_path) as (_, wire, run):
        await run.start()
        await load(run)
        lost = wire.fault("lose", of(part, "EVALSHA"), 1, hangs=True)
        await until(lambda: lost.met == 1, "a lost reply")
        await caught_up(run)
        await assert_unharmed(run)


async def test_a_start_with_lost_replies_succeeds(tmp_path: Path) -> None:
    async with wired(tmp_path) as (_, wire, run):
        await run.start()
        await load(run)
        await keep_waiting(run)
        await run.kill()
        lost = [
            wire.fault("lose", of("heartbeat", "take_over"), 1),
            wire.fault("lose", of("reader", "XGROUP"), 1),
            wire.fault("lose", of("reader", "XAUTOCLAIM"), 1),
            wire.fault("lose", of("reader", "XREADGROUP", "0"), 1),
        ]
        await run.start()
        await until(lambda: all(fault.met for fault in lost), "all of them lost")
        await assert_beating(run)
        await run.rest()
        assert await run.verdict() == []
        assert_calm(run)


async def test_an_end_whose_replies_are_lost_leaves_nothing_undone(tmp_path: Path) -> None:
    async with wired(tmp_path, shutdown_timeout=0.3, response_timeout=5) as (server, wire, run):
        gateway = await run.start()
        await load(run)
        await keep_waiting(run)
        imeis = [tracker.imei for tracker in run.trackers if tracker.manners == OBEDIENT]
        lost = [
            wire.fault("lose", of("registry", '"remove"', imeis[0], imeis[-1]), 1),
            wire.fault("lose", of("ledger", "gateway_shutdown"), 2),
            wire.fault("lose", of("heartbeat", "release"), 1),
        ]
        gateway.terminate()
        assert await asyncio.to_thread(gateway.exit_status) == 0
        assert [fault.left for fault in lost] == [0, 0, 0]
        with server.client() as operator:
            assert not operator.exists(run.keys.heartbeat("gw-1"))
            assert operator.hgetall(run.keys.registry) == {}
        await run.kill()
        await run.start()
        await run.rest()
        assert await run.verdict() == []
        assert_calm(run)


async def test_a_delayed_heartbeat_does_not_revive_a_released_id(
    tmp_path: Path,
) -> None:
    async with wired(tmp_path) as (server, wire, run):
        gateway = await run.start()
        late = wire.fault("delay", of("heartbeat", "renew"), seconds=0.5)
        await until(lambda: late.met, "a heartbeat on its way")
        gateway.terminate()
        assert await asyncio.to_thread(gateway.exit_status) == 0
        await until(lambda: not wire.busy, "all that was on its way")
        with server.client() as operator:
            assert not operator.exists(run.keys.heartbeat("gw-1"))


async def test_adoption_with_lost_replies_is_done_once(tmp_path: Path) -> None:
    async with wired(tmp_path, janitor_interval=0.3, heartbeat_ttl=1) as (_, wire, run):
        await asyncio.gather(run.start("gw-1"), run.start("gw-2"))
        run.plug_in(10, manners=("never",))
        await run.connected()
        run.producer.begin(run.imeis, per_second=50)
        await until(lambda: len(run.history.produced) > 40, "commands")
        lost = wire.fault("lose", of("janitor", "moves"), 1)
        await run.kill("gw-2")
        await until(lambda: lost.met == 1, "a lost reply")
        await run.rest()
        assert await run.verdict() == []
        ends = Counter(fields["reason"] for _, fields in run.history.responses if fields.get("outcome"))
        assert ends["instance_lost"] > 0


async def test_instances_without_heartbeats_do_not_adopt_each_other(tmp_path: Path) -> None:
    async with wired(tmp_path, janitor_interval=0.2) as (server, wire, run):
        await asyncio.gather(run.start("gw-1"), run.start("gw-2"))
        await load(run)
        cut = wire.fault("silence", of("heartbeat"))
        with server.client() as operator:
            heartbeats = [run.keys.heartbeat(name) for name in run.gateways]
            await until(lambda: not operator.exists(*heartbeats), "no heartbeat of anybody")
        asked = len(run.history.produced)
        await until(lambda: len(run.history.produced) > asked + 50, "a time without faults")
        cut.lift()
        await assert_unharmed(run)


def has_met(gateway: Gateway, part: str) -> bool:
    """Whether the gateway has logged an error of that part."""
    return any(line.get("part") == part for line in list(gateway.lines) if line["event"] == "redis_error")


def waits(run: Fleet, known: list[int]) -> list[float]:
    """How long each ack took, seconds, without the first `known` ones of each tracker."""
    return [wait for tracker, count in zip(run.trackers, known, strict=True) for wait in tracker.acks[count:]]


async def test_records_are_acknowledged_while_all_else_is_cut(
    tmp_path: Path,
) -> None:
    async with wired(tmp_path) as (_, wire, run):
        await run.start()
        await load(run)
        slow, gateway = await keep_waiting(run), run.gateways["gw-1"]
        before = [len(tracker.acks) for tracker in run.trackers]
        cut = wire.fault("silence", lambda request: not of("telemetry")(request))
        slow.answer()
        for tracker in run.trackers[:3]:
            assert tracker.line is not None
            tracker.line.cut()
        for part in ("ledger", "heartbeat", "sessions"):
            await until(lambda part=part: has_met(gateway, part), f"trouble with the {part}")
        await asyncio.to_thread(gateway.said, "registry_failed")
        await caught_up(run)
        await until(lambda: len(waits(run, before)) > 50, "acks")
        cut.lift()
        found = waits(run, before)
        assert max(found) < 1.0, f"median {median(found):.4f} s, longest {max(found):.4f} s"
        await assert_unharmed(run)

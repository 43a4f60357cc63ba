"""Shards of telemetry on a gateway process: where records are, who reads them, another number of shards."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from fsm.shards import shard_of
from store.api import Gateways, TelemetryRecord
from tests.process.gateway import KEYS, MAIN, TELEMETRY, Bus, Device, Gateway, clean_environment, until
from tests.process.test_workers import pids, several
from transport.teltonika.frame import encode_frame

SHARDS = 3
IMEIS = [str(352_093_081_452_000 + number) for number in range(9)]
UNDECODABLE = encode_frame(bytes((0x08, 1, 0, 1)))

Start = Callable[..., Gateway]
PlugIn = Callable[..., Device]
Verb = Callable[..., list[dict[str, Any]]]


def names(count: int) -> list[str]:
    return [shard.telemetry for shard in KEYS.shards(count)]


def reported(bus: Bus, stream: str) -> list[str]:
    return [fields["imei"] for _, fields in bus.client.xrange(stream)]


@pytest.fixture
def verb(redis_url: str) -> Verb:
    """Runs a verb: what it prints."""

    def run(*words: str) -> list[dict[str, Any]]:
        command = [sys.executable, "-c", MAIN, *words, "--json", "--redis", redis_url]
        ran = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), timeout=30)
        assert ran.returncode in (0, 1, 3), ran.stderr
        return [json.loads(line) for line in ran.stdout.splitlines()]

    return run


def wrong(findings: list[dict[str, Any]]) -> dict[str, str]:
    return {
        one["subject"]: one["found"]
        for one in findings
        if one["level"] != "ok" and one["subject"] != "nofile"
    }


def test_each_device_is_stored_in_its_shard_and_found_there(
    start: Start, plug_in: PlugIn, bus: Bus, verb: Verb
) -> None:
    gateway = start(telemetry_shards=SHARDS)
    for imei in IMEIS:
        plug_in(gateway, imei).ready()
    found = [reported(bus, stream) for stream in names(SHARDS)]
    assert found == [[i for i in IMEIS if shard_of(i.encode(), SHARDS) == shard] for shard in range(SHARDS)]
    assert bus.client.exists(KEYS.telemetry) == 0
    until(lambda: bus.client.hkeys(KEYS.shard_counts) == [str(SHARDS)], "the number of shards")
    assert [one["imei"] for one in verb("records", IMEIS[4])] == [IMEIS[4]]
    assert [one["imei"] for one in verb("devices", "--shard", "2")] == found[2]
    assert [one["streams"] for one in verb("devices", IMEIS[4])] == [
        [names(SHARDS)[shard_of(IMEIS[4].encode(), SHARDS)]]
    ]
    findings = verb("check")
    assert wrong(findings) == {}
    assert {*names(SHARDS), "telemetry shards"} <= {one["subject"] for one in findings}


def test_a_frame_that_cannot_be_decoded_keeps_its_place_among_the_acknowledgements(
    start: Start, plug_in: PlugIn, bus: Bus
) -> None:
    device = plug_in(start(telemetry_shards=SHARDS)).ready()
    device.send(TELEMETRY + UNDECODABLE + TELEMETRY)
    assert [device._next() for _ in range(3)] == [1, 1, 1]
    shard = KEYS.shards(SHARDS)[shard_of(device.imei.encode(), SHARDS)]
    assert reported(bus, shard.undecodable) == [device.imei]
    assert len(reported(bus, shard.telemetry)) == 3


def test_another_number_of_shards_loses_nothing_for_consumers_who_go_on(
    start: Start, plug_in: PlugIn, bus: Bus, verb: Verb, redis_url: str
) -> None:
    brisk = {"heartbeat_interval": 0.2, "heartbeat_ttl": 2, "janitor_interval": 0.2}
    for count in (1, SHARDS, 2):
        gateway = start(telemetry_shards=count, **brisk)
        plug_in(gateway, IMEIS[count]).ready()
        until(lambda count=count: bus.client.hexists(KEYS.shard_counts, str(count)), f"{count} noted")
        if count == SHARDS:
            assert asyncio.run(read(redis_url, 2)) == {IMEIS[1], IMEIS[SHARDS]}
        gateway.terminate()
        assert gateway.exit_status() == 0
    start(telemetry_shards=2, **brisk)
    old = f"{KEYS.telemetry}:{SHARDS - 1}"
    bus.client.xadd(
        old, {"imei": IMEIS[8], "codec": "8", "instance_id": "gw", "received_at": "1", "data": "{}"}
    )
    until(lambda: old in wrong(verb("check")), "an old shard with something unread")
    assert "not all read by reader" in wrong(verb("check"))[old]


def test_gateways_that_do_not_agree_are_named(start: Start, verb: Verb) -> None:
    start("gw-1", telemetry_shards=2)
    start("gw-2")
    assert (
        wrong(verb("check"))["telemetry shards"] == "gateways do not agree on their number: 1: gw-2; 2: gw-1"
    )


def test_a_killed_worker_leaves_every_acknowledged_record_in_its_shard(gateway_url: str, bus: Bus) -> None:
    with several(gateway_url, telemetry_shards=SHARDS) as gateway, ExitStack() as stack:
        devices = [stack.enter_context(Device(gateway, imei)).ready() for imei in IMEIS]
        holders = until(
            lambda: (held := bus.client.hgetall(KEYS.registry)) and len(held) == len(IMEIS) and held
        )
        os.kill(pids(gateway)[1], signal.SIGKILL)
        gateway.said("worker_ended", worker=1, exit_status=-9, started_again=True)
        for device in devices:
            if holders[device.imei] == "gw-1":
                device = stack.enter_context(Device(gateway, device.imei)).hello()
            device.report()
        found = [reported(bus, stream) for stream in names(SHARDS)]
        for number, shard in enumerate(found):
            mine = [imei for imei in IMEIS if shard_of(imei.encode(), SHARDS) == number]
            assert sorted(shard) == sorted(mine * 2)
        gateway.terminate()
        assert gateway.exit_status() == 0


async def read(url: str, count: int) -> set[str]:
    """The devices of the next records that a consumer gets."""
    found: list[TelemetryRecord] = []
    async with Gateways.connect(url) as gateways, asyncio.timeout(20):
        records = gateways.records(group="reader", consumer="me")

        def handle(record: TelemetryRecord) -> None:
            found.append(record)
            if len(found) == count:
                records.stop()

        await records.run(handle)
    return {record.imei for record in found}

"""What `telgw check` advises works when it is followed: the gateway runs on, and the finding is gone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from store.keys import GROUP
from tests.process.gateway import IMEI, KEYS, MAIN, Bus, Device, Gateway, clean_environment, until

Start = Callable[..., Gateway]
PlugIn = Callable[..., Device]
HIGHEST = f"{2**64 - 1}-{2**64 - 1}"
STREAM = KEYS.outbound("gw-1")


@pytest.fixture
def check(redis_url: str) -> Callable[[], dict[str, list[dict[str, str]]]]:
    """Runs `telgw check`: what it finds wrong, by subject."""

    def run() -> dict[str, list[dict[str, str]]]:
        command = [sys.executable, "-c", MAIN, "check", "--json", "--redis", redis_url]
        ran = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), timeout=30)
        wrong: dict[str, list[dict[str, str]]] = {}
        for finding in map(json.loads, ran.stdout.splitlines()):
            if finding["level"] != "ok" and finding["subject"] != "nofile":
                wrong.setdefault(finding["subject"], []).append(finding)
        assert ran.returncode in (0, 1, 3), ran.stderr
        return wrong

    return run


def obeys(bus: Bus, device: Device, command_id: str) -> None:
    bus.ask(command_id)
    assert device.obey() == command_id
    assert bus.ended(command_id)[-1] == "responded answered"


def test_commands_skipped_by_the_group_end_after_the_start(
    start: Start, plug_in: PlugIn, bus: Bus, check: Any
) -> None:
    names = [bus.ask(name) and name for name in ("c-1", "c-2", "c-3")]
    bus.client.xgroup_create(STREAM, GROUP, "$")
    gateway = start(reconnect_grace=0)
    for name in names:
        assert bus.ended(name)[-1].startswith("failed device_not_connected")
    bus.empty()
    obeys(bus, plug_in(gateway).ready(), "c-4")
    assert check() == {}


@pytest.mark.parametrize("key", [KEYS.responses, KEYS.telemetry])
def test_a_shared_stream_at_its_last_id_is_renamed(
    start: Start, plug_in: PlugIn, bus: Bus, check: Any, key: str
) -> None:
    device = plug_in(start()).ready()
    obeys(bus, device, "before")
    bus.client.xadd(key, {"a": "b"}, id=HIGHEST)
    [finding] = check()[key]
    assert finding["level"] == "critical"
    assert finding["mend"].startswith(f"RENAME {key} {key}:full")
    bus.client.rename(key, f"{key}:full")
    device.report()
    obeys(bus, device, "after")
    assert check() == {}


def test_an_outbound_stream_at_its_last_id_is_created_again_when_it_is_empty(
    start: Start, plug_in: PlugIn, bus: Bus, check: Any
) -> None:
    device = plug_in(start(heartbeat_interval=0.2, heartbeat_ttl=5)).ready()
    obeys(bus, device, "before")
    bus.client.xadd(STREAM, {"command_id": "last", "imei": IMEI, "payload": "last"}, id=HIGHEST)
    device.command()
    [finding] = check()[STREAM]
    assert finding["level"] == "critical"
    assert "its gateway creates it again" in finding["mend"].lower()
    device.answer("OK")
    assert bus.ended("last")[-1] == "responded answered"
    until(lambda: last_id(bus) != HIGHEST, "the stream with ids of the present")
    obeys(bus, device, "after")
    until(lambda: check() == {}, "a check without findings")


def test_unread_commands_that_a_producer_has_trimmed_are_found(
    start: Start, plug_in: PlugIn, bus: Bus, check: Any
) -> None:
    gateway = start(heartbeat_interval=0.2, heartbeat_ttl=5)
    device = plug_in(gateway).ready()
    obeys(bus, device, "before")
    bus.client.xadd(
        STREAM, {"command_id": "c-1", "imei": IMEI, "payload": "c-1"}, maxlen=0, approximate=False
    )
    gateway.said("outbound_entries_lost")
    [finding] = check()[STREAM]
    assert (finding["level"], "MAXLEN" in finding["mend"]) == ("critical", True)
    obeys(bus, device, "after")
    until(lambda: check() == {}, "a check without findings")


def last_id(bus: Bus) -> str:
    return str(bus.client.xinfo_stream(STREAM)["last-generated-id"])


def test_a_key_of_a_wrong_type_is_deleted_and_all_goes_on(
    start: Start, plug_in: PlugIn, bus: Bus, check: Any
) -> None:
    device = plug_in(start(heartbeat_interval=0.2, heartbeat_ttl=5)).ready()
    for key, kind in KEYS.shared.items():
        bus.client.delete(key)
        bus.client.set(key, kind)
    bus.client.delete(STREAM)
    bus.client.set(STREAM, "x")
    wrong = check()
    assert set(wrong) >= {*KEYS.shared, STREAM}
    for key in (*KEYS.shared, STREAM):
        assert "delete it" in wrong[key][0]["mend"]
        bus.client.delete(key)
    until(lambda: bus.holder() == "gw-1", "the registration")
    device.report()
    until(lambda: bus.client.exists(STREAM), "the stream of the gateway")
    obeys(bus, device, "after")
    until(lambda: check() == {}, "a check without findings")


def test_an_unlisted_gateway_is_listed_and_adopted(start: Start, bus: Bus, check: Any) -> None:
    start(
        "gw-2",
        janitor_interval=0.3,
        janitor_grace=0.1,
        janitor_min_uptime=0,
        heartbeat_ttl=2,
        heartbeat_interval=0.5,
    )
    bus.client.hset(KEYS.registry, IMEI, "gw-1")
    bus.ask("c-1")
    finding = check()["instance gw-1"][0]
    assert f"HSET {KEYS.instances} gw-1 0" in finding["mend"]
    bus.client.hset(KEYS.instances, "gw-1", 0)
    assert bus.ended("c-1")[-1] == "failed instance_lost not_sent"
    until(lambda: bus.holder() is None, "an empty registry")
    until(lambda: check() == {}, "a check without findings")


def test_a_gateway_that_was_killed_is_not_called_alive(start: Start, check: Any) -> None:
    gateway = start()
    assert check() == {}
    gateway.kill()
    (finding,) = check()["instance gw-1"]
    assert finding["found"].startswith("its process has ended, last heartbeat ")

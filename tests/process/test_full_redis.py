"""Devices send more than the memory of Redis can hold: old telemetry gives way, and nothing else suffers."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests import wire_format
from tests.process.gateway import KEYS, Bus, Device, Gateway, until

Start = Callable[..., Gateway]
PlugIn = Callable[..., Device]
LIMIT = 48 * 2**20
RECORDS = 80
FRAMES = 1500
FLOODERS = 3
OTHER = "35209308145{0:04d}"


def flood(device: Device) -> None:
    """Send frames of 4 KB, each about 25 KB in Redis, as fast as they are acknowledged."""
    frame = wire_format.avl([1_700_000_000_000 + number for number in range(RECORDS)])
    for _ in range(FRAMES):
        device.report(frame, RECORDS)


def test_devices_that_send_more_than_redis_can_hold_stop_nobody(
    start: Start, plug_in: PlugIn, bus: Bus
) -> None:
    bus.client.config_resetstat()
    bus.client.config_set("maxmemory", LIMIT)
    gateway = start()
    honest = plug_in(gateway).ready()
    strangers = [plug_in(gateway, OTHER.format(number)).ready() for number in range(FLOODERS)]
    threads = [threading.Thread(target=flood, args=(stranger,), daemon=True) for stranger in strangers]
    for thread in threads:
        thread.start()
    asked = 0
    while any(thread.is_alive() for thread in threads):
        asked += 1
        honest.report()
        bus.ask(f"c-{asked}")
        honest.command()
        honest.answer()
        assert bus.ended(f"c-{asked}")[-1] == "responded answered"
    assert asked > 3
    until(lambda: bus.client.info("memory")["used_memory"] < 0.9 * LIMIT, "memory below the limit")
    assert "errorstat_OOM" not in bus.client.info("errorstats")  # no write was ever refused
    assert bus.client.xlen(KEYS.telemetry) < FLOODERS * FRAMES * RECORDS / 2
    assert not [line for line in gateway.lines if line["event"] == "redis_error"]

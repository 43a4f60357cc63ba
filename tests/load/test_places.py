"""Strangers take every place, and keep nobody out."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from tests.load.daemon import Daemon
from tests.load.driver_process import DriverProcess, open_files
from tests.load.strangers import MUTE, NAMED, PROVEN
from tests.load.test_memory import percentile
from tests.process.gateway import until

PLACES = 1500
STRANGERS = 1600
FLEET = 100
SOURCES = ["127.0.0.21", "127.0.0.22"]
SECONDS = 6.0
TIME_LIMIT = 1000.0
"""Milliseconds within which 99 of 100 honest reports are acknowledged, on a machine that has other work."""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("far", [MUTE, NAMED, PROVEN])
def test_silent_connections_from_two_addresses_keep_nobody_out(
    redis_url: str, stack: ExitStack, far: str
) -> None:
    if not open_files(PLACES + STRANGERS + 500):
        pytest.skip(f"{STRANGERS} sockets need a higher limit of open files (ulimit -n) than is allowed here")
    gateway = stack.enter_context(Daemon(redis_url, max_connections=PLACES, handshake_timeout=5))
    port = int(gateway.port)
    strangers = stack.enter_context(
        DriverProcess("strangers", port=port, at_once=STRANGERS, far=far, stay=True, sources=SOURCES)
    )
    until(lambda: gateway.files() > PLACES * 0.95, "the strangers have taken the places")
    fleet = stack.enter_context(DriverProcess("steady_devices", port=port, devices=FLEET))
    time.sleep(SECONDS)
    fleet.ask()
    time.sleep(SECONDS)
    told = fleet.ask()
    latencies = told["latencies"]
    print(f"{far}: {strangers.ask()}; {len(latencies)} reports, {told.get('closed', 0)} closed;", end=" ")
    half, most = percentile(latencies, 0.5), percentile(latencies, 0.99)
    print(f"acknowledged within {half:.0f} ms (half) and {most:.0f} ms (99 of 100)")
    assert len(latencies) > FLEET * SECONDS / 2
    assert most < TIME_LIMIT

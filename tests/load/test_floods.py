"""Hostile crowds on the real daemon, and one real device among them."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.load.daemon import Daemon
from tests.load.driver_process import DriverProcess, open_files
from tests.process.gateway import until

SLOW = 5000
AT_ONCE = 400
HANDSHAKE_TIMEOUT = 3
"""Seconds; the sockets that send their handshake slowly are closed all at once, twice in each round."""
ROUND = 5.0
ROUNDS = 4
"""The machine has other work than the gateway's: that can only make a round worse, never better."""
BOUND = 100.0
"""Milliseconds within which a device's record is acknowledged."""


@pytest.mark.timeout(120)
def test_a_flood_does_not_delay_the_acknowledgement(redis_url: str, stack: ExitStack) -> None:
    if not open_files(SLOW + AT_ONCE + 500):
        pytest.skip(f"{SLOW} sockets need a higher limit of open files (ulimit -n) than is allowed here")
    gateway = stack.enter_context(Daemon(redis_url, handshake_timeout=HANDSHAKE_TIMEOUT))
    port = int(gateway.port)
    device = stack.enter_context(DriverProcess("device", port=port, imei="352093081452251"))
    slow = stack.enter_context(DriverProcess("slow_senders", nice=10, port=port, count=SLOW))
    until(lambda: slow.ask()["connected"] == SLOW, "every slow socket connected")
    flood = stack.enter_context(DriverProcess("handshakes", nice=10, port=port, at_once=AT_ONCE))
    rounds = []
    for _ in range(ROUNDS):
        latencies = device.ask(seconds=ROUND)["latencies"]
        rounds.append((latencies[-1], latencies[-1 - len(latencies) // 100], len(latencies)))
        if latencies[-1] < BOUND:
            break
    counts = slow.ask() | flood.ask()
    print(f"Worst, 99th percentile (ms), reports of each round: {rounds}; {counts}")
    assert min(rounds)[0] < BOUND
    assert counts["connected"] > SLOW / 2  # they come back as fast as the machine lets them
    assert counts["closed"] >= SLOW / 2
    assert counts["accepted"] > AT_ONCE

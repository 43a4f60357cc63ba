"""Memory is bounded whatever devices do, and honest devices are acknowledged meanwhile."""

from __future__ import annotations

import os
import platform
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import trustme

from fsm.backlog import LIMIT
from store.embedded import EmbeddedServer
from tests.load.daemon import Daemon
from tests.load.driver_process import DriverProcess
from tests.rig.certificates import write_pair
from tests.rig.ports import free_port
from tests.wire_format import hello
from transport.connection.backpressure import READ_SIZE
from transport.teltonika.handshake import ACCEPT

DEVICES = 50
AT_ONCE = 40
SIZE = 240_000
"""Bytes that each connection of the attack sends before it closes."""
GROWTH = 45.0
"""MiB by which the gateway may grow: the backlog as objects of Python, and what is in flight."""
CONNECTION = 7 / 1024
"""MiB of an open connection: its objects, the part of a frame that has come, and what waits for Redis, which
are its registration and the events of its session. How many there are does not depend on memory: when the
backlog is full turns are short, and all that waits in the queue of the kernel is accepted in a moment."""
SECURE = 300
SECURE_CONNECTION = 36 / 1024
"""MiB of an idle connection with TLS, with half as much again as it takes."""
TIME_LIMIT = 3000.0
"""Milliseconds within which 99 of 100 honest reports are acknowledged, on a machine that has other work."""
MARGIN = AT_ONCE * 32 * READ_SIZE
"""What one read of each connection may add to a backlog that is not quite full."""


class Crowd:
    """A gateway, honest devices, and what is known of its memory."""

    def __init__(self, redis_url: str, stack: ExitStack, **options: Any) -> None:
        self._metrics = free_port()
        self.gateway = stack.enter_context(Daemon(redis_url, metrics=f"127.0.0.1:{self._metrics}", **options))
        self.port = int(self.gateway.port)
        self._patrol = stack.enter_context(DriverProcess("steady_devices", port=self.port, devices=DEVICES))
        self._before = 0.0
        self.pending: list[float] = []
        self.growth: list[float] = []
        self.connections: list[float] = []

    def measure(self, seconds: float) -> None:
        """Look at the gateway's memory and backlog for so long."""
        self._before = self._before or self.gateway.memory()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.pending.append(self.metric("telemetry_pending_bytes"))
            self.growth.append(self.gateway.memory() - self._before)
            self.connections.append(self.metric("open_connections"))
            time.sleep(0.1)

    def metric(self, name: str) -> float:
        """A number of the gateway's page."""
        with urlopen(f"http://127.0.0.1:{self._metrics}/metrics", timeout=30) as page:
            [line] = [line for line in page if line.startswith(f"teltonika_{name} ".encode())]
        return float(line.split()[1])

    def honest(self) -> tuple[list[float], int]:
        """Latencies of the honest devices since the last question, and how often one was closed."""
        told = self._patrol.ask()
        return told["latencies"], told.get("closed", 0)

    def tell(self, counts: dict[str, int], latencies: list[float], closed: int) -> None:
        """Print what was measured."""
        dropped = self.metric("telemetry_dropped_frames_total")
        print(f"{counts}; grown by {max(self.growth):.0f} MiB;")
        backlog, connections = max(self.pending) / 2**20, max(self.connections)
        print(f"backlog {backlog:.1f} MiB, {connections:.0f} connections at most;")
        print(f"{dropped:.0f} frames dropped; {len(latencies)} honest reports, {closed} closed;")
        parts = (percentile(latencies, share) for share in (0.5, 0.99, 1.0))
        print("acknowledged within {:.0f} ms (half), {:.0f} ms (99 of 100), {:.0f} ms (all)".format(*parts))

    def check(self, latencies: list[float], closed: int, time_limit: float = TIME_LIMIT) -> None:
        """Memory and backlog within their bounds, and every honest device served."""
        assert max(self.growth) < GROWTH + CONNECTION * max(self.connections)
        assert max(self.pending) < LIMIT + MARGIN
        assert closed == 0
        assert percentile(latencies, 0.99) < time_limit
        assert len(latencies) > DEVICES


@contextmanager
def frozen(server: EmbeddedServer) -> Iterator[None]:
    """Redis does not answer."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def percentile(latencies: list[float], share: float) -> float:
    """The latency that so much of them does not exceed."""
    return latencies[min(len(latencies) - 1, int(len(latencies) * share))]


@pytest.fixture
def seconds(thorough: bool) -> float:
    """How long it is measured."""
    return 10.0 if thorough else 4.0


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
@pytest.mark.timeout(120)
def test_an_idle_connection_with_tls_takes_little(redis_url: str, stack: ExitStack, tmp_path: Path) -> None:
    authority, cert, key = trustme.CA(), tmp_path / "cert.pem", tmp_path / "key.pem"
    write_pair(authority, cert, key)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    options = {"tls_listen": "127.0.0.1:0", "tls_cert": cert, "tls_key": key, "handshake_rate": 0}
    gateway = stack.enter_context(Daemon(redis_url, **options))
    host, _, port = gateway.said("ready")["tls"][0].rpartition(":")

    def connect(imei: int) -> ssl.SSLSocket:
        device = context.wrap_socket(socket.create_connection((host, int(port))), server_hostname=host)
        device.sendall(hello(str(imei)))
        assert device.recv(1) == ACCEPT
        return device

    connect(352_093_000_000_000).close()  # only from the first end on the memory of the next ones differs
    for number in range(100):
        stack.enter_context(connect(352_093_000_000_001 + number))
    before = gateway.memory()
    for number in range(SECURE):
        stack.enter_context(connect(352_093_000_001_000 + number))
    assert gateway.memory() - before < SECURE * SECURE_CONNECTION


@pytest.mark.timeout(120)
def test_repeated_connect_send_and_close_fills_no_memory(
    redis_url: str, seconds: float, stack: ExitStack
) -> None:
    crowd = Crowd(redis_url, stack)
    crowd.measure(1.5)
    crowd.honest()
    flood = stack.enter_context(
        DriverProcess("short_connections", port=crowd.port, at_once=AT_ONCE, size=SIZE)
    )
    crowd.measure(seconds)
    latencies, closed = crowd.honest()
    counts = flood.ask()
    crowd.tell(counts, latencies, closed)
    crowd.check(latencies, closed)
    assert counts["begun"] > 10 * AT_ONCE


@pytest.mark.timeout(120)
def test_messages_of_one_byte_fill_no_memory(redis_url: str, seconds: float, stack: ExitStack) -> None:
    """Nothing of them is dropped when their connections close, and Redis has work with each."""
    crowd = Crowd(redis_url, stack, max_connections=2000)
    crowd.measure(1.5)
    crowd.honest()
    arguments = {"at_once": AT_ONCE, "size": SIZE, "messages": True}
    flood = stack.enter_context(DriverProcess("short_connections", port=crowd.port, **arguments))
    crowd.measure(2 * seconds)
    latencies, closed = crowd.honest()
    crowd.tell(flood.ask(), latencies, closed)
    crowd.check(latencies, closed, time_limit=2 * TIME_LIMIT)


@pytest.mark.timeout(120)
def test_a_flood_without_redis_fills_no_memory(
    redis_url: str, server: EmbeddedServer, seconds: float, stack: ExitStack
) -> None:
    crowd = Crowd(redis_url, stack)
    crowd.measure(1.5)
    flood = stack.enter_context(
        DriverProcess("short_connections", port=crowd.port, at_once=AT_ONCE, size=SIZE)
    )
    crowd.measure(1.0)
    with frozen(server):
        crowd.measure(seconds / 2)
    crowd.measure(seconds / 4)
    crowd.honest()  # what had to wait for Redis
    crowd.measure(2 * seconds)  # more than one round of reports
    latencies, closed = crowd.honest()
    crowd.tell(flood.ask(), latencies, closed)
    crowd.check(latencies, closed)


@pytest.mark.timeout(120)
def test_devices_that_invent_shapes_of_records_make_no_other_wait(
    redis_url: str, seconds: float, stack: ExitStack
) -> None:
    crowd = Crowd(redis_url, stack)
    crowd.measure(1.5)
    inventors = stack.enter_context(DriverProcess("record_layouts", port=crowd.port, devices=20))
    crowd.honest()
    crowd.measure(seconds / 2)
    latencies, closed = crowd.honest()
    crowd.tell(inventors.ask(), latencies, closed)
    crowd.check(latencies, closed)


@pytest.mark.timeout(120)
def test_frames_that_begin_and_do_not_end_fill_no_memory(
    redis_url: str, seconds: float, stack: ExitStack
) -> None:
    crowd = Crowd(redis_url, stack)
    crowd.measure(1.5)
    begun = stack.enter_context(DriverProcess("unfinished_frames", port=crowd.port, at_once=2000))
    crowd.honest()
    crowd.measure(seconds / 2)
    latencies, closed = crowd.honest()
    crowd.tell(begun.ask(), latencies, closed)
    assert max(crowd.connections) > 2000
    crowd.check(latencies, closed)

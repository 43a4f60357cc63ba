"""What signals do to a gateway, and that nothing holds up its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import pytest

from tests.process.gateway import KEYS, MAIN, Bus, Device, Gateway, clean_environment, until

HARMLESS = ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPIPE")
SOON = 8.0
"""Seconds for an end that has the verdicts of an unreachable Redis to wait for, 5 s at most."""


def test_signals_that_mean_nothing_end_nothing(redis_url: str, bus: Bus) -> None:
    with Gateway(redis_url) as gateway, Device(gateway) as device:
        device.ready()
        bus.ask("before")
        command = device.command()
        for name in HARMLESS:
            gateway.process.send_signal(signal.Signals[name])
        device.answer("here", command.codec)
        assert bus.ended("before")[-1] == "responded answered"
        bus.ask("after")
        assert device.obey() == "after"
        assert bus.holder() == "gw-1"
        gateway.said("signal_ignored", signal="SIGUSR1")
        gateway.terminate()
        assert gateway.exit_status() == 0


def test_an_embedded_server_inherits_no_signal_that_is_ignored(tmp_path: Path) -> None:
    with Gateway("embedded", state_dir=tmp_path) as gateway:
        children = Path(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children").read_text()
        for child in children.split():
            status = Path(f"/proc/{child}/status").read_text().splitlines()
            ignored = int(next(line for line in status if line.startswith("SigIgn")).split()[1], 16)
            assert not ignored & 1 << signal.SIGUSR1 - 1


@pytest.fixture(scope="module")
def silent_resolver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A configuration of a name server that takes questions and never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        try:
            server.bind(("127.9.9.53", 53))
            subprocess.run(["unshare", "--mount", "true"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("a mount name space, or the port of name servers, is not allowed here")
        path = tmp_path_factory.mktemp("dns") / "resolv.conf"
        path.write_text("nameserver 127.9.9.53\noptions timeout:30 attempts:2\n")
        yield path


class Unresolved(Gateway):
    """A gateway whose resolver is silent."""

    before: ClassVar = (
        *("unshare", "--mount", "sh", "-c"),
        'mount --bind "$RESOLV" /etc/resolv.conf && exec "$@"',
        "sh",
    )


@pytest.mark.parametrize("loop", ["fast", "asyncio"])
def test_the_end_waits_for_no_name_to_be_resolved(silent_resolver: Path, loop: str) -> None:
    class Here(Unresolved):
        environment: ClassVar = {"RESOLV": str(silent_resolver)}
        main = Gateway.main if loop == "fast" else f"import sys; sys.modules['uvloop'] = None; {Gateway.main}"

    with Here("redis://redis.example:6379", shutdown_timeout=0.1) as gateway, Device(gateway) as device:
        device.hello()
        begun = time.monotonic()
        gateway.terminate()
        assert gateway.exit_status() == 0
        assert time.monotonic() - begun < SOON
        assert gateway.said_before("stopped")
        assert not gateway.said_before("library")


def test_a_second_signal_ends_it_while_a_name_is_resolved(silent_resolver: Path) -> None:
    class Here(Unresolved):
        environment: ClassVar = {"RESOLV": str(silent_resolver)}

    with Here("redis://redis.example:6379") as gateway:
        gateway.terminate()
        gateway.said("stopping")
        gateway.terminate()
        assert gateway.process.wait(2.0) == 130


def test_a_second_signal_ends_it_while_its_log_is_waited_for(redis_url: str, bus: Bus) -> None:
    """The event loop has ended by then."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    options = ["--redis", redis_url, "--listen", "127.0.0.1:0", "--metrics", "off", "--instance-id", "gw-1"]
    gateway = subprocess.Popen(
        [sys.executable, "-c", MAIN, "run", *options], stderr=writer, env=clean_environment()
    )
    try:
        until(lambda: bus.client.exists(KEYS.heartbeat("gw-1")), "its first heartbeat")
        gateway.terminate()
        until(lambda: not bus.client.exists(KEYS.heartbeat("gw-1")), "the end of its heartbeat")
        gateway.terminate()
        assert gateway.wait(1.5) == 130
    finally:
        gateway.kill()
        gateway.wait()
        os.close(reader)
        os.close(writer)

"""A log that cannot be written: no promise depends on it, nothing waits for it, and what is lost is counted.

Each kind of descriptor stands behind standard error of a gateway at work, and the checker checks the run.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import resource
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.process.gateway import IMEI, Bus, Device, Gateway, until
from tests.rig.fleet import fleet
from tests.rig.ports import free_port

SESSIONS = 150
"""Sessions that come and go; what a gateway logs of them is many times what the pipe of a test holds."""
SOON = 10.0
"""Seconds in which a gateway ends that has nothing to wait for."""


class Unheard(Gateway):
    """A gateway that is not asked where it listens: its log may not tell."""

    def __init__(self, redis: str, instance_id: str = "gw-1", *, ready: bool = True, **options: Any) -> None:
        port = free_port()
        options["listen"] = f"127.0.0.1:{port}"
        self.metrics_port = free_port()
        options["metrics"] = f"127.0.0.1:{self.metrics_port}"
        super().__init__(redis, instance_id, ready=False, **options)
        self.port = port

    def said(self, event: str, **facts: Any) -> dict[str, Any]:
        """`ready` is when devices can connect."""
        if event != "ready":
            return super().said(event, **facts)
        until(self._listens, "a gateway that listens")
        return {"listen": [f"127.0.0.1:{self.port}"]}

    def _listens(self) -> bool:
        assert self.process.poll() is None, self.lines
        with suppress(OSError), socket.create_connection(("127.0.0.1", int(self.port)), 1.0):
            return True
        return False

    def dropped(self) -> float:
        """Lines that the gateway counts as lost."""
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        text = urllib.request.urlopen(url, timeout=5).read().decode()
        [value] = [line for line in text.splitlines() if line.startswith("teltonika_log_lines_dropped_total")]
        return float(value.split()[1])


class Full(Unheard):
    """A disk without space."""

    before = ("sh", "-c", 'exec "$@" 2>/dev/full', "sh")


class Closed(Unheard):
    """Standard error closed before it began."""

    before = ("sh", "-c", 'exec "$@" 2>&-', "sh")


class Unread(Unheard):
    """A pipe that nobody reads."""

    def _read(self) -> None:
        self._narrow()

    def _narrow(self) -> int:
        """Let the pipe hold no more than some lines; its descriptor."""
        assert self.process.stderr is not None
        fcntl.fcntl(self.process.stderr, fcntl.F_SETPIPE_SZ, 4096)
        return self.process.stderr.fileno()


class Broken(Unheard):
    """A pipe whose reader dies when it has read one line."""

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.process.stderr.readline()
        self.process.stderr.close()


class Slow(Unread):
    """A reader that takes a kilobyte a second."""

    def _read(self) -> None:
        descriptor = self._narrow()
        while self.process.poll() is None and os.read(descriptor, 100):
            time.sleep(0.1)


async def come_and_go(port: int) -> None:
    """Many sessions that each leave lines in the log."""
    for number in range(SESSIONS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\0\x0f" + b"%015d" % (10**14 + number))
        await reader.readexactly(1)
        writer.close()


@pytest.mark.parametrize("kind", [Broken, Full, Unread, Slow, Closed])
async def test_a_blocked_log_breaks_no_promise_and_delays_no_stop(
    redis_url: str, kind: type[Unheard]
) -> None:
    async with fleet(redis_url) as run:
        run.process = kind
        gateway = await run.start(log_level="debug")
        run.plug_in(10)
        run.producer.begin(run.imeis, per_second=50)
        await come_and_go(run.ports["gw-1"])
        await run.rest()
        assert await run.verdict() == []
        if kind in (Broken, Full, Closed):
            assert isinstance(gateway, Unheard)
            assert await asyncio.to_thread(gateway.dropped) > SESSIONS
        run.trackers.clear()
        begun = time.monotonic()
        assert await run.stop() == 0
        assert time.monotonic() - begun < SOON


class Limited(Unheard):
    """A log file that can grow only so far: the test says how far."""

    before: ClassVar = ("sh", "-c", 'exec "$@" 2>>"$LOG"', "sh")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The log file of `Limited`."""
    Limited.environment = {"LOG": str(tmp_path / "log")}
    return tmp_path / "log"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The log file of `Limited`, on a file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system is not allowed here")
    Limited.environment = {"LOG": str(disk / "log")}
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def events(log: Path) -> list[dict[str, Any]]:
    """The lines of a log file that are whole."""
    found = []
    for line in log.read_text().splitlines():
        with suppress(ValueError):
            found.append(json.loads(line))
    return found


def told(log: Path) -> int:
    """Lines that the log says were lost."""
    return sum(line["count"] for line in events(log) if line["event"] == "log_lines_dropped")


def test_a_recovered_log_has_one_line_with_the_lost_count(redis_url: str, log: Path, bus: Bus) -> None:
    with Limited(redis_url) as gateway:
        gateway.said("ready")
        size = log.stat().st_size
        resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        with Device(gateway) as device:
            device.ready()
            bus.ask("unheard")
            assert device.obey() == "unheard"
            assert bus.ended("unheard")[-1] == "responded answered"
        until(lambda: gateway.dropped() >= 3, "lines that are lost")
        assert told(log) == 0
        lost = gateway.dropped()
        resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        until(lambda: told(log) == lost, "a line that tells of them, without any other")
        with Device(gateway) as device:
            device.hello()
            until(lambda: [e for e in events(log) if e.get("imei") == IMEI], "the log going on")
        gateway.terminate()
        assert gateway.exit_status() == 0
    assert events(log)[-1]["event"] == "stopped"
    assert told(log) == lost


def test_a_disk_that_is_full_and_has_space_again(redis_url: str, small_disk: Path) -> None:
    with Limited(redis_url) as gateway:
        gateway.said("ready")
        filler = small_disk / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1024))
        asyncio.run(come_and_go(int(gateway.port)))
        assert gateway.dropped() > 0
        filler.unlink()
        until(lambda: told(small_disk / "log") > 0, "a line that tells of what is lost")
        gateway.terminate()
        assert gateway.exit_status() == 0


def test_a_log_that_is_read_is_read_to_its_last_line(redis_url: str) -> None:
    with Gateway(redis_url) as gateway:
        gateway.terminate()
        assert gateway.exit_status() == 0
        assert gateway.said_before("stopped")


def test_a_gateway_without_standard_error_reports_it(redis_url: str) -> None:
    class Said(Closed):
        before = ("sh", "-c", 'exec "$@" 1>&2 2>&-', "sh")

    with Said(redis_url) as gateway:
        until(lambda: gateway.lines, "a sentence on standard output")
        assert "standard error is closed" in gateway.lines.pop()["line"]

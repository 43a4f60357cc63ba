"""The embedded server dies under its gateway: it is started again with its data, or the gateway ends."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.embedded import default_url
from tests.process.gateway import IMEI, KEYS, MAIN, Bus, Device, Gateway, clean_environment, until
from tests.rig.event_loops import LOOPS


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture(params=LOOPS)
def gateway(request: pytest.FixtureRequest, state_dir: Path) -> Iterator[Gateway]:
    with LOOPS[request.param]("embedded", state_dir=state_dir) as gateway:
        yield gateway


def restarts(gateway: Gateway) -> int:
    return sum(line["event"] == "embedded_server_restarted" for line in gateway.lines)


def kill_server(gateway: Gateway, state_dir: Path) -> int:
    """Kill the server, as a kernel without memory does, and wait until there is another; what its id was."""
    pid, before = int((state_dir / "pid").read_text()), restarts(gateway)
    os.kill(pid, signal.SIGKILL)
    until(lambda: restarts(gateway) > before, "a restart")
    until((state_dir / "pid").exists, "another server")
    return pid


def zombies(gateway: Gateway) -> list[str]:
    """The children of a gateway that have ended and that it has not let go of."""
    command = ["ps", "--no-headers", "-o", "stat", "--ppid", str(gateway.process.pid)]
    found = subprocess.run(command, capture_output=True, text=True)
    return [state for state in found.stdout.split() if state.startswith("Z")]


def test_a_killed_server_restarts_and_devices_stay_connected(gateway: Gateway, state_dir: Path) -> None:
    with Device(gateway) as device:
        device.ready()
        url = default_url(state_dir)
        with Bus(url) as bus:
            bus.ask("before")
            device.obey()
            bus.ended("before")
        pid = kill_server(gateway, state_dir)
        device.report()
        assert gateway.said("embedded_server_died")["how"] == "killed by SIGKILL"
        assert gateway.said("embedded_server_restarted")["pid"] != pid
        assert default_url(state_dir) == url
        assert zombies(gateway) == []
        with Bus(url) as bus:
            assert bus.client.xlen(KEYS.telemetry) == 2
            assert bus.life("before")[-1] == "responded answered"
            until(lambda: bus.holder() == "gw-1", "the registration")
            bus.ask("after")
            assert device.obey() == "after"
            assert bus.ended("after")[-1] == "responded answered"
    gateway.terminate()
    assert gateway.exit_status() == 0


def test_a_server_that_keeps_failing_ends_the_gateway_in_order(gateway: Gateway, state_dir: Path) -> None:
    with Device(gateway) as device:
        device.ready()
        for _ in range(3):
            kill_server(gateway, state_dir)
            until(
                lambda: (state_dir / "pid").exists() and gateway.lines[-1]["event"] != "embedded_server_died"
            )
            device.report()
        os.kill(int((state_dir / "pid").read_text()), signal.SIGKILL)
        assert gateway.exit_status() == 1
        assert device.rest() == b""
    gateway.kill()
    assert gateway.said_before("embedded_server_failed")
    assert gateway.lines[-1]["event"] == "stopped"


def test_a_sharing_gateway_takes_over_the_server(state_dir: Path) -> None:
    with (
        Gateway("embedded", "gw-1", state_dir=state_dir) as first,
        Gateway("embedded", "gw-2", state_dir=state_dir) as second,
        Device(second) as device,
    ):
        device.ready()
        first.terminate()
        assert first.exit_status() == 0
        assert second.said("embedded_server_restarted")["owned"]
        device.report()


def test_sharing_gateways_follow_a_restarted_server(state_dir: Path) -> None:
    with (
        Gateway("embedded", "gw-1", state_dir=state_dir) as first,
        Gateway("embedded", "gw-2", state_dir=state_dir) as second,
        Device(second) as device,
    ):
        device.ready()
        for times in (1, 2):
            kill_server(first, state_dir)
            until(lambda times=times: restarts(second) == times, "the next one is found")  # type: ignore[misc]
            device.report()
        assert sum(line["event"] == "embedded_server_died" for line in second.lines) == 2
        for gateway in (second, first):
            gateway.terminate()
            assert gateway.exit_status() == 0


def test_other_verbs_find_the_server_and_no_other_user_can(state_dir: Path, gateway: Gateway) -> None:
    def telgw(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", MAIN, *words, "--state-dir", str(state_dir)]
        return subprocess.run(command, capture_output=True, text=True, env=clean_environment(), timeout=30)

    with Device(gateway) as device:
        device.ready()
        sent = telgw("send", IMEI, "getinfo", "--no-wait")
        assert (sent.returncode, sent.stderr) == (0, "")
        device.obey()
    assert "gw-1" in telgw("check").stdout
    (state_dir / "server.sock").chmod(0o777)
    state_dir.chmod(0o777)
    refused = telgw("send", IMEI, "getinfo")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "is not used" in refused.stderr


def test_the_port_is_logged_and_the_password_is_not(state_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with Gateway("embedded", state_dir=state_dir, embedded_port=port, log_level="debug") as gateway:
        assert gateway.said("embedded_server")["port"] == port
        password = (state_dir / "password").read_text().strip()
        with Bus(f"redis://:{password}@127.0.0.1:{port}/0") as bus:
            assert bus.client.exists(KEYS.heartbeat("gw-1"))
        gateway.terminate()
        gateway.exit_status()
        gateway.kill()
        assert password not in str(gateway.lines)


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> (number - 1) & 1)


def test_a_signal_ends_a_gateway_waiting_for_its_server(state_dir: Path) -> None:
    state_dir.mkdir(mode=0o700)
    with (state_dir / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with Gateway("embedded", state_dir=state_dir, ready=False) as gateway:
            until(lambda: catches(gateway.process.pid, signal.SIGTERM), "its handlers")
            gateway.terminate()
            assert gateway.exit_status() == 0

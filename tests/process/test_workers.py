"""Several workers on one port, as processes: devices, kills, signals, pages."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.error import HTTPError

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.process.gateway import IMEI, KEYS, MAIN, Bus, Device, Gateway, clean_environment, until
from tests.rig.ports import free_port

WORKERS = 2
IMPATIENT = (
    "from transport.daemon import worker_pages as pages, worker_watch as watch;"
    "watch.ASKED_EVERY, watch.UNANSWERED, watch.UNANSWERED_AT_START, pages.TIMEOUT = 0.1, 3, 1000, 1.0;"
)
"""Lets a supervisor notice within seconds that a worker hangs."""
FLEET = [str(int(IMEI) + number) for number in range(16)]
"""Enough devices for each worker to get one, whatever the kernel's choice: else one test in 32,768 fails."""


@contextmanager
def several(url: str, **options: object) -> Iterator[Gateway]:
    """A supervisor and its workers, which listen."""
    with Gateway(url, "gw", ready=False, workers=WORKERS, **options) as gateway:
        for number in range(1, WORKERS + 1):
            line = gateway.said("ready", worker=number)
        gateway.port = int(line["listen"][0].rpartition(":")[2])
        yield gateway
        kill_rest(gateway)


def pids(gateway: Gateway) -> dict[int, int]:
    """The process of each worker, the newest."""
    return {line["worker"]: line["pid"] for line in gateway.lines if line["event"] == "worker_started"}


def kill_rest(gateway: Gateway) -> None:
    """No worker may outlive a test, whatever the test has found."""
    for pid in pids(gateway).values():
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def fleet(gateway_url: str) -> Iterator[Callable[[Gateway], list[Device]]]:
    with ExitStack() as stack:
        yield lambda gateway: [stack.enter_context(Device(gateway, imei)).ready() for imei in FLEET]


def holders(bus: Bus) -> set[str]:
    return set(bus.client.hgetall(KEYS.registry).values())


def test_workers_share_the_devices_and_each_serves_its_own(
    gateway_url: str, bus: Bus, fleet: Callable[[Gateway], list[Device]]
) -> None:
    with several(gateway_url) as gateway:
        devices = fleet(gateway)
        until(lambda: bus.client.hlen(KEYS.registry) == len(FLEET))
        assert holders(bus) == {"gw-1", "gw-2"}
        for device in devices:
            bus.ask(f"to-{device.imei}", device.imei, bus.holder(device.imei) or "")
            assert device.obey() == f"to-{device.imei}"
            assert bus.ended(f"to-{device.imei}")[-1] == "responded answered"
        gateway.terminate()
        assert gateway.exit_status() == 0
    assert holders(bus) == set()
    assert bus.client.xlen(KEYS.telemetry) == len(FLEET)


def test_a_killed_worker_is_started_again_and_the_others_go_on(
    gateway_url: str, bus: Bus, fleet: Callable[[Gateway], list[Device]]
) -> None:
    with several(gateway_url) as gateway:
        devices = fleet(gateway)
        until(lambda: bus.client.hlen(KEYS.registry) == len(FLEET))
        kept = next(device for device in devices if bus.holder(device.imei) == "gw-2")
        lost = next(device for device in devices if bus.holder(device.imei) == "gw-1")
        bus.ask("in-flight", lost.imei, "gw-1")
        lost.command()
        os.kill(pids(gateway)[1], signal.SIGKILL)
        assert lost.rest() == b""
        gateway.said("worker_ended", worker=1, exit_status=-9, started_again=True)
        kept.report()
        with Device(gateway, lost.imei) as back:
            back.ready()
            assert bus.ended("in-flight")[-1] == "failed gateway_restart maybe_sent"
            until(lambda: bus.holder(lost.imei) in ("gw-1", "gw-2"))
            bus.ask("again", lost.imei, bus.holder(lost.imei) or "")
            assert back.obey() == "again"
        gateway.terminate()
        assert gateway.exit_status() == 0


def test_a_worker_that_hangs_is_killed_and_started_again(
    gateway_url: str, bus: Bus, fleet: Callable[[Gateway], list[Device]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Gateway, "main", IMPATIENT + MAIN)
    with several(gateway_url) as gateway:
        devices = fleet(gateway)
        until(lambda: bus.client.hlen(KEYS.registry) == len(FLEET))
        kept = next(device for device in devices if bus.holder(device.imei) == "gw-2")
        lost = next(device for device in devices if bus.holder(device.imei) == "gw-1")
        before = pids(gateway)
        os.kill(before[1], signal.SIGSTOP)
        gateway.said("worker_hangs", worker=1)
        gateway.said("worker_ended", worker=1, exit_status=-9, started_again=True)
        assert lost.rest() == b""
        gateway.said("worker_started", worker=1, instance_id="gw-1")
        kept.report()
        with Device(gateway, lost.imei) as back:
            back.ready()
        assert pids(gateway)[2] == before[2]
        gateway.terminate()
        assert gateway.exit_status() == 0


def test_workers_stop_in_order_when_their_supervisor_is_killed(gateway_url: str, bus: Bus) -> None:
    with several(gateway_url) as gateway, Device(gateway) as device:
        device.ready()
        until(bus.holder)
        gateway.process.kill()
        assert device.rest() == b""
        until(lambda: not any(map(alive, pids(gateway).values())))
        assert bus.holder() is None
        assert not bus.client.keys(KEYS.heartbeat("*"))


def test_a_second_signal_ends_all_workers_at_once(gateway_url: str, bus: Bus) -> None:
    with several(gateway_url) as gateway, Device(gateway) as device:
        device.ready()
        bus.ask("unanswered", to=until(bus.holder))
        device.command()
        gateway.terminate()
        for number in range(1, WORKERS + 1):
            gateway.said("stopping", worker=number)
        gateway.terminate()
        assert gateway.exit_status() == 130
        assert gateway.said_before("ended")
        until(lambda: not any(map(alive, pids(gateway).values())))


def test_all_workers_end_when_one_is_displaced(gateway_url: str) -> None:
    with (
        several(gateway_url, heartbeat_interval=0.3) as gateway,
        Gateway(gateway_url, "gw-2", take_over=True),
    ):
        assert gateway.exit_status() == 3
        assert gateway.said_before("fenced")
        assert not any(map(alive, pids(gateway).values()))


def test_one_page_of_metrics_speaks_for_all_workers(
    gateway_url: str, fleet: Callable[[Gateway], list[Device]]
) -> None:
    port = free_port()
    with several(gateway_url, metrics=f"127.0.0.1:{port}") as gateway:
        fleet(gateway)
        families = {f.name: f for f in text_string_to_metric_families(page(port, "metrics")[1])}
        records = families["teltonika_records"].samples
        assert {sample.labels["worker"] for sample in records} == {"1", "2"}
        assert sum(sample.value for sample in records) == len(FLEET)
        assert [sample.value for sample in families["teltonika_worker_up"].samples] == [1, 1]
        for name in ("process_open_fds", "teltonika_build_info", "teltonika_redis_up"):
            assert [sample.labels["worker"] for sample in families[name].samples] == ["1", "2"]
        assert page(port, "readyz") == (200, "ready\n")
        os.kill(pids(gateway)[2], signal.SIGSTOP)
        try:
            assert page(port, "healthz") == (503, "Worker 2 does not answer.\n")
            assert page(port, "readyz") == (200, "ready\n")
        finally:
            os.kill(pids(gateway)[2], signal.SIGCONT)
        assert page(port, "healthz") == (200, "ok\n")


def page(port: int, name: str) -> tuple[int, str]:
    """Status and body of a page."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{name}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_workers_share_an_embedded_server(tmp_path: Path) -> None:
    with several("embedded", state_dir=tmp_path) as gateway:
        with Device(gateway) as device:
            device.ready()
        gateway.terminate()
        assert gateway.exit_status() == 0
        assert not alive(next(line["pid"] for line in gateway.lines if line["event"] == "embedded_server"))


def test_no_worker_shows_the_address_of_redis_on_its_command_line(gateway_url: str) -> None:
    with several(gateway_url) as gateway:
        for pid in pids(gateway).values():
            assert b"redis" not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_workers_do_not_share_a_port_with_another_process(gateway_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        words = ("--workers", "2", "--listen", address, "--redis", gateway_url, "--metrics", "off")
        ended = subprocess.run(
            [sys.executable, "-c", MAIN, "run", *words],
            capture_output=True,
            env=clean_environment(),
            timeout=30,
            check=False,
        )
    assert ended.returncode == 2
    assert f"Cannot listen on {address}".encode() in ended.stderr

"""What a gateway tells systemd, which is a socket here."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.gateway import MAIN, TIME_LIMIT, Device, Gateway
from tests.rig.ports import free_port

WATCHDOG = {"WATCHDOG_USEC": "200000"}


class Systemd:
    """Receives the messages of the service."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.settimeout(TIME_LIMIT)

    def hears(self, line: str) -> str:
        """Wait for a message with this line; the message."""
        while True:
            message = self._socket.recv(4096).decode()
            if any(re.fullmatch(line, one) for one in message.split("\n")):
                return message

    def is_left_alone(self) -> bool:
        """Whether no message comes in several times the interval of the watchdog."""
        self._socket.settimeout(1.0)
        try:
            return not self._socket.recv(4096)
        except TimeoutError:
            return True

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    manager = Systemd(tmp_path / "notify")
    yield manager
    manager.close()


@pytest.fixture
def service(systemd: Systemd) -> type[Gateway]:
    """A gateway that systemd has started."""

    class Service(Gateway):
        environment = {"NOTIFY_SOCKET": systemd.address, **WATCHDOG}  # noqa: RUF012

    return Service


def test_the_life_of_a_service(
    systemd: Systemd, service: type[Gateway], redis_url: str, tmp_path: Path
) -> None:
    listed = tmp_path / "devices"
    listed.write_text("")
    with service(redis_url, allow_list=listed) as gateway:
        systemd.hears("READY=1")
        systemd.hears(r"STATUS=Devices: 0\. Commands in progress: 0\.")
        gateway.process.send_signal(signal.SIGHUP)
        assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", systemd.hears("RELOADING=1"))
        systemd.hears("READY=1")
        gateway.said("reloaded")
        gateway.terminate()
        systemd.hears("STOPPING=1")
        assert gateway.exit_status() == 0


def test_the_watchdog_hears_nothing_while_the_loop_that_serves_devices_hangs(
    systemd: Systemd, service: type[Gateway], redis_url: str
) -> None:
    service.main = (
        "import time; from transport.daemon.files import Files; Files.reload = lambda *_: time.sleep(60); "
        + MAIN
    )
    with service(redis_url) as gateway:
        systemd.hears("READY=1")
        for _ in range(3):
            systemd.hears("WATCHDOG=1")
        gateway.process.send_signal(signal.SIGHUP)
        systemd.hears("RELOADING=1")
        assert systemd.is_left_alone()


def test_a_service_of_several_workers_is_ready_when_one_of_them_listens(
    systemd: Systemd, service: type[Gateway], redis_url: str
) -> None:
    port = free_port()
    with service(redis_url, ready=False, workers=2, listen=f"127.0.0.1:{port}") as gateway:
        systemd.hears("READY=1")
        gateway.port = port
        with Device(gateway) as device:
            device.hello()
        systemd.hears(r"STATUS=Workers: 2 of 2 run\.")
        gateway.terminate()
        systemd.hears("STOPPING=1")
        assert gateway.exit_status() == 0

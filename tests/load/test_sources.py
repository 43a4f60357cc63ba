"""Few addresses connect, negotiate, invent names and guess without end; and a storm that is no attack."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import trustme

from tests.load.daemon import Daemon
from tests.load.driver_process import DriverProcess
from tests.load.strangers import MUTE, NAMED, PROVEN
from tests.load.test_memory import percentile
from tests.process.gateway import until
from tests.rig.certificates import write_pair
from tests.rig.ports import free_port

FLEET = 500
FEW, MANY = ["127.0.0.31"], [f"127.0.0.{number}" for number in range(31, 47)]
SECONDS = 6.0
BUDGETS = {"connection_rate": 10, "handshake_rate": 2, "new_device_rate": 1}
"""A tenth of what an address has by default: an attack of seconds finds its end."""
TIME_LIMIT = 1000.0
"""Milliseconds within which 99 of 100 honest reports are acknowledged, on a machine that has other work."""


class Watched:
    """A gateway, and an honest fleet of it."""

    def __init__(self, redis_url: str, stack: ExitStack, **options: Any) -> None:
        self._metrics = free_port()
        self.gateway = stack.enter_context(Daemon(redis_url, metrics=f"127.0.0.1:{self._metrics}", **options))
        self._fleet = stack.enter_context(
            DriverProcess("steady_devices", port=int(self.gateway.port), devices=FLEET)
        )
        until(lambda: self.metric("sessions") == FLEET, "the fleet is connected")
        self.before = self.measure()

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        with urlopen(f"http://127.0.0.1:{self._metrics}/metrics", timeout=30) as page:
            lines = [line.decode() for line in page if line.startswith(f"teltonika_{name}".encode())]
        return sum(float(line.split()[-1]) for line in lines)

    def measure(self) -> tuple[float, float, int]:
        """Half, 99 of 100 (ms), and the number of connections of the fleet that were closed."""
        self._fleet.ask()
        time.sleep(SECONDS)
        told = self._fleet.ask()
        latencies = told["latencies"]
        assert len(latencies) > FLEET
        return percentile(latencies, 0.5), percentile(latencies, 0.99), told.get("closed", 0)

    def check(self, name: str, strangers: DriverProcess) -> None:
        """The fleet does not notice."""
        half, most, closed = self.measure()
        print(f"{name}: {strangers.ask()}; {self.metric('over_budget_total'):.0f} over a budget;", end=" ")
        print(
            "before {:.0f} and {:.0f} ms,".format(*self.before[:2]), f"meanwhile {half:.0f} and {most:.0f} ms"
        )
        assert closed == 0
        assert most < max(TIME_LIMIT, 3 * self.before[1])


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The options of a listener with TLS."""
    folder = tmp_path_factory.mktemp("tls")
    files = {"tls_cert": folder / "cert.pem", "tls_key": folder / "key.pem"}
    write_pair(trustme.CA(), *files.values())
    return files


@pytest.mark.timeout(120)
@pytest.mark.parametrize("far", [MUTE, NAMED, PROVEN])
@pytest.mark.parametrize("sources", [FEW, MANY], ids=["one address", "sixteen addresses"])
def test_strangers_that_come_again_and_again_delay_no_device(
    redis_url: str, stack: ExitStack, far: str, sources: list[str]
) -> None:
    watched = Watched(redis_url, stack, **BUDGETS)
    attack = {"at_once": 60, "far": far, "stay": False, "sources": sources}
    strangers = stack.enter_context(
        DriverProcess("strangers", nice=10, port=int(watched.gateway.port), **attack)
    )
    watched.check(f"{far} from {len(sources)}", strangers)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("sources", [FEW, MANY], ids=["one address", "sixteen addresses"])
def test_handshakes_of_tls_delay_no_device(
    redis_url: str, stack: ExitStack, tls: dict[str, Path], sources: list[str]
) -> None:
    watched = Watched(redis_url, stack, tls_listen="127.0.0.1:0", **tls, **BUDGETS)
    port = watched.gateway.said("ready")["tls"][0].rpartition(":")[2]
    attack = {"at_once": 60, "far": MUTE, "stay": False, "sources": sources, "secure": True}
    strangers = stack.enter_context(DriverProcess("strangers", nice=10, port=int(port), **attack))
    watched.check(f"TLS from {len(sources)}", strangers)


@pytest.mark.timeout(120)
def test_who_tries_many_names_does_not_learn_who_is_on_the_list(
    redis_url: str, stack: ExitStack, tmp_path: Path
) -> None:
    listed = tmp_path / "devices.txt"
    listed.write_text("".join(f"3577{number:011d}\n" for number in range(FLEET)))
    watched = Watched(redis_url, stack, allow_list=listed)
    attack = {"at_once": 60, "far": NAMED, "stay": False, "sources": FEW}
    strangers = stack.enter_context(
        DriverProcess("strangers", nice=10, port=int(watched.gateway.port), **attack)
    )
    watched.check("names", strangers)
    assert watched.metric("devices_refused_total") < 400


@pytest.mark.timeout(120)
def test_devices_that_send_without_end_delay_no_device(redis_url: str, stack: ExitStack) -> None:
    """Twenty devices, ever new shapes of records, and a small part of the rate of bytes."""
    rate = 4096
    watched = Watched(redis_url, stack, device_rate=rate)
    strangers = stack.enter_context(
        DriverProcess("record_layouts", nice=10, port=int(watched.gateway.port), devices=20)
    )
    until(lambda: watched.metric("devices_slowed_total") > 20, "all of them are read later", within=60)
    strangers.ask()
    watched.check("bytes", strangers)


@pytest.mark.timeout(120)
def test_a_storm_of_reconnects_from_one_address_is_no_attack(redis_url: str, stack: ExitStack) -> None:
    """The address has a fifth of what it has by default, and as many connections as a fleet of 5,000."""
    gateway = stack.enter_context(Daemon(redis_url, connection_rate=20))
    attack = {"at_once": 400, "far": PROVEN, "stay": False, "sources": FEW, "own": True}
    fleet = stack.enter_context(DriverProcess("strangers", port=int(gateway.port), **attack))
    until(lambda: fleet.ask().get("proven", 0) > 5000, "thousands of connections have reported", within=60)
    assert fleet.ask().get("closed", 0) == 0
    assert not gateway.said_before("over_budget")

"""Devices behind HAProxy, which says in PROXY headers of both versions where they come from."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.process.gateway import KEYS, TIME_LIMIT, Bus, Device, Gateway, until
from tests.rig.event_loops import LOOPS
from tests.rig.ports import free_port
from transport.settings import as_text

pytestmark = pytest.mark.skipif(shutil.which("haproxy") is None, reason="HAProxy is not installed")

CONFIGURATION = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
{frontends}
"""
FRONTEND = """
listen {name}
    bind {bind}
    server gateway 127.0.0.1:{port} {options} check inter 50ms
"""
HOW = {
    "v1": "send-proxy",
    "v2": "send-proxy-v2",
    "v2 with TLVs": "send-proxy-v2 proxy-v2-options crc32c,unique-id",
}


@contextmanager
def haproxy(folder: Path, *frontends: tuple[str, int, str]) -> Iterator[list[tuple[str, int]]]:
    """HAProxy in front of gateways, given as (bind host, port of the gateway, options); where it listens."""
    addresses = [(host, free_port(host)) for host, _, _ in frontends]
    text = "".join(
        FRONTEND.format(
            name=f"f{number}",
            bind=f"[{host}]:{own}" if ":" in host else f"{host}:{own}",
            port=port,
            options=options,
        )
        for number, ((host, own), (_, port, options)) in enumerate(zip(addresses, frontends, strict=True))
    )
    file = folder / "haproxy.cfg"
    file.write_text(CONFIGURATION.format(frontends=text))
    process = subprocess.Popen(["haproxy", "-db", "-q", "-f", str(file)])
    try:
        yield addresses
    finally:
        process.terminate()
        process.wait(TIME_LIMIT)


def behind(gateway: Gateway, address: tuple[str, int], source: str, imei: str) -> Device:
    """A device that connects to HAProxy from `source`, as soon as that listens."""

    def attempt() -> socket.socket | None:
        try:
            return socket.create_connection(address, TIME_LIMIT, source_address=(source, 0))
        except ConnectionRefusedError:
            return None

    return Device(gateway, imei, until(attempt, "HAProxy"))


@pytest.fixture
def metrics() -> str:
    """Where the gateway serves its metrics."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(params=list(LOOPS))
def gateway(request: pytest.FixtureRequest, gateway_url: str, stack: ExitStack, metrics: str) -> Gateway:
    """A gateway on each event loop that listens for proxies alone."""
    proxies = {"listen": "off", "proxy_listen": "127.0.0.1:0", "proxy_trust": "127.0.0.1"}
    more = {"metrics": metrics, "log_level": "debug"}
    found: Gateway = stack.enter_context(LOOPS[request.param](gateway_url, ready=False, **proxies, **more))
    found.port = found.said("ready")["proxy"][0].rpartition(":")[2]
    return found


def sessions(bus: Bus) -> dict[str, str]:
    """The address of each device that has named itself."""
    return {event["imei"]: event["peer"] for event in bus.log("session") if event["state"] == "identified"}


def logged(gateway: Gateway) -> dict[str, str]:
    """The address of each device whose session the log says is open; the log is written by another thread."""
    return {line["imei"]: line["peer"] for line in gateway.lines if line["event"] == "session_opened"}


def test_sessions_behind_haproxy_have_the_device_addresses(
    gateway: Gateway, bus: Bus, stack: ExitStack, tmp_path: Path
) -> None:
    port = int(gateway.port)
    fronts = [("127.0.0.1", port, options) for options in HOW.values()] + [("::1", port, "send-proxy-v2")]
    addresses = stack.enter_context(haproxy(tmp_path, *fronts))
    peers = {}
    for number, address in enumerate(addresses):
        source = "::1" if ":" in address[0] else f"127.0.0.{number + 2}"
        device = stack.enter_context(behind(gateway, address, source, f"{number + 1:015}"))
        host, own = device.socket.getsockname()[:2]
        peers[device.imei] = as_text((host, own))
        device.ready()
        bus.ask(f"c-{number}", device.imei)
        assert device.obey() == f"c-{number}"
        assert bus.ended(f"c-{number}")[-1] == "responded answered"
    assert sessions(bus) == peers
    until(lambda: logged(gateway) == peers, "the log names each device with its address")
    assert bus.client.xlen(KEYS.telemetry) == len(peers)


def test_the_checks_of_haproxy_write_no_line(
    gateway: Gateway, metrics: str, stack: ExitStack, tmp_path: Path
) -> None:
    fronts = [("127.0.0.1", int(gateway.port), options) for options in HOW.values()]
    gateway.said("check")
    before = len(gateway.lines)
    stack.enter_context(haproxy(tmp_path, *fronts))
    until(lambda: accepted(metrics) >= 5 * len(fronts), "so many checks")
    assert gateway.lines[before:] == []


def accepted(metrics: str) -> float:
    """How many connections the gateway has accepted, by its metrics."""
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=TIME_LIMIT) as page:
        lines = page.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("teltonika_connections_total "))


def test_tls_passes_through_haproxy(
    gateway_url: str,
    bus: Bus,
    stack: ExitStack,
    tmp_path: Path,
    tls: tuple[dict[str, object], ssl.SSLContext],
) -> None:
    options, context = tls
    own = {"tls_cert": options["tls_cert"], "tls_key": options["tls_key"]}
    listen = {"listen": "off", "tls_proxy_listen": "127.0.0.1:0", "proxy_trust": "127.0.0.0/8"}
    gateway = stack.enter_context(Gateway(gateway_url, ready=False, **listen, **own))
    port = int(gateway.said("ready")["tls_proxy"][0].rpartition(":")[2])
    [address] = stack.enter_context(haproxy(tmp_path, ("127.0.0.1", port, "send-proxy-v2")))
    device = stack.enter_context(behind(gateway, address, "127.0.0.5", "352093081452251"))
    host, source_port = device.socket.getsockname()
    device.socket = context.wrap_socket(device.socket, server_hostname="127.0.0.1")
    device.ready()
    assert sessions(bus) == {device.imei: f"{host}:{source_port}"}

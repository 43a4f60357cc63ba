"""A device that closes its side and still reads, as ``echo HEX | nc`` does."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.process.gateway import IMEI, KEYS, TELEMETRY, Bus, Device, Gateway, until
from tests.rig.event_loops import LOOPS
from transport.teltonika.handshake import encode_handshake

ACK = b"\0\0\0\x01"


@pytest.fixture(params=list(LOOPS))
def gateway(request: pytest.FixtureRequest, gateway_url: str, stack: ExitStack) -> Gateway:
    """A gateway on each event loop."""
    proxies = {"proxy_listen": "127.0.0.1:0", "proxy_trust": "127.0.0.1"}
    times = {"command_ttl": "3s", "reconnect_grace": "1s"}
    return stack.enter_context(LOOPS[request.param](gateway_url, **proxies, **times))


@pytest.mark.parametrize("header", [b"", b"PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n"], ids=["plain", "proxy"])
@pytest.mark.parametrize("frames", [0, 1, 5])
def test_a_half_closed_device_gets_its_acknowledgements(
    gateway: Gateway, bus: Bus, frames: int, header: bytes
) -> None:
    [address] = gateway.said("ready")["proxy" if header else "listen"]
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), 5) as device:
        device.sendall(header + encode_handshake(IMEI) + TELEMETRY * frames)
        device.shutdown(socket.SHUT_WR)
        said = b""
        while piece := device.recv(4096):
            said += piece
    assert said == b"\x01" + ACK * frames
    assert bus.client.xlen(KEYS.telemetry) == frames
    until(lambda: bus.holder() is None, "no entry in the registry")
    closed = until(lambda: [e for e in bus.log("session") if e["state"] == "closed"], "the session's end")
    assert [e["reason"] for e in closed] == ["device_closed"]


def test_a_half_closed_device_gets_no_command(
    gateway: Gateway, bus: Bus, plug_in: Callable[..., Device]
) -> None:
    device = plug_in(gateway).ready()
    bus.ask("out", response_timeout="20")
    device.command()
    bus.ask("waits")
    bus.reached("waits", "queued")
    device.socket.shutdown(socket.SHUT_WR)
    assert bus.ended("out")[-1].startswith("failed connection_lost ")
    assert bus.ended("waits") == ["queued not_sent", "failed device_not_connected not_sent"]
    assert device.rest() == b""


def test_what_waits_follows_the_device_to_its_next_connection(
    gateway: Gateway, bus: Bus, plug_in: Callable[..., Device]
) -> None:
    device = plug_in(gateway).hello()
    bus.ask("waits")
    bus.reached("waits", "queued")
    device.send(TELEMETRY)
    device.socket.shutdown(socket.SHUT_WR)
    back = plug_in(gateway).ready()
    assert back.obey() == "waits"
    assert device.rest() == ACK
    assert bus.ended("waits")[-1] == "responded answered"


def test_acknowledgements_to_a_half_closed_device_wait_for_redis(
    gateway: Gateway, bus: Bus, plug_in: Callable[..., Device]
) -> None:
    device = plug_in(gateway).ready()
    bus.client.execute_command("CLIENT", "PAUSE", 1000, "WRITE")
    begun = time.monotonic()
    device.send(TELEMETRY)
    device.socket.shutdown(socket.SHUT_WR)
    assert device.rest() == ACK
    assert time.monotonic() - begun > 0.5

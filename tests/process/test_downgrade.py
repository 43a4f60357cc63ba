"""Devices with TLS in a fleet that also listens without: nobody takes their place on a plain connection."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

from tests.process.gateway import IMEI, TIME_LIMIT, Bus, Device, Gateway, until
from transport.teltonika.handshake import encode_handshake

Start = Callable[..., Gateway]
PlugIn = Callable[..., Device]


def with_tls(gateway: Gateway, context: ssl.SSLContext, plug_in: PlugIn) -> Device:
    """A device at the listener with TLS."""
    _, _, gateway.port = gateway.said("ready")["tls"][0].rpartition(":")
    device = plug_in(gateway)
    device.socket = context.wrap_socket(device.socket, server_hostname="127.0.0.1")
    return device


def refused(gateway: Gateway) -> None:
    """Plain connections for the device are closed, and answered `00` if the registry answers in time."""
    until(lambda: answer(gateway) == b"\0", "the answer 00")


def answer(gateway: Gateway) -> bytes:
    """The byte that answers the handshake of a plain connection, which is closed after it."""
    with socket.create_connection(("127.0.0.1", int(gateway.port)), TIME_LIMIT) as sock:
        sock.sendall(encode_handshake(IMEI))
        byte = sock.recv(1)
        assert sock.recv(1) == b""
    return byte


def test_a_plain_device_is_refused_while_a_tls_one_is_connected(
    start: Start, plug_in: PlugIn, bus: Bus, tls: tuple[dict[str, object], ssl.SSLContext]
) -> None:
    options, context = tls
    one = start("gw-1", ready=False, listen="off", **options)
    device = with_tls(one, context, plug_in).ready()
    until(lambda: bus.holder() == "gw-1", "the registry")
    other = start("gw-2")
    refused(other)
    assert other.said("plain_refused")["held_by"] == "gw-1"
    bus.ask("a")
    assert device.obey() == "a"
    assert bus.ended("a")[-1] == "responded answered"
    assert {e["reason"] for e in bus.log("session") if e["state"] == "closed"} == {"rejected"}

    device.socket.close()
    until(lambda: bus.holder() is None, "the end in the registry")
    plug_in(other).ready()
    assert bus.holder() == "gw-2"
    back = with_tls(one, context, plug_in).ready()
    until(lambda: bus.holder() == "gw-1", "the device with TLS")
    bus.ask("b")
    assert back.obey() == "b"


def test_a_plain_device_is_accepted_after_the_tls_gateway_died(
    start: Start, plug_in: PlugIn, bus: Bus, tls: tuple[dict[str, object], ssl.SSLContext]
) -> None:
    options, context = tls
    one = start("gw-1", ready=False, heartbeat_interval="0.3", heartbeat_ttl="1", listen="off", **options)
    with_tls(one, context, plug_in).ready()
    until(lambda: bus.holder() == "gw-1", "the registry")
    other = start("gw-2")
    refused(other)
    one.kill()
    until(lambda: not bus.client.exists("instance:heartbeat:gw-1"), "the end of the heartbeat")
    plug_in(other).ready()
    assert bus.holder() == "gw-2"

"""Who may connect: networks of a listener, the allow-list in Redis, and certificates, over real sockets."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme
from cryptography.x509 import DNSName

from tests.process.gateway import (
    IMEI,
    KEYS,
    MAIN,
    TIME_LIMIT,
    Bus,
    Device,
    Gateway,
    clean_environment,
    until,
)
from tests.rig.certificates import device_certificate, write_pair
from transport.teltonika.handshake import encode_handshake

OTHER_IMEI = "352093081452252"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def device(stack: ExitStack, gateway: Gateway, imei: str = IMEI, host: str = "127.0.0.1") -> Device:
    """A device at `host` connects."""
    address = ("127.0.0.1", int(gateway.port))
    sock = socket.create_connection(address, TIME_LIMIT, source_address=(host, 0))
    return stack.enter_context(Device(gateway, imei, sock))


def refused(peer: Device) -> bytes:
    """What a device that says its IMEI reads until the gateway closes."""
    peer.send(encode_handshake(peer.imei))
    return peer.rest()


def test_a_device_connects_from_the_networks_of_the_listener(redis_url: str, stack: ExitStack) -> None:
    gateway = stack.enter_context(Gateway(redis_url, allow_from="127.0.0.4/30,::1"))
    elsewhere = device(stack, gateway)
    assert elsewhere.rest() == b""
    assert gateway.said("source_refused")["address"] == "127.0.0.1"
    device(stack, gateway, host="127.0.0.5").ready().report()


def test_the_list_in_redis_says_who_comes_in_and_who_stays(
    redis_url: str, bus: Bus, stack: ExitStack
) -> None:
    bus.client.hset(KEYS.terms, IMEI, "127.0.0.4/30")
    bus.client.sadd(KEYS.allowed, IMEI, OTHER_IMEI)
    gateway = stack.enter_context(Gateway(redis_url, allow_list="redis", heartbeat_interval=0.2))
    assert refused(device(stack, gateway)) == b"\0"
    assert gateway.said("device_refused")["reason"] == "address"
    bound = device(stack, gateway, host="127.0.0.5").ready()
    removed = device(stack, gateway, OTHER_IMEI).ready()
    bus.client.srem(KEYS.allowed, OTHER_IMEI)
    assert removed.rest() == b""
    assert gateway.said("session_closed", imei=OTHER_IMEI)["reason"] == "device_refused"
    bound.report()
    bus.client.hset(KEYS.terms, IMEI, "192.0.2.0/24")
    assert bound.rest() == b""
    assert gateway.said("session_closed", imei=IMEI)["reason"] == "device_refused"
    bus.client.hdel(KEYS.terms, IMEI)
    device(stack, gateway).ready().report()


# A first start


def findings(redis_url: str) -> dict[str, tuple[str, str]]:
    """What `telgw check` finds, by its subject."""
    command = [sys.executable, "-c", MAIN, "check", "--json", "--redis", redis_url]
    ended = subprocess.run(command, capture_output=True, env=clean_environment(), timeout=TIME_LIMIT)
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    return {line["subject"]: (line["level"], line["found"]) for line in lines}


def test_a_gateway_that_is_open_to_all_says_so_and_check_finds_it(redis_url: str, stack: ExitStack) -> None:
    gateway = stack.enter_context(Gateway(redis_url, listen="0.0.0.0:0"))
    told = gateway.said("open_to_all")
    assert (told["level"], told["listeners"]) == ("warning", f"0.0.0.0:{gateway.port}")
    events = [line["event"] for line in gateway.lines]
    assert events.index("open_to_all") == events.index("ready") + 1
    level, found = findings(redis_url)["listeners of gw-1"]
    assert (level, found.startswith(f"0.0.0.0:{gateway.port}: anyone")) == ("warning", True)


def test_an_operator_who_means_it_is_not_warned(redis_url: str, stack: ExitStack) -> None:
    gateway = stack.enter_context(Gateway(redis_url, listen="0.0.0.0:0", allow_list="any"))
    device(stack, gateway).ready()
    found = findings(redis_url)
    assert "instance gw-1" in found
    assert "listeners of gw-1" not in found
    assert not gateway.said_before("open_to_all")


# Certificates


def test_a_device_that_had_a_certificate_is_refused_everywhere_without(
    redis_url: str, bus: Bus, stack: ExitStack, tmp_path: Path
) -> None:
    authority = trustme.CA()
    cert, key, ca = (tmp_path / f"{name}.pem" for name in ("cert", "key", "ca"))
    write_pair(authority, cert, key)
    authority.cert_pem.write_to_path(ca)
    tls = {"tls_listen": "127.0.0.1:0", "tls_cert": cert, "tls_key": key, "tls_client_ca": ca}
    one, other = (
        stack.enter_context(Gateway(redis_url, **tls)),
        stack.enter_context(Gateway(redis_url, "gw-2")),
    )

    def with_certificate(imei: str) -> Device:
        context = ssl.create_default_context(cafile=ca)
        context.load_cert_chain(device_certificate(authority, tmp_path / "device.pem", DNSName(IMEI)))
        host, _, port = one.said("ready")["tls"][0].rpartition(":")
        plain = socket.create_connection((host, int(port)), TIME_LIMIT)
        secure = context.wrap_socket(plain, server_hostname="127.0.0.1")
        return stack.enter_context(Device(one, imei, secure))

    assert refused(with_certificate(OTHER_IMEI)) == b"\0"
    assert one.said("device_refused", imei=OTHER_IMEI)["reason"] == "certificate_name"
    real = with_certificate(IMEI).ready()
    assert bus.client.hget(KEYS.auth, IMEI).startswith("cert:")
    real.socket.close()
    until(lambda: bus.holder() is None, "the end of the session")
    for gateway in (one, other):
        # If Redis is slow, `01` comes first.
        until(lambda: refused(device(stack, gateway)) == b"\0", "the answer 00")  # noqa: B023
        assert gateway.said("device_refused", imei=IMEI)["reason"] == "certificate_missing"
    with_certificate(IMEI).ready().socket.close()
    until(lambda: bus.holder() is None, "the end of the session")
    bus.client.hdel(KEYS.auth, IMEI)
    device(stack, other).ready()

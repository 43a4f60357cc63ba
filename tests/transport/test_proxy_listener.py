"""Devices behind a proxy that speaks the PROXY protocol, on real sockets and both event loops."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest
from freezegun.api import FrozenDateTimeFactory
from structlog.testing import capture_logs

from tests.transport.command_rig import IMEI
from tests.transport.connection_rig import FRAME
from tests.transport.listener_rig import (
    LOCAL,
    ListenerRig,
    Run,
    Streams,
    gateway_files,
    read_to_end,
    trusting,
    until,
)
from tests.transport.proxy_headers import BAD, V4, V6, v2
from transport.connection import source_budgets
from transport.settings import Address
from transport.teltonika.avl import encode_ack
from transport.teltonika.handshake import ACCEPT, encode_handshake

Files = dict[str, Path]
TRUST = (ip_network("127.0.0.0/30"),)
LINE = b"PROXY TCP4 198.51.100.22 203.0.113.7 35646 5027\r\n"
HELLO = encode_handshake(IMEI)


def rig(frozen: FrozenDateTimeFactory, files: Files, **given: object) -> ListenerRig:
    """A gateway with listeners for proxies."""
    own = {"tls_proxy_listen": (LOCAL,), "proxy_trust": TRUST, **gateway_files(files)}
    return ListenerRig(frozen, **(own | given))


@asynccontextmanager
async def proxy(address: Address, data: bytes = b"", host: str = "127.0.0.1") -> AsyncIterator[Streams]:
    """A proxy at `host` connects and sends `data`; it leaves without a word."""
    reader, writer = await asyncio.open_connection(*address, local_addr=(host, 0))
    writer.write(data)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


@pytest.mark.parametrize(
    ("header", "peer"),
    [
        (LINE, "198.51.100.22:35646"),
        (v2(V4), "198.51.100.22:35646"),
        (v2(V6, family=0x21), "[2001:db8::5]:35646"),
        (b"PROXY UNKNOWN\r\n", None),
        (v2(b"", family=0), None),
        (v2(b"", command=0x20, family=0), None),
    ],
    ids=["v1", "v2", "v2 IPv6", "v1 UNKNOWN", "v2 UNSPEC", "v2 LOCAL"],
)
@pytest.mark.parametrize("pieces", ["one write", "byte by byte"])
def test_a_session_behind_a_proxy_has_the_address_of_its_device(
    run: Run, frozen: FrozenDateTimeFactory, files: Files, header: bytes, peer: str | None, pieces: str
) -> None:
    async def scenario() -> None:
        async with rig(frozen, files) as it, proxy(it.bound.proxy[0]) as (reader, writer):
            data = header + HELLO + FRAME
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(0, len(data), 1 if pieces == "byte by byte" else len(data)):
                writer.write(data[at : at + 1] if pieces == "byte by byte" else data)
                await asyncio.sleep(0)
            assert await reader.readexactly(1) == ACCEPT
            await until(lambda: it.connections.telemetry.batches)
            it.connections.telemetry.confirm()
            assert await reader.readexactly(4) == encode_ack(1)
            host, port = writer.get_extra_info("sockname")
            assert it.connections.session_log[0].peer == (peer or f"{host}:{port}")

    run(scenario())


def test_tls_begins_behind_the_header(run: Run, frozen: FrozenDateTimeFactory, files: Files) -> None:
    async def scenario() -> None:
        async with rig(frozen, files) as it:
            sock = socket.create_connection(it.bound.tls_proxy[0])
            sock.sendall(v2(V4))
            sock.setblocking(False)
            context: ssl.SSLContext = trusting(files)
            reader, writer = await asyncio.open_connection(
                sock=sock, ssl=context, server_hostname="127.0.0.1"
            )
            writer.write(HELLO)
            assert await reader.readexactly(1) == ACCEPT
            session = it.connections.sessions.by_imei[IMEI]
            assert (session.secure, session.peer) == (True, "198.51.100.22:35646")
            writer.transport.abort()

    run(scenario())


def test_the_limit_counts_the_device_address_not_the_proxy(
    run: Run, frozen: FrozenDateTimeFactory, files: Files
) -> None:
    async def scenario() -> None:
        async with rig(frozen, files, max_connections_per_ip=1) as it:
            listener = it.bound.proxy[0]
            async with proxy(listener) as _, proxy(listener) as _, proxy(listener, LINE) as _:
                await until(lambda: len(it.connections.sessions.unidentified) == 1)
                with capture_logs() as logs:
                    async with proxy(listener, LINE + HELLO) as (reader, _):
                        assert await read_to_end(reader) == b""
                assert [(line["event"], line["address"]) for line in logs] == [
                    ("turned_away", "198.51.100.22")
                ]
                async with proxy(listener, v2(V6, family=0x21) + HELLO) as (reader, _):
                    assert await reader.readexactly(1) == ACCEPT
            await until(lambda: not it.connections.sessions.connected)
            assert len(it.connections.sessions.admission.newcomers) == 0

    run(scenario())


def test_the_rate_of_connections_is_that_of_the_device_address(
    run: Run, frozen: FrozenDateTimeFactory, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(source_budgets.AHEAD, source_budgets.CONNECTIONS, 1.0)

    async def scenario() -> None:
        async with rig(frozen, files, connection_rate=1) as it:
            listener = it.bound.proxy[0]
            async with proxy(listener, LINE):
                await until(lambda: len(it.connections.sessions.unidentified) == 1)
                async with proxy(listener, LINE + HELLO) as (reader, _):
                    assert await read_to_end(reader) == b""
                async with proxy(listener, v2(V6, family=0x21) + HELLO) as (reader, _):
                    assert await reader.readexactly(1) == ACCEPT

    run(scenario())


def test_an_untrusted_proxy_is_closed_and_logged_once_a_minute(
    run: Run, frozen: FrozenDateTimeFactory, files: Files
) -> None:
    async def scenario() -> None:
        async with rig(frozen, files) as it:
            with capture_logs() as logs:
                for _ in range(3):
                    async with proxy(it.bound.proxy[0], LINE + HELLO, host="127.0.0.9") as (reader, _):
                        assert await read_to_end(reader) == b""
            assert [(line["event"], line["reason"], line["log_level"]) for line in logs] == [
                ("proxy_refused", "untrusted", "warning")
            ]
            assert logs[0]["peer"].startswith("127.0.0.9:")
            assert (it.connections.sessions.connected, it.connections.session_log) == (0, [])

    run(scenario())


@pytest.mark.parametrize(
    "name", ["a handshake", "v1 a port too high", "v1 no end", "v2 too long", "v2 half a TLV"]
)
def test_a_header_that_is_none_costs_its_connection_alone(
    run: Run, frozen: FrozenDateTimeFactory, files: Files, name: str
) -> None:
    data, reason = BAD[name]

    async def scenario() -> None:
        async with rig(frozen, files) as it, proxy(it.bound.proxy[0], LINE + HELLO) as (device, _):
            assert await device.readexactly(1) == ACCEPT
            with capture_logs() as logs:
                for _ in range(2):
                    async with proxy(it.bound.proxy[0], data) as (reader, _):
                        assert await read_to_end(reader) == b""
            assert [(line["event"], line["reason"]) for line in logs] == [("proxy_refused", reason)]
            metrics = it.connections.commands.metrics.registry
            assert metrics.get_sample_value("teltonika_proxy_refused_total", {"reason": reason}) == 2
            assert (it.connections.sessions.connected, list(it.connections.sessions.by_imei)) == (1, [IMEI])

    run(scenario())


@pytest.mark.parametrize("data", [b"", LINE[:9], v2(V4)[:20], v2(b"", command=0x20, family=0), LINE])
@pytest.mark.parametrize("reset", [False, True])
def test_a_check_of_a_balancer_writes_no_line(
    run: Run, frozen: FrozenDateTimeFactory, files: Files, data: bytes, reset: bool
) -> None:
    async def scenario() -> None:
        async with rig(frozen, files) as it:
            with capture_logs() as logs:
                sock = socket.create_connection(it.bound.proxy[0])
                if reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                sock.sendall(data)
                await until(lambda: it.connections.sessions.connected)
                sock.close()
                await until(lambda: not it.connections.sessions.connected)
            assert (logs, it.connections.session_log) == ([], [])

    run(scenario())


def test_a_missing_header_ends_with_the_handshake_timeout(
    run: Run, frozen: FrozenDateTimeFactory, files: Files
) -> None:
    async def scenario() -> None:
        async with rig(frozen, files, handshake_timeout=0.2) as it:
            with capture_logs() as logs:
                async with proxy(it.bound.proxy[0], LINE[:-1]) as (reader, _):
                    assert await read_to_end(reader) == b""
            assert [(line["event"], line["reason"]) for line in logs] == [
                ("proxy_refused", "handshake_timeout")
            ]
            assert it.connections.sessions.connected == 0

    run(scenario())


def test_a_closing_listener_ends_connections_without_a_header(
    run: Run, frozen: FrozenDateTimeFactory, files: Files
) -> None:
    async def scenario() -> None:
        async with rig(frozen, files) as it, proxy(it.bound.proxy[0], LINE[:9]) as (reader, _):
            await until(lambda: it.connections.sessions.connected)
            it.listeners.close()
            assert await read_to_end(reader) == b""
            await until(lambda: not it.connections.sessions.connected)

    run(scenario())

"""Why a connection ended, as each event loop tells it, with TLS and without."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from freezegun.api import FrozenDateTimeFactory

from fsm.reasons import CONNECTION_RESET, DEVICE_CLOSED, NETWORK_TIMEOUT, PROTOCOL_ERROR
from tests.rig.namespace import NotPossible, namespace
from tests.transport.command_rig import IMEI
from tests.transport.connection_rig import FRAME, ConnectionRig
from tests.transport.listener_rig import ListenerRig, Run, Streams, gateway_files, identify, trusting, until
from transport.connection import tcp
from transport.teltonika.handshake import ACCEPT, encode_handshake

Files = dict[str, Path]
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of zero seconds: a close sends RST."""


def raw(writer: asyncio.StreamWriter) -> socket.socket:
    """Another handle of the socket below the streams: the one of uvloop cannot be shut down."""
    return socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno()))


async def fin(streams: Streams) -> None:
    """The device closes as it should."""
    streams[1].close()
    await streams[1].wait_closed()


async def cut(streams: Streams) -> None:
    """The device closes its TCP, TLS or not."""
    with raw(streams[1]) as sock:
        sock.shutdown(socket.SHUT_RDWR)


async def reset(streams: Streams) -> None:
    """The connection is broken off with RST."""
    with raw(streams[1]) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    streams[1].transport.abort()


async def reset_in_a_frame(streams: Streams) -> None:
    """RST, with a part of a frame before it."""
    streams[1].write(FRAME[:20])
    await reset(streams)


async def no_tls(streams: Streams) -> None:
    """What looks like a record of TLS, and cannot be decrypted."""
    with raw(streams[1]) as sock:
        sock.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (no_tls, PROTOCOL_ERROR),
        (fin, DEVICE_CLOSED),
        (cut, DEVICE_CLOSED),
        (reset, CONNECTION_RESET),
        (reset_in_a_frame, CONNECTION_RESET),
    ],
)
def test_the_end_of_a_session_is_a_close_or_a_reset(
    run: Run,
    frozen: FrozenDateTimeFactory,
    files: Files,
    tls: bool,
    end: Callable[[Streams], Coroutine[Any, Any, None]],
    reason: str,
) -> None:
    async def scenario() -> None:
        context: ssl.SSLContext | None = trusting(files) if tls else None
        async with ListenerRig(frozen, **gateway_files(files)) as rig, rig.device(context) as streams:
            await identify(streams)
            await end(streams)
            await until(lambda: not rig.connections.sessions.connected)
            assert rig.connections.session_log[-1].state == "closed"
            assert rig.connections.session_log[-1].reason == reason

    run(scenario())


@pytest.mark.parametrize("idle", [True, False], ids=["idle", "unacknowledged"])
def test_a_lost_network_is_a_timeout(
    run: Run, frozen: FrozenDateTimeFactory, files: Files, monkeypatch: pytest.MonkeyPatch, idle: bool
) -> None:
    short = {"USER_TIMEOUT_MS": 1000, "KEEPALIVE_IDLE": 1, "KEEPALIVE_INTERVAL": 1, "KEEPALIVE_COUNT": 1}
    for name, value in short.items():
        monkeypatch.setattr(tcp, name, value)

    async def scenario() -> None:
        rig = ListenerRig(frozen, listen=(("0.0.0.0", 0),), **gateway_files(files))
        with namespace() as network:
            async with rig:
                sock = await network.dial((network.host, rig.plain[1]))
                reader, writer = await asyncio.open_connection(sock=sock)
                await identify((reader, writer))
                session = rig.connections.sessions.by_imei[IMEI]
                network.cut()
                if not idle:
                    session.send(FRAME)
                await until(lambda: not rig.connections.sessions.connected)
                assert session.close_reason == NETWORK_TIMEOUT
                writer.transport.abort()

    try:
        run(scenario())
    except NotPossible as why:
        pytest.skip(f"no network namespace: {why}")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (None, DEVICE_CLOSED),
        (ConnectionResetError(104, "reset"), CONNECTION_RESET),
        (BrokenPipeError(32, "pipe"), CONNECTION_RESET),
        (ssl.SSLError(1, "bad record"), PROTOCOL_ERROR),
        (TimeoutError(), NETWORK_TIMEOUT),
        (OSError(113, "no route"), NETWORK_TIMEOUT),
        (OSError(101, "network"), NETWORK_TIMEOUT),
    ],
)
def test_every_error_of_a_loop_has_a_reason(error: Exception | None, reason: str) -> None:
    assert tcp.close_reason(error) == reason


def test_a_half_closed_tls_connection_is_closed(
    run: Run, frozen: FrozenDateTimeFactory, files: Files
) -> None:
    async def scenario() -> None:
        async with ListenerRig(frozen, **gateway_files(files)) as rig, rig.device(trusting(files)) as streams:
            reader, writer = streams
            writer.write(encode_handshake(IMEI))
            assert await reader.readexactly(1) == ACCEPT
            writer.write(FRAME)
            await until(lambda: rig.connections.telemetry.batches)
            with raw(writer) as sock:
                sock.shutdown(socket.SHUT_WR)
            await until(lambda: not rig.connections.sessions.connected)
            assert rig.connections.telemetry.batches[0].cancelled

    run(scenario())


# A device that has closed its side


async def test_a_half_closed_connection_lasts_half_a_minute_at_most(
    frozen: FrozenDateTimeFactory,
) -> None:
    connections = ConnectionRig(frozen)
    connection, transport = connections.ready()
    connection.received(FRAME)
    batch = connections.telemetry.batches[0]
    assert (connection.eof_received(), connection.eof_received()) == (True, True)
    connections.at(29.9)
    assert (transport.aborted, batch.cancelled) == (False, False)
    connections.at(30)
    assert transport.aborted
    connection.connection_lost(None)
    assert (batch.cancelled, connection.close_reason) == (True, DEVICE_CLOSED)
    assert connections.session_log.states[-2:] == ["draining", "closed"]


async def test_a_half_closed_connection_owed_nothing_is_closed(frozen: FrozenDateTimeFactory) -> None:
    connections = ConnectionRig(frozen)
    connection, _ = connections.ready()
    assert not connection.eof_received()
    unidentified, _ = connections.accept()
    assert not unidentified.eof_received()

"""Whether the peer of a connection is alive, on real sockets of this host."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from transport.connection.liveness import Liveness, Probe, ask

Pair = tuple[socket.socket, socket.socket]
LIMIT = 5.0


@pytest.fixture
def pair() -> Iterator[Pair]:
    """The gateway's end and the device's end of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        device = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    with ours, device:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        yield ours, device


def answer(probe: Probe) -> Liveness:
    """Wait for what the peer says."""
    while (said := probe.answer(time.monotonic())) is None:
        time.sleep(0.01)
    return said


def transport_of(sock: socket.socket) -> Any:
    """A transport of the event loop over `sock`."""
    return SimpleNamespace(get_extra_info=lambda name: sock if name == "socket" else None)


def test_a_peer_that_says_nothing_by_itself_is_alive(pair: Pair) -> None:
    assert answer(Probe(pair[0], time.monotonic(), LIMIT)) is Liveness.ALIVE


def test_a_peer_that_has_reset_or_closed_the_connection_is_not(pair: Pair) -> None:
    ours, device = pair
    device.shutdown(socket.SHUT_WR)
    assert answer(Probe(ours, time.monotonic(), LIMIT)) is Liveness.DEAD
    device.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    device.close()
    assert answer(Probe(ours, time.monotonic(), LIMIT)) is Liveness.DEAD


def test_a_peer_that_does_not_answer_in_time_is_not(pair: Pair) -> None:
    probe = Probe(pair[0], now := time.monotonic(), 0.0)
    assert probe.answer(now) is Liveness.DEAD


def test_a_closed_socket_is_no_error(pair: Pair) -> None:
    probe = Probe(pair[0], time.monotonic(), LIMIT)
    pair[0].close()
    assert probe.answer(time.monotonic()) is Liveness.DEAD
    probe.end()


def test_a_proxy_cannot_answer_for_a_device(pair: Pair) -> None:
    transport = transport_of(pair[0])
    assert ask(transport, "127.0.0.1", 0.0, LIMIT) is not None
    assert ask(transport, "10.0.0.1", 0.0, LIMIT) is None


def test_the_connection_goes_on_as_before(pair: Pair) -> None:
    ours = pair[0]
    Probe(ours, time.monotonic(), LIMIT).end()
    idle = ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
    assert (idle, ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)) == (60, 15)

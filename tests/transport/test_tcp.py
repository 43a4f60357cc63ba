"""What is asked of the kernel for the sockets of devices, and what becomes of sockets that cannot be had."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from freezegun.api import FrozenDateTimeFactory

from tests.transport.connection_rig import ConnectionRig, FakeTransport
from tests.transport.listener_rig import gateway_files
from transport.connection import tcp
from transport.connection.listener import Listener
from transport.connection.source_networks import SourceNetworks
from transport.connection.tcp import (
    KEEPALIVE_COUNT,
    KEEPALIVE_IDLE,
    KEEPALIVE_INTERVAL,
    RESERVED_DESCRIPTORS,
    USER_TIMEOUT_MS,
    bind,
    raise_descriptor_limit,
    unacknowledged,
)
from transport.daemon.addresses import CannotListen
from transport.daemon.listeners import TLS_GOODBYE, Listeners
from transport.settings import Settings

LOCAL = ("127.0.0.1", 0)


def test_a_port_can_be_reused_and_writes_are_immediate() -> None:
    with bind(*LOCAL) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_a_socket_that_cannot_be_bound_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[socket.socket] = []

    class Kept(socket.socket):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    with bind(*LOCAL) as taken:
        taken.listen()
        monkeypatch.setattr(tcp.socket, "socket", Kept)
        with pytest.raises(OSError, match="in use"):
            bind(*taken.getsockname())
    assert [sock.fileno() for sock in made] == [-1]


def test_when_one_address_cannot_be_had_none_is_kept() -> None:
    with bind(*LOCAL) as taken:
        taken.listen()
        listeners = Listeners(Settings(instance_id="gw-1", listen=(LOCAL, taken.getsockname())))
        with pytest.raises(CannotListen):
            listeners.bind()
    assert [sock.fileno() for sock in listeners._sockets] == [-1]


def test_a_peer_that_ignores_the_end_of_tls_is_not_waited_for(files: dict[str, Path]) -> None:
    settings = Settings(instance_id="gw-1", tls_listen=(LOCAL,), **cast(Any, gateway_files(files)))
    assert Listeners(settings)._tls["ssl_shutdown_timeout"] == TLS_GOODBYE


async def test_a_closed_listener_without_files_stays_closed(
    frozen: FrozenDateTimeFactory,
) -> None:
    def accept() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with bind(*LOCAL) as sock:
        context = ConnectionRig(frozen).context
        listener = Listener(context, sock, {}, SourceNetworks((), context.metrics))
        loop = asyncio.get_running_loop()
        listener._sock = cast(Any, SimpleNamespace(accept=accept, fileno=sock.fileno))
        listener._accept()
        assert not loop.remove_reader(sock)  # a port that is always ready would keep the loop busy
        assert listener._again is not None
        listener.close()
        assert listener._again.cancelled()


# What TCP has still to carry


class Unread(FakeTransport):
    """A socket of which some bytes have not even reached the kernel."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self._extra = {"socket": sock}
        self.unread = 7


def test_bytes_outside_the_kernel_are_not_acknowledged() -> None:
    with bind(*LOCAL) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()) as sock:
            assert unacknowledged(Unread(sock)) == 7


def test_a_closed_socket_has_no_acknowledged_bytes() -> None:
    with socket.socket() as sock:
        pass
    assert unacknowledged(Unread(sock)) is None


# How many there may be


def test_the_connection_limit_leaves_files_for_the_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raised: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 5000))
    monkeypatch.setattr(resource, "setrlimit", lambda *given: raised.append(given))
    assert raise_descriptor_limit() == 5000 - RESERVED_DESCRIPTORS
    assert raised == [(resource.RLIMIT_NOFILE, (5000, 5000))]


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="other kernels have other options")


@pytest.fixture
def accepted() -> Iterator[socket.socket]:
    """A connection that a device has made."""
    with bind("127.0.0.1", 0) as listener:
        listener.setblocking(True)
        listener.listen()
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as connection:
            yield connection


@linux_only
def test_an_idle_link_is_asked_whether_it_is_still_there(accepted: socket.socket) -> None:
    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    assert [accepted.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [
        *(KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT)
    ]
    assert KEEPALIVE_IDLE + KEEPALIVE_INTERVAL * KEEPALIVE_COUNT <= 120


@linux_only
def test_unacknowledged_bytes_end_the_connection_in_time(accepted: socket.socket) -> None:
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == USER_TIMEOUT_MS == 60_000

"""A peer that is gone without a word is noticed by the kernel, whether the link was idle or not."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest

from transport.connection.tcp import (
    KEEPALIVE_COUNT,
    KEEPALIVE_IDLE,
    KEEPALIVE_INTERVAL,
    USER_TIMEOUT_MS,
    bind,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other kernels have other options")


@pytest.fixture
def accepted() -> Iterator[socket.socket]:
    """A connection that a device has made."""
    with bind("127.0.0.1", 0) as listener:
        listener.setblocking(True)
        listener.listen()
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as connection:
            yield connection


def test_an_idle_link_is_asked_whether_it_is_still_there(accepted: socket.socket) -> None:
    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    assert [accepted.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [
        *(KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT)
    ]
    assert KEEPALIVE_IDLE + KEEPALIVE_INTERVAL * KEEPALIVE_COUNT <= 120


def test_bytes_that_nobody_acknowledges_end_the_connection_in_time(accepted: socket.socket) -> None:
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == USER_TIMEOUT_MS == 60_000

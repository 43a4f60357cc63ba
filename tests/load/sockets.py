"""Sockets from several addresses, and a watch over them that needs no event loop."""

from __future__ import annotations

import select
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from itertools import cycle

from tests.load.driver_process import SOURCES, say

_NO_PORT_YET = 24
"""IP_BIND_ADDRESS_NO_PORT: the port is chosen when the peer is known, so that all of them can be used."""
_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER by which a close leaves nothing behind, neither here nor in the kernel."""
_sources = cycle(SOURCES)


def fresh(source: str = "") -> socket.socket:
    """A socket at `source`, or at each of the addresses in turn; not blocking."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_IP, _NO_PORT_YET, 1)
    sock.bind((source or next(_sources), 0))
    return sock


def begin(port: int, source: str = "") -> socket.socket:
    """A socket that is connecting to a gateway, and leaves no trace when it is closed."""
    sock = fresh(source)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    sock.connect_ex(("127.0.0.1", port))
    return sock


class Asked(Exception):
    """The test has sent a line, or has ended."""


class Poll:
    """Watches sockets, and the driver's input."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._epoll.register(0, select.EPOLLIN)

    def watch(self, sock: socket.socket, events: int) -> None:
        """Watch a new socket."""
        self._epoll.register(sock.fileno(), events)

    def expect(self, sock: socket.socket, events: int) -> None:
        """Watch a socket for something else."""
        self._epoll.modify(sock.fileno(), events)

    def events(self, within: float) -> Iterator[tuple[int, int]]:
        """File number and events of what happened, waited for `within` seconds at most.

        Raises:
            Asked: there is a line to read.
        """
        for number, events in self._epoll.poll(within):
            if number == 0:
                raise Asked
            yield number, events


def answer(live: Callable[[], None], counts: Callable[[], dict[str, int]]) -> None:
    """Run a driver: go on with `live`, and tell `counts` whenever the test asks, until its input ends."""
    say(ready=True)
    while True:
        try:
            live()
        except Asked:
            if not sys.stdin.readline():
                return
            say(**counts())

"""A driver with thousands of sockets that send a byte a second each.

Every second one takes that long over its handshake, which the gateway ends some time; the others over a
frame. A client that is closed connects again.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

from tests import wire_format
from tests.load.driver_process import open_files
from tests.load.sockets import Poll, answer, begin

TICK = 0.02
"""Seconds between two groups of sockets that send their byte."""
GROUPS = round(1 / TICK)


class Slow:
    """One socket at a time, and what is still to be sent on it."""

    def __init__(self, senders: SlowSenders, number: int) -> None:
        self._senders = senders
        self._number = number
        self.connect()

    def connect(self) -> None:
        """Begin again."""
        self.socket = begin(self._senders.port)
        self._senders.poll.watch(self.socket, select.EPOLLIN | select.EPOLLRDHUP)
        self._senders.by_file[self.socket.fileno()] = self
        hello = wire_format.hello(f"3577{self._number:011d}")
        self._handshake = b"" if self._number % 2 else hello
        self._rest = (b"" if self._handshake else hello) + wire_format.avl([1, 2, 3])

    def send(self) -> None:
        """The next byte; the whole handshake first, for those who report slowly."""
        try:
            if self._handshake:
                self.socket.send(self._handshake)
                self._handshake = b""
            if self._rest:
                self.socket.send(self._rest[:1])
                self._rest = self._rest[1:]
        except BlockingIOError:
            pass  # not connected yet
        except OSError:
            self.again()

    def heard(self) -> None:
        """Something came, or the connection is over."""
        try:
            over = not self.socket.recv(64)
        except BlockingIOError:
            over = False
        except OSError:
            over = True
        if over:
            self.again()

    def again(self) -> None:
        """Closed: connect again."""
        self._senders.closed += 1
        self._senders.by_file.pop(self.socket.fileno(), None)
        self.socket.close()
        self.connect()


class SlowSenders:
    """All of them."""

    def __init__(self, port: int, count: int) -> None:
        self.port = port
        self.poll = Poll()
        self.by_file: dict[int, Slow] = {}
        self.closed = self.bytes = 0
        self.all = [Slow(self, number) for number in range(count)]

    def live(self) -> None:
        """Send a byte a second on each, until the test has sent a line."""
        tick, began = 0, time.monotonic()
        while True:
            for slow in self.all[tick % GROUPS :: GROUPS]:
                slow.send()
                self.bytes += 1
            tick += 1
            while (rest := began + tick * TICK - time.monotonic()) > 0:
                for number, _ in self.poll.events(rest):
                    self.by_file[number].heard()

    def connected(self) -> int:
        """How many have a connection now."""
        return sum(_has_peer(slow.socket) for slow in self.all)


def _has_peer(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def main() -> None:
    """The driver: it tells its counts when it is asked."""
    open_files(0)
    senders = SlowSenders(**json.loads(sys.argv[1]))
    answer(
        senders.live,
        lambda: {"connected": senders.connected(), "closed": senders.closed, "bytes": senders.bytes},
    )

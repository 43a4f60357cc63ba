"""A driver that begins the longest frame there is on each of many connections, and ends none."""

from __future__ import annotations

import json
import select
import socket
import sys
from struct import pack

from tests import wire_format
from tests.load.driver_process import open_files
from tests.load.sockets import Poll, answer, begin
from transport.teltonika.frame import MESSAGE_LIMIT

FRAME = pack(">II", 0, MESSAGE_LIMIT) + b"\x0c" + bytes(MESSAGE_LIMIT - 1)
"""All of it but its checksum."""


class Flood:
    """So many connections at a time; a client that is closed connects again."""

    def __init__(self, port: int, at_once: int) -> None:
        self._port = port
        self._poll = Poll()
        self._open: dict[int, tuple[socket.socket, memoryview]] = {}
        self.begun = 0
        for _ in range(at_once):
            self._begin()

    def _begin(self) -> None:
        sock = begin(self._port)
        self._poll.watch(sock, select.EPOLLOUT | select.EPOLLRDHUP)
        self._open[sock.fileno()] = sock, memoryview(wire_format.hello(f"3576{self.begun:011d}") + FRAME)
        self.begun += 1

    def live(self) -> None:
        """Go on until the test has sent a line."""
        while True:
            for number, what in self._poll.events(1.0):
                sock, rest = self._open.pop(number)
                try:
                    rest = rest[sock.send(rest) :]
                except OSError:
                    what = select.EPOLLHUP
                if what & ~select.EPOLLOUT:
                    sock.close()
                    self._begin()
                    continue
                self._open[number] = sock, rest
                if not rest:
                    self._poll.expect(sock, select.EPOLLRDHUP)


def main() -> None:
    """The driver: it tells its counts when it is asked."""
    arguments = json.loads(sys.argv[1])
    open_files(arguments["at_once"] + 100)
    flood = Flood(**arguments)
    answer(flood.live, lambda: {"begun": flood.begun})

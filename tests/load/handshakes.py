"""A driver that connects, names itself, and is gone, as often as it can."""

from __future__ import annotations

import json
import select
import socket
import sys

from tests import wire_format
from tests.load.sockets import Poll, answer, begin


class Flood:
    """So many at a time; each that has had its answer, or was closed, makes place for the next."""

    def __init__(self, port: int, at_once: int) -> None:
        self._port = port
        self._poll = Poll()
        self._open: dict[int, tuple[socket.socket, str]] = {}
        self.begun = self.accepted = 0
        for _ in range(at_once):
            self._begin()

    def _begin(self) -> None:
        sock = begin(self._port)
        self._open[sock.fileno()] = sock, f"3578{self.begun:011d}"
        self._poll.watch(sock, select.EPOLLOUT)
        self.begun += 1

    def live(self) -> None:
        """Go on until the test has sent a line."""
        while True:
            for number, events in self._poll.events(1.0):
                sock, imei = self._open[number]
                if not self._step(sock, imei, events):
                    del self._open[number]
                    sock.close()
                    self._begin()

    def _step(self, sock: socket.socket, imei: str, events: int) -> bool:
        """Whether the socket has something still to wait for."""
        try:
            if events == select.EPOLLOUT:
                sock.send(wire_format.hello(imei))
                self._poll.expect(sock, select.EPOLLIN)
                return True
            self.accepted += sock.recv(64) == b"\x01"
        except OSError:
            pass  # closed
        return False


def main() -> None:
    """The driver: it tells its counts when it is asked."""
    flood = Flood(**json.loads(sys.argv[1]))
    answer(flood.live, lambda: {"begun": flood.begun, "accepted": flood.accepted})

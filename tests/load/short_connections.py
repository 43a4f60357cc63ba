"""A driver that connects under ever new IMEIs, sends much more than a device would, and is gone."""

from __future__ import annotations

import json
import select
import socket
import sys

from tests import wire_format
from tests.load.sockets import Poll, answer, fresh
from transport.teltonika.command import encode_serial
from transport.teltonika.frame import CODEC_12

RECORDS = 80
"""Records in a frame: nearly 4 KB, the most that a gateway takes."""
MESSAGES = 255
"""Messages of a serial port in a frame, as small as they can be: as many entries as a frame can have."""


class Flood:
    """So many connections at a time; each that has sent all of its bytes is closed, and makes place."""

    def __init__(self, port: int, at_once: int, size: int, messages: bool = False) -> None:
        self._port = port
        self._poll = Poll()
        self._open: dict[int, tuple[socket.socket, memoryview]] = {}
        records = wire_format.avl([1_700_000_000_000 + number for number in range(RECORDS)])
        frame = encode_serial(CODEC_12, [b"x"] * MESSAGES, 0) if messages else records
        self._reports = frame * (size // len(frame) + 1)
        self.begun = self.bytes = 0
        for _ in range(at_once):
            self._begin()

    def _begin(self) -> None:
        sock = fresh()
        sock.connect_ex(("127.0.0.1", self._port))
        self._poll.watch(sock, select.EPOLLOUT)
        hello = wire_format.hello(f"3579{self.begun:011d}")
        self._open[sock.fileno()] = sock, memoryview(hello + self._reports)
        self.begun += 1

    def live(self) -> None:
        """Go on until the test has sent a line."""
        while True:
            for number, _ in self._poll.events(1.0):
                sock, rest = self._open.pop(number)
                try:
                    sent = sock.send(rest)
                except OSError:
                    sent = len(rest)  # closed
                self.bytes += sent
                if sent < len(rest):
                    self._open[number] = sock, rest[sent:]
                else:
                    sock.close()
                    self._begin()


def main() -> None:
    """The driver: it tells its counts when it is asked."""
    flood = Flood(**json.loads(sys.argv[1]))
    answer(flood.live, lambda: {"begun": flood.begun, "bytes": flood.bytes})

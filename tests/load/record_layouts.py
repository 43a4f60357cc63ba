"""A driver of devices whose records have ever new shapes, each reporting as fast as it is acknowledged."""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
from itertools import cycle
from random import Random

from tests import wire_format
from tests.load.driver_process import say
from tests.load.sockets import Asked, Poll

HEAD = struct.Struct(">QBiihHBH")
FRAMES = 20
"""Frames of a device, over and over: all devices together have many more shapes than a gateway remembers."""


def record(random: Random, ids: int) -> bytes:
    """A record of codec 8 Extended with so many values of one byte, under random ids."""
    values = b"".join(struct.pack(">HB", number, 1) for number in random.sample(range(65536), ids))
    head = HEAD.pack(1_700_000_000_000, 0, 0, 0, 0, 0, 9, 0)
    return head + struct.pack(">HHH", 0, ids, ids) + values + bytes(8)


def frames(random: Random, ids: int, count: int) -> list[bytes]:
    """Frames of nearly 4 KB, of so many records."""
    number = bytes((count,))
    return [
        wire_format.frame(b"\x8e" + number + b"".join(record(random, ids) for _ in range(count)) + number)
        for _ in range(FRAMES)
    ]


class Inventors:
    """Every other device sends one large record a frame, the rest sends many small ones."""

    def __init__(self, port: int, devices: int) -> None:
        self._poll = Poll()
        self._open: dict[int, tuple[socket.socket, cycle[bytes]]] = {}
        self.acknowledged = 0
        for number in range(devices):
            own = frames(Random(number), *((1200, 1) if number % 2 else (2, 80)))
            sock = socket.create_connection(("127.0.0.1", port))
            sock.sendall(wire_format.hello(f"3576{number:011d}"))
            self._poll.watch(sock, select.EPOLLIN)
            self._open[sock.fileno()] = sock, cycle(own)

    def live(self) -> None:
        """Go on until the test has sent a line."""
        while True:
            for number, _ in self._poll.events(1.0):
                sock, own = self._open[number]
                heard = sock.recv(64)
                assert heard, "closed"
                self.acknowledged += len(heard) == 4
                sock.sendall(next(own))


def main() -> None:
    """The driver: it tells its count when it is asked."""
    inventors = Inventors(**json.loads(sys.argv[1]))
    say(ready=True)
    while True:
        try:
            inventors.live()
        except Asked:
            if not sys.stdin.readline():
                return
            say(acknowledged=inventors.acknowledged)

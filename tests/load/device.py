"""A driver that is one real device: it reports, and measures how long its acknowledgements take."""

from __future__ import annotations

import json
import socket
import sys
import time

from tests import wire_format
from tests.load.driver_process import say

PAUSE = 0.05
"""Seconds between an acknowledgement and the next report."""


class Device:
    """Connected and accepted."""

    def __init__(self, port: int, imei: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._clock = int(time.time() * 1000)
        self._socket.sendall(wire_format.hello(imei))
        assert self._socket.recv(1) == b"\x01"

    def report(self) -> float:
        """Send one record; the milliseconds until it was acknowledged."""
        self._clock += 1
        frame, begun = wire_format.avl([self._clock]), time.perf_counter()
        self._socket.sendall(frame)
        ack = self._socket.recv(5)
        assert ack == b"\0\0\0\x01", ack
        return (time.perf_counter() - begun) * 1000

    def measure(self, seconds: float) -> list[float]:
        """Report for so long; the latencies, the longest last."""
        end, found = time.monotonic() + seconds, []
        while time.monotonic() < end:
            found.append(self.report())
            time.sleep(PAUSE)
        return sorted(found)


def main() -> None:
    """The driver."""
    device = Device(**json.loads(sys.argv[1]))
    say(ready=True)
    for line in sys.stdin:
        say(latencies=device.measure(**json.loads(line)))

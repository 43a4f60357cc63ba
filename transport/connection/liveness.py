"""Is the peer of a TCP connection still there? The kernel is made to ask it, and what it hears is read.

A keepalive probe asks for nothing but an acknowledgement. A peer that knows the connection answers at once,
and nobody who cannot read the packets of the connection can answer for it or keep it from answering. A device
that has restarted answers with RST. One whose address or whose mapping at a NAT has changed does not answer
at all. Linux sends the first probe when nothing was received for a second, which is the shortest time it can
be told.

Nothing can be concluded where the TCP connection ends at a proxy: it answers for a device that is gone.
"""

from __future__ import annotations

import socket
import struct
import sys
from contextlib import suppress
from enum import Enum
from typing import Any, Final

from transport.connection.tcp import KEEPALIVE_IDLE, KEEPALIVE_INTERVAL

TOLERANCE: Final = 0.02
"""Seconds by which two times of the kernel may differ without a meaning, because it counts in ticks."""
_CLOSED, _CLOSE_WAIT = 7, 8
_SINCE_DATA, _SINCE_ACK = 8 + 11, 8 + 12
"""Places in ``struct tcp_info`` of the ms since data and since an acknowledgement was received."""
_TCP_INFO = struct.Struct("8B13I")


class Liveness(Enum):
    """What is known of a peer."""

    ALIVE = "alive"
    DEAD = "dead"


class Probe:
    """One question to the peer of a connection.

    Args:
        sock: the socket of the connection.
        now: monotonic seconds; `patience`: seconds without an answer after which the peer counts as dead.
    """

    __slots__ = ("_began", "_due", "_heard", "_sock")

    def __init__(self, sock: Any, now: float, patience: float) -> None:
        self._sock = sock
        self._began = now
        self._due = now + patience
        self._heard = self._read()[1]
        self._ask_after(1, 1)

    def _ask_after(self, idle: int, interval: int) -> None:
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)

    def answer(self, now: float) -> Liveness | None:
        """What the peer has said until `now` (monotonic seconds); None while that is not known."""
        try:
            state, heard = self._read()
        except (OSError, ValueError):
            return Liveness.DEAD  # closed meanwhile
        if state in (_CLOSED, _CLOSE_WAIT):
            return Liveness.DEAD
        if self._heard + now - self._began - heard >= TOLERANCE:
            return Liveness.ALIVE
        return Liveness.DEAD if now >= self._due else None

    def _read(self) -> tuple[int, float]:
        """The state of the connection, and the seconds since anything was received."""
        size = _TCP_INFO.size
        info = _TCP_INFO.unpack(self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size))
        return info[0], min(info[_SINCE_DATA], info[_SINCE_ACK]) / 1000

    def end(self) -> None:
        """Ask no more: the connection goes on as before."""
        with suppress(OSError, ValueError):
            self._ask_after(KEEPALIVE_IDLE, KEEPALIVE_INTERVAL)


def ask(transport: Any, host: str, now: float, patience: float) -> Probe | None:
    """Ask the peer of a connection; None where its answer would say nothing of the device at `host`."""
    sock = transport.get_extra_info("socket") if sys.platform == "linux" else None
    if sock is None:
        return None
    try:
        return Probe(sock, now, patience) if sock.getpeername()[0] == host else None
    except (OSError, ValueError):
        return None

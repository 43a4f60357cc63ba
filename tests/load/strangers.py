"""A driver of strangers: each goes so far and stays, or leaves and comes again under another name."""

from __future__ import annotations

import json
import select
import socket
import ssl
import sys
from collections import Counter
from itertools import count, cycle

from tests import wire_format
from tests.load.sockets import Poll, answer, begin

MUTE, NAMED, PROVEN = "mute", "named", "proven"
"""How far they go: connected; an IMEI sent; a record sent."""


class Stranger:
    """One connection.

    Attributes:
        socket: not blocking.
        wants: the events of the next step.
    """

    def __init__(self, sock: socket.socket, imei: str, tls: ssl.SSLContext | None) -> None:
        self.socket = sock
        self.imei = imei
        self._tls = tls
        self.wants = select.EPOLLOUT
        self._secured = tls is None
        self._said = ""

    def step(self, far: str) -> str:
        """Go on; how far it is now, ``..`` if there is no change, empty if the connection has ended.

        Raises:
            OSError: the connection has ended.
        """
        if self._tls is not None:
            self.socket = self._tls.wrap_socket(self.socket, do_handshake_on_connect=False)
            self._tls = None
        if not self._secured:
            return self._negotiate() or self.step(far)
        if not self._said:
            self._said = NAMED if far != MUTE else MUTE
            self._say(wire_format.hello(self.imei) if far != MUTE else b"")
            return ".." if far != MUTE else MUTE
        heard = self._hear()
        if self._said == NAMED and heard == b"\x01" and far == PROVEN:
            self._say(wire_format.avl([1_700_000_000_000]))
            self._said = PROVEN
            return NAMED
        return self._said if heard in (b"\x01", b"\0\0\0\x01") else ".." if heard is None else ""

    def _negotiate(self) -> str:
        assert isinstance(self.socket, ssl.SSLSocket)
        try:
            self.socket.do_handshake()
        except ssl.SSLWantReadError:
            self.wants = select.EPOLLIN
            return ".."
        self._secured = True
        return ""

    def _hear(self) -> bytes | None:
        """What has come; None for what only TLS has to know."""
        try:
            return self.socket.recv(64)
        except ssl.SSLWantReadError:
            return None

    def _say(self, words: bytes) -> None:
        if words:
            self.socket.send(words)
        self.wants = select.EPOLLIN


class Crowd:
    """All strangers.

    Args:
        at_once: how many there are.
        far: how far each goes.
        stay: whether it stays then. Who was closed comes again in any case.
        sources: the addresses that they come from.
        own: whether each keeps its name.
    """

    def __init__(
        self,
        port: int,
        at_once: int,
        far: str,
        *,
        stay: bool,
        sources: list[str],
        own: bool = False,
        secure: bool = False,
    ) -> None:
        self._port, self._far, self._stay, self._own = port, far, stay, own
        self._sources = cycle(sources)
        self._tls: ssl.SSLContext | None = None
        if secure:
            self._tls = ssl.create_default_context()
            self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE
        self._poll = Poll()
        self._open: dict[int, Stranger] = {}
        self._names = count()
        self.counts: Counter[str] = Counter()
        for _ in range(at_once):
            self._begin(f"3574{next(self._names):011d}")

    def _begin(self, imei: str) -> None:
        sock = begin(self._port, next(self._sources))
        self._open[sock.fileno()] = stranger = Stranger(sock, imei, self._tls)
        self._poll.watch(sock, stranger.wants)
        self.counts["begun"] += 1

    def live(self) -> None:
        """Go on until the test has sent a line."""
        while True:
            for number, _ in self._poll.events(1.0):
                self._go_on(number, self._open[number])

    def _go_on(self, number: int, stranger: Stranger) -> None:
        before = stranger.wants
        try:
            now = stranger.step(self._far)
        except OSError:
            now = ""
        self.counts[now or "closed"] += 1
        if not now or (now == self._far and not self._stay):
            del self._open[number]
            stranger.socket.close()
            self._begin(stranger.imei if self._own else f"3574{next(self._names):011d}")
        elif stranger.wants != before:
            self._poll.expect(stranger.socket, stranger.wants)


def main() -> None:
    """The driver: it tells its counts when it is asked."""
    crowd = Crowd(**json.loads(sys.argv[1]))
    answer(crowd.live, lambda: crowd.counts)

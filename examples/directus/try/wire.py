"""A wire between Directus and Redis that can be cut, and frozen: packets vanish and nobody is told."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Wire:
    """Forwards connections of `port` to `target`.

    `cut` ends all connections and refuses new ones until `mend`. `freeze` leaves open connections
    half-open for ever, as a firewall that has forgotten them does; new ones pass.
    """

    def __init__(self, target: int) -> None:
        self._target = ("127.0.0.1", target)
        self._frozen = threading.Event()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """End all connections, and refuse new ones."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()

    def mend(self) -> None:
        """Accept connections again."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def freeze(self) -> None:
        """Let nothing pass on the connections that are open, in neither direction, and never end them."""
        self._frozen.set()
        self._frozen = threading.Event()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection(self._target)
            except OSError:
                return
            self._sockets += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=_pump, args=(source, sink, self._frozen), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket, frozen: threading.Event) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            if frozen.is_set():
                continue
            sink.sendall(data)
    if not frozen.is_set():
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

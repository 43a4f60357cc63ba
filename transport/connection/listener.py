"""A listener that counts connections, and starts their handshake time-out, at their accept.

The servers of the event loop report a connection only after its TLS handshake. But TLS handshakes in progress
have to be limited, too, in number and in time. So this listener accepts connections itself.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from functools import partial
from typing import Any

import structlog

from fsm import session
from fsm.reasons import DEVICE_CLOSED, HANDSHAKE_TIMEOUT
from transport.connection.context import ConnectionContext
from transport.connection.newcomers import Place
from transport.connection.protocol import DeviceConnection
from transport.connection.source_networks import SourceNetworks
from transport.connection.tcp import ACCEPTED_AT_ONCE, BACKLOG
from transport.log_throttle import LogThrottle
from transport.settings import Address

log = structlog.get_logger("telgw.sessions")

ACCEPT_RETRY = 1.0
"""Seconds until the next attempt if no file descriptor is free."""


class Listener:
    """Accepts connections on a bound socket.

    Args:
        sock: the caller has to close it.
        tls: arguments of `connect_accepted_socket` for TLS, read at each accept; empty without TLS.
        sources: the networks from which devices may connect.

    Raises:
        OSError: another process listens there.
    """

    def __init__(
        self,
        context: ConnectionContext,
        sock: socket.socket,
        tls: dict[str, Any],
        sources: SourceNetworks,
    ) -> None:
        self._context = context
        self._sources = sources
        self._sock = sock
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._refusals = LogThrottle()
        self._again: asyncio.TimerHandle | None = None
        sock.listen(BACKLOG)
        self._listen()

    def _listen(self) -> None:
        self._loop.add_reader(self._sock, self._accept)

    def close(self) -> None:
        """Accept no more connections, and cancel handshakes in progress."""
        if self._again:
            self._again.cancel()
        self._loop.remove_reader(self._sock)
        for handshake in self._handshakes:
            self._end(handshake)

    def _end(self, handshake: asyncio.Task[None]) -> None:
        # Soon, not now: a task that is cancelled before its first step would not release its socket.
        self._loop.call_soon(handshake.cancel)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if self._refusals.allow("accept", self._context.now):
                    log.error("accept_failed", error=error.strerror)
                self._loop.remove_reader(self._sock)
                self._again = self._loop.call_later(ACCEPT_RETRY, self._listen)
                return
            self._take(sock, address[:2])

    def _take(self, sock: socket.socket, address: Address) -> None:
        place = self._admits(address)
        if place is None:
            sock.close()
            return
        sock.setblocking(False)
        handshake = self._loop.create_task(self._begin(sock, address, place), name="handshake")
        self._context.sessions.admission.newcomers.give_way_by(place, partial(self._end, handshake))
        self._handshakes.add(handshake)
        handshake.add_done_callback(self._handshakes.discard)

    def _admits(self, address: Address) -> Place | None:
        """The place of a connection from `address`, if it is admitted."""
        now = self._context.now
        if not self._sources.admits(address[0], now):
            return None
        return self._context.sessions.admission.enter(address[0], now, secure=bool(self._tls))

    async def _begin(self, sock: socket.socket, address: Address, place: Place) -> None:
        """Turn an accepted socket into a connection."""
        connection = DeviceConnection(self._context, address=address, place=place, secure=bool(self._tls))
        await self._connect(connection, sock, self._tls)

    async def _connect(self, connection: DeviceConnection, sock: socket.socket, tls: dict[str, Any]) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: connection, sock, **tls)
        except OSError as error:
            self._failed(connection, error)
        finally:
            if connection.state == session.NEW:
                self._context.sessions.admission.leave(connection.place)

    def _failed(self, connection: DeviceConnection, error: OSError) -> None:
        """Count a failed handshake, and log it once a minute for each address and reason."""
        self._context.metrics.tls_failures.inc()
        reason = _reason(error)
        if self._refusals.allow((connection.host, reason), self._context.now):
            log.warning("tls_failed", peer=connection.peer, reason=reason)


def _reason(error: OSError) -> str:
    """The reason as one word: from OpenSSL if it has one, because its words do not come from the peer."""
    if isinstance(error, ssl.SSLCertVerificationError):
        # The reason of these errors is always the same. The message comes from a table: "certificate
        # revoked".
        return "_".join(re.findall(r"[a-z0-9]+", error.verify_message.lower()))
    if isinstance(error, ssl.SSLError):
        return (error.reason or "protocol").lower()
    return HANDSHAKE_TIMEOUT if isinstance(error, ConnectionAbortedError) else DEVICE_CLOSED

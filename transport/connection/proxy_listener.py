"""A listener for proxies, which send the address of the client in a PROXY header.

Headers are accepted only from the networks that the operator trusts, because a peer that may send a header
can claim any address. Before the header has come, the connection counts for the total but not for an address,
and its handshake time-out runs. Exactly the header is read from the socket and no byte after it, so TLS may
follow.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from typing import Any

import structlog

from fsm.networks import Network, is_within
from fsm.reasons import HANDSHAKE_TIMEOUT
from transport.connection.context import ConnectionContext
from transport.connection.listener import Listener
from transport.connection.newcomers import Place
from transport.connection.protocol import DeviceConnection
from transport.connection.proxy_protocol import HEADER_LIMIT, BadProxyHeader, Header, HeaderReader
from transport.connection.source_networks import SourceNetworks
from transport.log_throttle import LogThrottle
from transport.settings import Address, as_text

log = structlog.get_logger("telgw.sessions")

LEAST_TIME = 0.1
"""Seconds that a TLS handshake has at least, even if the header came late."""
UNTRUSTED = "untrusted"
_SEND = "configure the proxy to send the header (send-proxy or send-proxy-v2); devices need another listener"
_ADVICE = {
    UNTRUSTED: "add its network to --proxy-trust if it is your proxy",
    "signature": _SEND,
    HANDSHAKE_TIMEOUT: _SEND,
}


class ProxyListener(Listener):
    """Accepts only connections of trusted proxies.

    Args:
        sock: the caller has to close it.
        tls: arguments of `connect_accepted_socket` for TLS; empty without TLS.
        sources: the networks from which devices may connect, by the address in the header.
        trust: the networks of the proxies.

    Raises:
        OSError: another process listens there.
    """

    def __init__(
        self,
        context: ConnectionContext,
        sock: socket.socket,
        tls: dict[str, Any],
        sources: SourceNetworks,
        trust: Iterable[Network],
    ) -> None:
        self._trust = tuple(trust)
        self._throttle = LogThrottle()
        super().__init__(context, sock, tls, sources)

    def _admits(self, address: Address) -> Place | None:
        if not is_within(address[0], self._trust):
            self._refuse(address, UNTRUSTED)
            return None
        return self._context.sessions.admission.enter(None, self._context.now)

    async def _begin(self, sock: socket.socket, address: Address, place: Place) -> None:
        accepted_at, admission = self._context.clock.monotonic(), self._context.sessions.admission
        connection = None
        try:
            source = await self._source(sock, address)
            if source is not None and self._admits_source(place, source[0]):
                connection = DeviceConnection(
                    self._context,
                    secure=bool(self._tls),
                    address=source,
                    place=place,
                    accepted_at=accepted_at,
                )
        finally:
            if connection is None:
                sock.close()
                admission.leave(place)
        if connection is not None:
            await self._connect(connection, sock, self._tls and self._tls | self._rest_of(accepted_at))

    def _admits_source(self, place: Place, host: str) -> bool:
        """Whether a device at `host` is admitted; if so, the connection is counted for it."""
        now = self._context.now
        admission = self._context.sessions.admission
        return self._sources.admits(host, now) and admission.claim(place, host, now, secure=bool(self._tls))

    def _rest_of(self, accepted_at: float) -> dict[str, float]:
        """The time that is left for TLS after the header."""
        passed = self._context.clock.monotonic() - accepted_at
        return {"ssl_handshake_timeout": max(LEAST_TIME, self._context.settings.handshake_timeout - passed)}

    async def _source(self, sock: socket.socket, proxy: Address) -> Address | None:
        """The address of the client; None if the connection is refused or has ended.

        A connection that ends before its header is complete is not logged: health checks of balancers do
        this.
        """
        try:
            async with asyncio.timeout(self._context.settings.handshake_timeout):
                header = await read_header(sock)
        except BadProxyHeader as error:
            self._refuse(proxy, error.reason)
        except TimeoutError:
            self._refuse(proxy, HANDSHAKE_TIMEOUT)
        except OSError:
            pass
        else:
            return None if header is None else header.source or proxy
        return None

    def _refuse(self, proxy: Address, reason: str) -> None:
        """Count a refused connection, and log it once a minute for each address and reason."""
        self._context.metrics.proxy_refused.labels(reason).inc()
        if self._throttle.allow((proxy[0], reason), self._context.now):
            advice = {"advice": _ADVICE[reason]} if reason in _ADVICE else {}
            log.warning("proxy_refused", peer=as_text(proxy), reason=reason, **advice)


async def read_header(sock: socket.socket) -> Header | None:
    """The PROXY header at the start of a connection; None if the connection ends before. No more bytes are
    read.

    Raises:
        BadProxyHeader: the connection does not begin with a header.
        OSError: the connection was reset.
    """
    reader = HeaderReader()
    while True:
        try:
            data = sock.recv(HEADER_LIMIT, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            await _readable(sock)
            continue
        header = reader.feed(data)
        sock.recv(len(data) - len(reader.rest))
        if header is not None or not data:
            return header


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sock)

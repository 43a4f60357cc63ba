"""The listeners that devices connect to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from errno import EADDRINUSE
from itertools import combinations
from typing import Any, NamedTuple

import structlog

from store.fleet.exposure import Exposure
from transport.clock import Clock
from transport.connection.context import ConnectionContext
from transport.connection.listener import Listener
from transport.connection.protocol import DeviceConnection
from transport.connection.proxy_listener import ProxyListener
from transport.connection.source_networks import SourceNetworks
from transport.connection.tcp import ACCEPTED_AT_ONCE, BACKLOG, bind
from transport.connection.tls import BadTlsFiles, Tls, TlsFiles
from transport.daemon.addresses import CannotListen, overlap, shares_port
from transport.daemon.allocator import map_large_buffers
from transport.daemon.exposure import Listening, exposure_of, warn
from transport.settings import Address, Settings, as_text

log = structlog.get_logger("telgw")

Listen = Callable[[socket.socket, SourceNetworks], Awaitable[asyncio.Server] | Listener]

TLS_GOODBYE = 2.0
"""Seconds that a device has to answer the end of TLS; most devices are gone by then."""


class Bound(NamedTuple):
    """The addresses that devices can connect to, by kind of listener."""

    listen: list[Address]
    tls: list[Address]
    proxy: list[Address]
    tls_proxy: list[Address]

    def log_fields(self) -> dict[str, list[str]]:
        """The addresses as fields of a log line."""
        return {
            name: [as_text(address) for address in addresses] for name, addresses in self._asdict().items()
        }

    @property
    def all(self) -> list[Address]:
        """All addresses."""
        return [address for addresses in self for address in addresses]


class Listeners:
    """The listeners: plain TCP, TLS, and for proxies.

    Attributes:
        own: the certificates that were used since the start, as `AccessControl` names them.

    Raises:
        BadTlsFiles: a certificate or key cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sockets: list[socket.socket] = []
        self._plain: list[socket.socket] = []
        self._secure: list[socket.socket] = []
        self._proxied: list[socket.socket] = []
        self._proxied_secure: list[socket.socket] = []
        self._servers: list[asyncio.Server | Listener] = []
        self._tls: dict[str, Any] = {}
        self.own: set[str] = set()
        self._listening: list[Listening] = []
        self._loaded: Tls | None = None
        self._files = TlsFiles(settings)
        if (tls := self._files.load_now()) is not None:
            map_large_buffers()
            for fault in tls.faults(_now()):
                log.error("tls_out_of_date", fault=fault)
            self._use(tls)
            self._tls = {
                "ssl": tls.context,
                "ssl_handshake_timeout": settings.handshake_timeout,
                "ssl_shutdown_timeout": TLS_GOODBYE,
            }

    async def reload_tls(self) -> Tls | None:
        """Read the TLS files again, for all later handshakes. None if there is no listener with TLS.

        Connections, and handshakes that have begun, keep their context. After an error the former files stay
        in use.

        Raises:
            BadTlsFiles: a file cannot be used, or is not valid at this time.
            NotRead: the file system does not answer.
        """
        tls = await self._files.load()
        if tls is None:
            return None
        if faults := tls.faults(_now()):
            raise BadTlsFiles(" ".join(faults))
        self._tls["ssl"] = tls.context
        self._use(tls)
        return tls

    def _use(self, tls: Tls) -> None:
        self._loaded = tls
        self.own.add(tls.auth)

    @property
    def tls_until(self) -> datetime | None:
        """When the first of certificate, CA and revocation lists expires; None without TLS."""
        return self._loaded.until if self._loaded else None

    def exposure(self) -> Exposure:
        """What is open to others, as far as it is known: addresses once they are bound."""
        return exposure_of(self._settings, self._listening, self._loaded)

    def bind(self) -> None:
        """Bind the addresses, without listening yet.

        A process that cannot bind them must find out before it takes the instance id from another process.

        Raises:
            CannotListen: an address cannot be bound.
        """
        self._check_overlaps()
        try:
            self._plain = [self._bind(*address) for address in self._settings.listen]
            self._secure = [self._bind(*address) for address in self._settings.tls_listen]
            self._proxied = [self._bind(*address) for address in self._settings.proxy_listen]
            self._proxied_secure = [self._bind(*address) for address in self._settings.tls_proxy_listen]
        except CannotListen:
            self.close()
            raise
        secure = {*self._secure, *self._proxied_secure}
        self._listening = [
            Listening(name, sock.getsockname()[:2], sock in secure)
            for name, sock in zip(self._settings.listeners, self._in_order(), strict=True)
        ]

    def _in_order(self) -> list[socket.socket]:
        """The sockets in the order of `Settings.listeners`."""
        return self._plain + self._secure + self._proxied + self._proxied_secure

    def announce(self, bound: Bound, **where: str) -> None:
        """Log where the gateway listens, and as the last line what is open to others."""
        log.info("ready", **bound.log_fields(), **where)
        warn(self.exposure())

    def _bind(self, host: str, port: int) -> socket.socket:
        try:
            sock = bind(
                host,
                port,
                v6_only=shares_port(self._settings, host, port),
                reuse_port=self._settings.worker > 0,
            )
        except OSError as error:
            raise CannotListen(host, port, error) from error
        self._sockets.append(sock)
        return sock

    def _check_overlaps(self) -> None:
        """Refuse overlapping addresses: both can be bound, and only listening would fail, too late."""
        for (host, port), (other, same) in combinations(self._settings.listeners, 2):
            if port and port == same and overlap(host, other):
                raise CannotListen(
                    other, port, OSError(EADDRINUSE, f"it overlaps with {as_text((host, port))}")
                )

    async def open(self, context: ConnectionContext) -> Bound:
        """Listen.

        Raises:
            CannotListen: another process has begun to listen on an address.
        """
        settings, trust = self._settings, self._settings.proxy_trust
        context.access.own = self.own

        async def opened(
            sockets: Sequence[socket.socket], names: Sequence[Address], listen: Listen
        ) -> list[Address]:
            sources = [SourceNetworks(settings.allowed_from(name), context.metrics) for name in names]
            return await self._open(zip(sockets, sources, strict=True), listen)

        def plain(sock: socket.socket, sources: SourceNetworks) -> Awaitable[asyncio.Server] | Listener:
            # A listener of its own looks at the address before anything is made for a connection.
            return Listener(context, sock, {}, sources) if sources else self._plain_server(context, sock)

        def secure(sock: socket.socket, sources: SourceNetworks) -> Listener:
            return Listener(context, sock, self._tls, sources)

        def proxied(sock: socket.socket, sources: SourceNetworks) -> Listener:
            return ProxyListener(context, sock, {}, sources, trust)

        def proxied_secure(sock: socket.socket, sources: SourceNetworks) -> Listener:
            return ProxyListener(context, sock, self._tls, sources, trust)

        return Bound(
            await opened(self._plain, settings.listen, plain),
            await opened(self._secure, settings.tls_listen, secure),
            await opened(self._proxied, settings.proxy_listen, proxied),
            await opened(self._proxied_secure, settings.tls_proxy_listen, proxied_secure),
        )

    async def _open(
        self, sockets: Iterable[tuple[socket.socket, SourceNetworks]], listen: Listen
    ) -> list[Address]:
        bound: list[Address] = []
        for sock, sources in sockets:
            address = sock.getsockname()[:2]
            try:
                server = listen(sock, sources)
                self._servers.append(server if isinstance(server, Listener) else await server)
            except OSError as error:
                raise CannotListen(address[0], address[1], error) from error
            bound.append(address)
        return bound

    async def _plain_server(self, context: ConnectionContext, sock: socket.socket) -> asyncio.Server:
        sock.listen(BACKLOG)  # the event loop would not report that the address is in use
        loop = asyncio.get_running_loop()
        # asyncio accepts as many connections per turn as its backlog says: enlarge it only in the kernel.
        server = await loop.create_server(
            lambda: DeviceConnection(context), sock=sock, backlog=ACCEPTED_AT_ONCE
        )
        sock.listen(BACKLOG)
        return server

    def close(self) -> None:
        """Accept no more connections."""
        while self._servers:
            self._servers.pop().close()
        for sock in self._sockets:  # last, because the event loop finds servers by their sockets
            sock.close()


def _now() -> datetime:
    return datetime.fromtimestamp(Clock().now_ms() / 1000, UTC)

"""Real sockets in front of the connections of one instance: a plain listener and one with TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from freezegun.api import FrozenDateTimeFactory

from tests.transport.command_rig import IMEI
from tests.transport.connection_rig import ConnectionRig
from transport.daemon.listeners import Listeners
from transport.teltonika.handshake import ACCEPT, encode_handshake

LOCAL = ("127.0.0.1", 0)
TIMEOUT = 10.0
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Run = Callable[[Coroutine[Any, Any, None]], None]


class ListenerRig:
    """A plain listener and one with TLS, and the connections behind them."""

    def __init__(self, frozen: FrozenDateTimeFactory, **given: Any) -> None:
        given = {"listen": (LOCAL,), "tls_listen": (LOCAL,), "proxy_listen": (LOCAL,)} | given
        self.connections = ConnectionRig(frozen, **given)
        self.listeners = Listeners(self.connections.commands.settings)

    async def __aenter__(self) -> ListenerRig:
        self.listeners.bind()
        self.bound = await self.listeners.open(self.connections.context)
        [self.plain], [self.tls] = self.bound.listen, self.bound.tls
        return self

    async def __aexit__(self, *_: object) -> None:
        self.listeners.close()
        self.connections.sessions.close_all("shutdown")
        self.connections.sessions.abort_all()

    @asynccontextmanager
    async def device(self, context: ssl.SSLContext | None) -> AsyncIterator[Streams]:
        """A device at the listener with TLS, or at the plain one; in the end its connection is aborted."""
        host, port = self.tls if context else self.plain
        reader, writer = await asyncio.open_connection(host, port, ssl=context)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


async def until(condition: Callable[[], object]) -> None:
    """Wait for `condition`. The clock is frozen, so the limit is a number of rounds."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("The condition did not become true.")


def trusting(files: dict[str, Path]) -> ssl.SSLContext:
    """The device's TLS context, which trusts the gateway's authority."""
    return ssl.create_default_context(cafile=files["ca"])


def gateway_files(files: dict[str, Path]) -> dict[str, Path]:
    """The settings that name the gateway's files."""
    return {"tls_cert": files["tls_cert"], "tls_key": files["tls_key"]}


async def identify(streams: Streams) -> None:
    """The device sends its IMEI and is accepted."""
    reader, writer = streams
    writer.write(encode_handshake(IMEI))
    assert await reader.readexactly(1) == ACCEPT


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    """All bytes until the connection is closed, which must happen within `TIMEOUT` seconds."""
    async with asyncio.timeout(TIMEOUT):
        try:
            return await reader.read()
        except OSError:
            return b""

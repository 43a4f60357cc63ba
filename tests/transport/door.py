"""Sessions behind real sockets: a plain listener and one that speaks TLS, with certificates of its own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from freezegun.api import FrozenDateTimeFactory

from tests.transport.desk import IMEI
from tests.transport.wire import Wire
from transport.daemon.listeners import Listeners
from transport.teltonika.handshake import ACCEPT, encode_handshake

LOCAL = ("127.0.0.1", 0)
PATIENCE = 10.0
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Run = Callable[[Coroutine[Any, Any, None]], None]


class Door:
    """Sessions behind a plain listener and one that speaks TLS."""

    def __init__(self, frozen: FrozenDateTimeFactory, **given: Any) -> None:
        given = {"listen": (LOCAL,), "tls_listen": (LOCAL,), "proxy_listen": (LOCAL,)} | given
        self.wire = Wire(frozen, **given)
        self.listeners = Listeners(self.wire.desk.settings)

    async def __aenter__(self) -> Door:
        self.listeners.bind()
        self.bound = await self.listeners.open(self.wire.context)
        [self.plain], [self.tls] = self.bound.listen, self.bound.tls
        return self

    async def __aexit__(self, *_: object) -> None:
        self.listeners.close()
        self.wire.sessions.close_all("shutdown")
        self.wire.sessions.abort_all()

    @asynccontextmanager
    async def device(self, context: ssl.SSLContext | None) -> AsyncIterator[Streams]:
        """A device at the listener with TLS, or at the plain one; it leaves without a word."""
        host, port = self.tls if context else self.plain
        reader, writer = await asyncio.open_connection(host, port, ssl=context)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


async def until(condition: Callable[[], object]) -> None:
    """Wait for `condition`, for as long as a frozen clock cannot tell."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("It did not come to pass.")


def trusting(files: dict[str, Path]) -> ssl.SSLContext:
    """The device's side of TLS: it trusts the gateway's authority."""
    return ssl.create_default_context(cafile=files["ca"])


def gateway_files(files: dict[str, Path]) -> dict[str, Path]:
    """The settings that name the gateway's files."""
    return {"tls_cert": files["tls_cert"], "tls_key": files["tls_key"]}


async def greet(streams: Streams) -> None:
    """The device names itself and is let in."""
    reader, writer = streams
    writer.write(encode_handshake(IMEI))
    assert await reader.readexactly(1) == ACCEPT


async def answer(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the connection is closed, which has to be soon."""
    async with asyncio.timeout(PATIENCE):
        try:
            return await reader.read()
        except OSError:
            return b""

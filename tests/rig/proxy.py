"""A wire between gateways and Redis that can be told to fail: for whom, for which request, and how.

A request is known by the client that makes it (``telgw:{instance}:{purpose}``, as CLIENT SETNAME says) and
by its words.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import hiredis

CHUNK = 1 << 16


@dataclass(frozen=True)
class Request:
    """One command on its way; `purpose` is the client's name without ``telgw:``."""

    purpose: str
    words: tuple[bytes, ...]

    def says(self, text: str) -> bool:
        """Whether `text` is one of its words, or within one that is JSON."""
        told = text.encode()
        return any(word == told or (word[:1] == b"{" and told in word) for word in self.words)


Wanted = Callable[[Request], bool]


@dataclass
class Fault:
    """What befalls the requests that are `wanted`.

    Attributes:
        fate: ``lose`` carries the request out and drops its reply; ``silence`` lets nothing through from then
            on; ``delay`` holds the request up for `seconds`.
        left: how often it strikes; below zero for ever.
        empty: whether replies that tell nothing (nil, an empty list) are worth losing.
        hangs: after a lost reply the connection stays and is silent, instead of being reset.
        then: done after the loss, before the client learns of it.
        met: how often it struck.
    """

    fate: str
    wanted: Wanted
    left: int = -1
    empty: bool = False
    hangs: bool = False
    seconds: float = 0.0
    then: Callable[[], Awaitable[None]] | None = None
    met: int = field(default=0, init=False)

    def strikes(self, request: Request) -> bool:
        """Whether it is `request`'s turn; that counts."""
        if not self.left or not self.wanted(request):
            return False
        self.left -= 1
        self.met += 1
        return True

    def lift(self) -> None:
        """It is over for good."""
        self.left = 0


class Proxy:
    """Passes bytes to and from a server at 127.0.0.1.

    Attributes:
        url: for the gateways.
        faults: those in force.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._wires: set[_Wire] = set()
        self.faults: list[Fault] = []
        self.url = ""

    async def listen(self) -> asyncio.Server:
        """Take connections."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        return server

    def fault(self, fate: str, wanted: Wanted, left: int = -1, **more: Any) -> Fault:
        """A fault from now on."""
        self.faults.append(Fault(fate, wanted, left, **more))
        return self.faults[-1]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            to_server = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.close()
            return
        wire = _Wire(self.faults, (reader, writer), to_server)
        self._wires.add(wire)
        try:
            await wire.live()
        finally:
            self._wires.remove(wire)

    @property
    def busy(self) -> bool:
        """Whether any connection stands, or something is on its way."""
        return bool(self._wires)

    async def aclose(self) -> None:
        """Cut every connection."""
        for wire in self._wires:
            wire.cut()
        await asyncio.gather(*(wire.ended.wait() for wire in self._wires))


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Wire:
    """One connection of a client, and its counterpart to the server."""

    def __init__(self, faults: list[Fault], client: Ends, server: Ends) -> None:
        self._faults = faults
        self._from_client, self._to_client = client
        self._from_server, self._to_server = server
        self._purpose = ""
        self._asked: deque[Request] = deque()
        self._silent = False
        self.ended = asyncio.Event()

    async def live(self) -> None:
        """Pass bytes until an end closes."""
        ways = [asyncio.create_task(way()) for way in (self._up, self._down)]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        self.cut()
        outcomes = await asyncio.gather(*ways, return_exceptions=True)
        self.ended.set()
        for outcome in outcomes:
            if isinstance(outcome, Exception) and not isinstance(outcome, OSError):
                raise outcome

    def cut(self) -> None:
        """Break both ends off."""
        for writer in (self._to_client, self._to_server):
            writer.transport.abort()

    async def _up(self) -> None:
        parser = hiredis.Reader()
        while data := await self._from_client.read(CHUNK):
            parser.feed(data)
            while (words := parser.gets()) is not False:
                await self._ask(tuple(words))
            if not self._silent:
                self._to_server.write(data)

    async def _ask(self, words: tuple[bytes, ...]) -> None:
        if words[:2] == (b"CLIENT", b"SETNAME"):
            self._purpose = words[2].decode().removeprefix("telgw:")
        request = Request(self._purpose, words)
        self._asked.append(request)
        for fault in self._faults:
            if fault.fate == "silence" and fault.strikes(request):
                self._silent = True
            elif fault.fate == "delay" and fault.strikes(request):
                await asyncio.sleep(fault.seconds)

    async def _down(self) -> None:
        parser, held = hiredis.Reader(), b""
        while data := await self._from_server.read(CHUNK):
            held += data
            parser.feed(data)
            while (reply := parser.gets()) is not False:
                await self._answer(self._asked.popleft(), reply)
            if not self._silent and not parser.has_data():
                self._to_client.write(held)
                held = b""

    async def _answer(self, request: Request, reply: Any) -> None:
        for fault in self._faults:
            worth = fault.empty or reply not in (None, [])
            if fault.fate == "lose" and worth and fault.strikes(request):
                self._silent = True
                if fault.then:
                    await fault.then()
                if not fault.hangs:
                    self.cut()


@asynccontextmanager
async def proxy(port: int) -> AsyncIterator[Proxy]:
    """A proxy in front of the server at `port`, which ends with the block."""
    found = Proxy(port)
    server = await found.listen()
    try:
        yield found
    finally:
        server.close()
        await found.aclose()

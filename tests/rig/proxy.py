"""A wire between gateways and Redis that can be told to fail: for whom, for which request, and how.

A request is known by the client that makes it (``telgw:{instance}:{purpose}``, as CLIENT SETNAME says) and
by its words. A connection ends at one side as it has ended at the other: with FIN, or with RST.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import hiredis

CHUNK = 1 << 16
RST_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER with a time of zero: the kernel then ends the connection with RST instead of FIN."""
BAD_RECORD = b"\x17\x03\x03\x00\x20" + bytes(32)
"""A TLS record that authenticates as nobody's."""


@dataclass(frozen=True)
class Request:
    """One command on its way; `purpose` is the client's name without ``telgw:``."""

    purpose: str
    words: tuple[bytes, ...]

    def says(self, text: str) -> bool:
        """Whether `text` is one of its words, or within one that is JSON."""
        told = text.encode()
        return any(word == told or (word[:1] == b"{" and told in word) for word in self.words)


def is_of(name: str, purpose: str) -> bool:
    """Whether a client named so, without ``telgw:``, serves `purpose`; every client serves the empty one."""
    return purpose in ("", name) or name.endswith(f":{purpose}")


Wanted = Callable[[Request], bool]


@dataclass
class Fault:
    """What befalls the requests that are `wanted`.

    Attributes:
        fate: ``lose`` carries the request out and drops its reply; ``silence`` lets nothing through from then
            on; ``delay`` holds the request up for `seconds`; ``reset`` and ``close`` end the connection (RST,
            FIN) in place of passing the request on; ``halve`` carries it out and ends the connection in the
            middle of the reply; ``garble`` carries it out and answers `garbage` instead of the reply.
        left: how often it strikes; below zero for ever.
        empty: whether replies that tell nothing (nil, an empty list) are worth losing.
        garbage: what ``garble`` answers, or what makes that of the reply.
        hangs: after a lost reply the connection stays and is silent, instead of being reset.
        then: done after the loss, before the client learns of it.
        met: how often it struck.
    """

    fate: str
    wanted: Wanted
    left: int = -1
    empty: bool = False
    garbage: bytes | Callable[[Any], bytes] = b""
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
        port: of the server that new connections are led to.
        foreign: whether what is there speaks another protocol than Redis.
        through: set while anything passes at all.
        served: how many replies each client has had, by its purpose.
    """

    def __init__(self, port: int) -> None:
        self._wires: set[Wire] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False
        self.port = port
        self.foreign = False
        self.served: Counter[str] = Counter()
        self.faults: list[Fault] = []
        self.url = ""
        self.through = asyncio.Event()
        self.through.set()

    async def listen(
        self, at: socket.socket | None = None, tls: ssl.SSLContext | None = None
    ) -> asyncio.Server:
        """Take connections, on the listening socket `at` if there is one, and over `tls` if that is given."""
        at = at or socket.create_server(("127.0.0.1", 0))
        server = await asyncio.start_server(self._connected, sock=at, ssl=tls)
        host, port = at.getsockname()[:2]
        self.url = f"{'rediss' if tls else 'redis'}://{host}:{port}/0"
        return server

    def fault(self, fate: str, wanted: Wanted, left: int = -1, **more: Any) -> Fault:
        """A fault from now on."""
        self.faults.append(Fault(fate, wanted, left, **more))
        return self.faults[-1]

    def wires(self, purpose: str = "") -> list[Wire]:
        """The connections that stand, of all clients or of those for `purpose`."""
        return [wire for wire in self._wires if is_of(wire.purpose, purpose)]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await self._carry(reader, writer)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.through.wait()
        try:
            if self._closed:  # it was accepted at the last moment
                raise ConnectionAbortedError
            to_server = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            writer.close()
            return
        wire = Wire(self, (reader, writer), to_server)
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
        self._closed = True
        self.through.set()
        while self._tasks:
            for wire in self._wires:
                wire.cut()
            await asyncio.wait(self._tasks, timeout=0.05)


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Wire:
    """One connection of a client, and its counterpart to the server.

    Attributes:
        purpose: the client's name without ``telgw:``; empty before it has said it.
    """

    def __init__(self, proxy: Proxy, client: Ends, server: Ends) -> None:
        self._proxy = proxy
        self._from_client, self._to_client = client
        self._from_server, self._to_server = server
        self._asked: deque[Request] = deque()
        self._silent = False
        self._foreign = proxy.foreign
        self.purpose = ""

    async def live(self) -> None:
        """Pass bytes until an end closes."""
        ways = [asyncio.create_task(way()) for way in (self._up, self._down)]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        if any(way.done() and not way.cancelled() and way.exception() for way in ways):
            self.cut()
        else:
            self.close()
        outcomes = await asyncio.gather(*ways, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception) and not isinstance(outcome, OSError):
                raise outcome

    @property
    def idle(self) -> bool:
        """Whether its client waits for no reply."""
        return not self._asked

    def cut(self) -> None:
        """End both sides with RST."""
        for writer in (self._to_client, self._to_server):
            carrier = writer.get_extra_info("socket")  # None after the end of TLS
            with suppress(OSError):
                if carrier is not None:
                    carrier.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
            writer.transport.abort()

    def close(self) -> None:
        """End both sides with FIN, after what has been written."""
        for writer in (self._to_client, self._to_server):
            writer.close()

    def silence(self) -> None:
        """Let nothing through, without a word to either side: the connection is half open."""
        self._silent = True

    def disconnect(self) -> None:
        """FIN to the client at once, for TLS without the alert that belongs before it."""
        self._silent = True
        self._to_client.get_extra_info("socket").shutdown(socket.SHUT_WR)

    def spoil(self) -> None:
        """Put bytes into the stream of a TLS connection that are none of its own."""
        os.write(self._to_client.get_extra_info("socket").fileno(), BAD_RECORD)

    async def _up(self) -> None:
        parser = hiredis.Reader()
        while data := await self._from_client.read(CHUNK):
            await self._proxy.through.wait()
            parser.feed(data)
            while not self._silent and (words := parser.gets()) is not False:
                await self._ask(tuple(words))
            if not self._silent:
                self._to_server.write(data)

    async def _ask(self, words: tuple[bytes, ...]) -> None:
        if words[:2] == (b"CLIENT", b"SETNAME"):
            self.purpose = words[2].decode().removeprefix("telgw:")
        request = Request(self.purpose, words)
        self._asked.append(request)
        for fault in self._proxy.faults:
            if fault.fate in ("silence", "reset", "close") and fault.strikes(request):
                self._silent = True
                self._end(fault.fate)
            elif fault.fate == "delay" and fault.strikes(request):
                await asyncio.sleep(fault.seconds)

    def _end(self, fate: str) -> None:
        if fate == "reset":
            self.cut()
        elif fate == "close":
            self.close()

    async def _down(self) -> None:
        parser, held = hiredis.Reader(), b""
        while data := await self._from_server.read(CHUNK):
            await self._proxy.through.wait()
            if self._foreign:
                self._to_client.write(data)
                continue
            held += data
            parser.feed(data)
            while not self._silent and (reply := parser.gets()) is not False:
                request = self._asked.popleft() if self._asked else Request(self.purpose, ())
                held = await self._answer(request, reply, held)
            if not self._silent and not parser.has_data():
                self._to_client.write(held)
                held = b""

    async def _answer(self, request: Request, reply: Any, held: bytes) -> bytes:
        """What goes on to the client of the bytes that are `held` for it, the reply's at their end."""
        self._proxy.served[request.purpose] += 1
        for fault in self._proxy.faults:
            worth = fault.empty or reply not in (None, [])
            if fault.fate in ("lose", "halve", "garble") and worth and fault.strikes(request):
                if fault.then:
                    await fault.then()
                if fault.fate == "garble":
                    return fault.garbage(reply) if callable(fault.garbage) else fault.garbage
                self._silent = True
                if fault.fate == "halve":
                    self._to_client.write(held[: len(held) // 2])
                    self.close()
                elif not fault.hangs:
                    self.cut()
        return held


@asynccontextmanager
async def proxy(
    port: int, at: socket.socket | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Proxy]:
    """A proxy in front of the server at `port`, which ends with the block."""
    found = Proxy(port)
    server = await found.listen(at, tls)
    try:
        yield found
    finally:
        server.close()
        await found.aclose()

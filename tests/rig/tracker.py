"""A tracker on a real socket, and what it saw: bytes, acknowledged records, received commands."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from random import Random

from tests import wire_format
from tests.history import Bytes, History

MANNERS = (
    *["answer"] * 10,
    "late",
    "never",
    "twice",
    "nack",
    "disconnect",
    "answer and disconnect",
    "garbage",
)
"""What a tracker may do with a command, by chance; ``hold`` is to answer when the test says so."""
LATE = 1.3
"""Seconds after which a late answer comes: more than the gateways of the rig wait."""
TIME_LIMIT = 5.0
"""Seconds that a tracker waits for an accept byte or an ack before it tries another connection."""

CHUNK = 1 << 16
Address = tuple[str, int]
Dial = Callable[[Address], Awaitable[socket.socket]]


class Line(asyncio.Protocol):
    """One connection. Its name begins with ``?`` until the log tells which session it was."""

    def __init__(self, tracker: Tracker, address: Address) -> None:
        self.address = address
        self.opened = time.time() * 1000
        self.name = ""
        self.peer = ""
        self.ended = False
        self.forsaken = False
        self.down = wire_format.from_gateway()
        self.transport: asyncio.Transport | None = None
        self._tracker = tracker
        self._halved = False
        self._waiting: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        host, port = transport.get_extra_info("sockname")[:2]
        self.peer = f"{host}:{port}"
        self.name = f"?{self.peer}>{self.address[1]}@{self.opened:.3f}"
        self._tracker.opened(self)

    def data_received(self, data: bytes) -> None:
        self._tracker.record(self, False, data)
        self._tracker.heard(self, data)

    def connection_lost(self, error: Exception | None) -> None:
        self._read_rest()
        self.ended = True
        self._tracker.changed.set()

    def _read_rest(self) -> None:
        """Read what has come until the socket is closed: to the gateway it is received."""
        assert self.transport is not None
        with suppress(OSError):
            if rest := os.read(self.transport.get_extra_info("socket").fileno(), CHUNK):
                self.data_received(rest)

    @property
    def over(self) -> bool:
        """Whether the tracker has no use for it any more: it is broken, or left as it stood."""
        return self.ended or self.forsaken

    def send(self, data: bytes) -> None:
        """Write bytes, if the connection still stands; between two halves they wait."""
        if self._halved:
            self._waiting.append(data)
        elif not self.over and self.transport is not None:
            self._tracker.record(self, True, data)
            self.transport.write(data)

    async def send_halves(self, data: bytes, at: int) -> None:
        """Write bytes in two pieces."""
        self.send(data[:at])
        self._halved = True
        await asyncio.sleep(0)
        self._halved = False
        self.send(data[at:])
        waiting, self._waiting = self._waiting, []
        for late in waiting:
            self.send(late)

    def cut(self) -> None:
        """Break the connection off."""
        self.ended = True
        if self.transport is not None:
            self.transport.abort()


class Tracker:
    """One device: connects, reports until it is acknowledged, and obeys, or does not.

    Args:
        where: the address to connect to now, None while there is none.
        pause: mean seconds between two reports.
        time_limit: seconds that it waits for an accept byte or an ack.
        manners: what it may do with a command.
        mute: it sends no report until `speak`.
        dial: how it connects, if not in the plain way.
    """

    def __init__(
        self,
        imei: str,
        history: History,
        where: Callable[[], Address | None],
        random: Random,
        pause: float = 0.3,
        time_limit: float = TIME_LIMIT,
        manners: tuple[str, ...] = MANNERS,
        mute: bool = False,
        dial: Dial | None = None,
    ) -> None:
        self.imei = imei
        self.line: Line | None = None
        self.lines: list[Line] = []
        self.manners = manners
        self.changed = asyncio.Event()
        self.acks: list[float] = []
        self._history = history
        self._where = where
        self._mute = mute
        self._dial = dial
        self._held: list[Callable[[], None]] = []
        self._random = random
        self._pause = pause
        self._time_limit = time_limit
        self._clock = int(time.time() * 1000)
        self._outstanding: list[int] = []
        self._sent = 0.0
        self._kept: deque[list[int]] = deque()

    @property
    def accepted(self) -> bool:
        """Whether a gateway has accepted it on a connection that stands."""
        return self.line is not None and not self.line.over and bool(self.line.down.opening)

    @property
    def all_acknowledged(self) -> bool:
        """Whether it is connected and waits for no ack."""
        return self.accepted and not self._outstanding

    @property
    def at_ease(self) -> bool:
        """Whether it waits for nothing: all is acknowledged, or disconnected with nowhere to go."""
        return self.all_acknowledged or (self._where() is None and (self.line is None or self.line.over))

    async def live(self) -> None:
        """Connect, serve, and begin again; until it is cancelled."""
        try:
            while True:
                address = self._where()
                if address is not None:
                    await self._session(address)
                await asyncio.sleep(self._random.uniform(0.05, 0.25))
        finally:
            for line in self.lines:
                line.cut()

    def move(self, where: Callable[[], Address | None], *, silently: bool = False) -> None:
        """Leave the connection, `silently` without closing it, and connect where `where` says from now on.

        It connects in the plain way then.
        """
        self._where, self._dial = where, None
        if self.line is not None:
            self.line.forsaken = True
            if not silently:
                self.line.cut()
        self.changed.set()

    def speak(self) -> None:
        """Be mute no more."""
        self._mute = False
        self.changed.set()

    def answer(self) -> None:
        """Send the answers that were held."""
        held, self._held = self._held, []
        for send in held:
            send()

    async def _session(self, address: Address) -> None:
        line = Line(self, address)
        try:
            loop = asyncio.get_running_loop()
            if self._dial is None:
                await loop.create_connection(lambda: line, *address)
            else:
                await loop.create_connection(lambda: line, sock=await self._dial(address))
        except OSError:
            return
        self.line = line
        line.send(wire_format.hello(self.imei))
        accepted = await self._until(line, lambda: bool(line.down.opening))
        if accepted and await self._until(line, lambda: not self._mute):
            while await self._report(line):
                pass
        if not line.forsaken:
            line.cut()
        if self._outstanding:
            self._kept.append(self._outstanding)
            self._outstanding = []

    async def _report(self, line: Line) -> bool:
        self._outstanding = self._kept.popleft() if self._kept else self._measure()
        self._sent = time.monotonic()
        frame = wire_format.avl(self._outstanding)
        if self._random.random() < 0.2:
            await line.send_halves(frame, 20)
        else:
            line.send(frame)
        if not await self._until(line, lambda: not self._outstanding):
            return False
        await self._until(line, lambda: False, self._pause * self._random.uniform(0.2, 1.8))
        return not line.over

    def _measure(self) -> list[int]:
        count = self._random.choice((1, 1, 2, 3))
        self._clock += count
        return list(range(self._clock - count, self._clock))

    async def _until(self, line: Line, condition: Callable[[], bool], within: float | None = None) -> bool:
        """Wait for `condition` within the time limit, while the connection is usable; whether to go on."""
        try:
            async with asyncio.timeout(within or self._time_limit):
                while not condition() and not line.over:
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            return False
        return not line.over

    # What its lines tell

    def opened(self, line: Line) -> None:
        """A connection stands."""
        self.lines.append(line)
        self._history.connections[line.name] = self.imei

    def record(self, line: Line, up: bool, data: bytes) -> None:
        """Bytes passed."""
        self._history.traffic.append(Bytes(time.time() * 1000, line.name, up, data))

    def heard(self, line: Line, data: bytes) -> None:
        """Bytes came."""
        if line.forsaken:
            return
        for item in line.down.feed(data):
            if isinstance(item, int):
                self._acked()
            elif item is not None:
                self._command(line, item)
        self.changed.set()

    def _acked(self) -> None:
        self._history.acked += [(self.imei, timestamp) for timestamp in self._outstanding]
        self.acks.append(time.monotonic() - self._sent)
        self._outstanding = []

    def _command(self, line: Line, body: bytes) -> None:
        found = wire_format.read_message(body)
        if found is None or found.kind != wire_format.COMMAND:
            return
        self._history.received.add((self.imei, found.text.decode()))
        manner = self._random.choice(self.manners)
        answer = wire_format.message(found.codec, self.imei, wire_format.ANSWER, b"done: " + found.text)
        if manner == "nack" and found.codec == "14":
            answer = wire_format.message("14", self.imei, wire_format.NACK, b"")
        elif manner == "twice":
            answer += answer
        elif manner == "garbage":
            answer = b"\x47\x45\x54 / HTTP/1.1\r\n\r\n"
        if manner == "hold":
            self._held.append(partial(line.send, answer))
        elif manner not in ("never", "disconnect"):
            loop = asyncio.get_running_loop()
            loop.call_later(LATE if manner == "late" else self._random.choice((0.0, 0.02)), line.send, answer)
        if manner.endswith("disconnect"):
            asyncio.get_running_loop().call_later(0.03, line.cut)

"""A simulated tracker: it connects, sends records until they are acknowledged, and obeys, or does not."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from tests import wire_format
from tests.simulation.sockets import Socket

if TYPE_CHECKING:
    from tests.simulation.world import World

MANNERS = (
    *["answer"] * 8,
    *("late", "never", "twice", "nack", "nack", "broken", "ping first", "wrong imei", "other codec"),
    *("disconnect", "answer and disconnect", "vanish", "lose framing", "serial data first"),
)
"""What a device may do with a command."""
TIME_LIMIT = (3.0, 5.0, 12.0)
"""Seconds that a device may wait for the accept byte or an ack before it tries another connection."""
NAPS = (3.0, 8.0, 15.0)
"""About how many seconds a sleeping tracker is away before it connects again, for a moment."""


class Device:
    """One tracker, on one connection at a time; older ones may linger.

    Attributes:
        sleepy: it connects for a moment now and then.
        gone: it does not come back.
    """

    def __init__(self, world: World, number: int, *, sleepy: bool = False) -> None:
        self.sleepy = sleepy
        self.gone = False
        self.number = number
        self.imei = f"3569{number:011d}"
        self._world = world
        self._random = world.random
        self.speaks = self._random.random() < 0.3
        self._codec = self._random.choice(("8", "8", "8E", "16"))
        self._time_limit = self._random.choice(TIME_LIMIT)
        self._pause = (0.05, 0.5, 2.0)
        self._said = 0
        self._clock_ms = int(world.clock.wall() * 1000) + number
        self.host = f"10.0.0.{number}"
        self._roams = self._random.random() < 0.4
        self._socket: Socket | None = None
        self._outstanding: deque[list[int]] = deque()
        self._kept: list[list[int]] = []
        self._news = asyncio.Event()

    async def live(self, *, busy: bool = True) -> None:
        """Connect, serve, and begin again; a device that is not busy reports now and then."""
        if not busy:
            self._pause = (4.0, 8.0, 12.0)
        while True:
            process = None if self.gone else self._world.gate()
            if process is not None:
                self._roam()
                await self._session(Socket(self, process, self._random.uniform(0.001, 0.3)))
            pauses = NAPS if self.sleepy and not self._world.weather.calm else (0.01, 0.3, 1.5, 4.0)
            await asyncio.sleep(self._random.choice(pauses) * self._random.uniform(0.5, 1.0))

    @property
    def connected(self) -> bool:
        """Whether it has a connection on which it was accepted."""
        return self._socket is not None and bool(self._socket.down.opening)

    def _roam(self) -> None:
        """Its network may give it another address; or another device has its IMEI."""
        if self._roams and not self._world.weather.calm:
            self.host = f"10.0.{self._random.choice((0, 1))}.{self.number}"

    # A connection

    async def _session(self, socket: Socket) -> None:
        self._socket = socket
        self._kept[:0] = self._outstanding
        self._outstanding.clear()
        self._send_handshake(socket)
        if await self._until(lambda: bool(socket.down.opening)):
            self._speak(socket)
            while self._socket is socket and await self._report():
                pass
        if self._socket is socket:
            self._part(socket)

    def _send_handshake(self, socket: Socket) -> None:
        """Say who this is, seldom so that nobody can read it, or too slowly."""
        hello, what = wire_format.hello(self.imei), 1.0 if self._world.weather.calm else self._random.random()
        if what < 0.02:
            socket.send(b"\0\x0fGET / HTTP/1.1\r")
        elif what < 0.04:
            socket.send(hello[:9])
            socket.send(hello[9:], after=6.0)
        else:
            self._send_split(hello)

    def _part(self, socket: Socket) -> None:
        """Leave a connection: by closing it, or by going elsewhere while the gateway believes it open."""
        self._socket = None
        if self._world.weather.calm or self._random.random() < 0.6:
            socket.disconnect()
        elif self._random.random() < 0.5:
            socket.vanish()
        else:
            asyncio.get_running_loop().call_later(self._random.uniform(0.1, 5.0), socket.disconnect)

    async def _report(self) -> bool:
        """Send records and wait for their ack; False when it is time for another connection."""
        socket = self._socket
        assert socket is not None
        for _ in range(self._random.choice((1, 1, 1, 2))):
            self._send_frame()
        if not await self._until(lambda: not self._outstanding):
            return False
        await asyncio.sleep(self._random.choice(self._pause) * self._random.uniform(0.5, 1.5))
        return self._world.weather.calm or self._incident(socket)

    def _incident(self, socket: Socket) -> bool:
        """What may happen between two reports; False when the device leaves."""
        what = self._random.random()
        if what < 0.5:
            self._speak(socket)
        if what < (0.6 if self.sleepy else 0.04):
            return False
        if what < 0.06:
            socket.send(b"\xff")
        elif what < 0.08:
            socket.send(self._unidentified_bytes())
        elif what < 0.09:
            socket.send(wire_format.frame(b"\x0f\x01\x0b\0\0\0\0\x01"))
        elif what < 0.10:
            socket.send(wire_format.avl([self._clock_ms], self._codec)[: self._random.choice((3, 20))])
        elif what < 0.14:
            socket.reads = False
            if what < 0.12:
                asyncio.get_running_loop().call_later(self._random.choice((0.5, 3.0)), socket.read_again)
        return True

    def _speak(self, socket: Socket) -> None:
        """What its serial port has to say, if it speaks at all."""
        if self.speaks and self._socket is socket:
            texts = []
            for _ in range(self._random.choice((1, 1, 2, 3))):
                self._said += 1
                texts.append(b"serial %d" % self._said)
            socket.send(wire_format.serial(self._random.choice(("12", "13")), *texts))

    async def _until(self, condition: object) -> bool:
        """Wait for `condition` while bytes come, within the time limit of the device."""
        assert callable(condition)
        socket = self._socket
        try:
            async with asyncio.timeout(self._time_limit):
                while not condition():
                    if self._socket is not socket:
                        return False
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return self._socket is socket

    def _send_frame(self) -> None:
        frame = self._kept.pop(0) if self._kept else self._measure()
        self._outstanding.append(frame)
        self._send_split(wire_format.avl(frame, self._codec))

    def _measure(self) -> list[int]:
        count = self._random.choice((1, 1, 2, 3))
        self._clock_ms += 100 * count
        return [self._clock_ms + 100 * index for index in range(count)]

    def _send_split(self, data: bytes) -> None:
        assert self._socket is not None
        if self._random.random() < 0.2:
            cut = self._random.randrange(1, len(data))
            self._socket.send(data[:cut])
            self._socket.send(data[cut:], after=self._random.choice((0.0, 0.05, 1.0)))
        else:
            self._socket.send(data)

    # What comes

    def ended(self, socket: Socket) -> None:
        """The gateway closed the connection."""
        if self._socket is socket:
            self._socket = None
            self._news.set()

    def receive(self, socket: Socket, data: bytes) -> None:
        """Bytes from the gateway; on a connection that was left nobody minds them."""
        current = self._socket is socket
        for item in socket.down.feed(data):
            if isinstance(item, int):
                if current:
                    self._acked()
            elif item is not None:
                self._command(socket, item, current)
        self._news.set()

    def _acked(self) -> None:
        if self._outstanding:
            frame = self._outstanding.popleft()
            self._world.history.acked += [(self.imei, timestamp) for timestamp in frame]

    # Commands

    def _command(self, socket: Socket, body: bytes, current: bool) -> None:
        found = wire_format.read_message(body)
        if found is None or found.kind != wire_format.COMMAND:
            return
        self._world.history.received.add((self.imei, found.text.decode()))
        if not current:
            return
        manner = "answer" if self._world.weather.calm else self._random.choice(MANNERS)
        self._world.meet("manner", manner)
        self._world.note(f"{self.imei} gets {found.text.decode()!r} and will {manner}")
        delay = self._random.choice((0.0, 0.05, 1.0, 3.0))
        answer = wire_format.message(found.codec, self.imei, wire_format.ANSWER, b"done: " + found.text)
        self._obey(socket, manner, found, answer, delay)

    def _obey(
        self, socket: Socket, manner: str, command: wire_format.Message, answer: bytes, delay: float
    ) -> None:
        first = {
            "ping first": wire_format.message("12", "", wire_format.ANSWER, b""),
            "broken": answer[:-1] + bytes([answer[-1] ^ 1]),
            "lose framing": b"\x47\x45\x54 / HTTP/1.1\r\n\r\n",
            "wrong imei": wire_format.message("14", "350000000000009", wire_format.ANSWER, b"not me"),
            "other codec": wire_format.message(
                {"12": "14", "14": "12"}[command.codec], self.imei, 6, b"not this"
            ),
            "serial data first": wire_format.message("12", "", 0x0D, b"serial data"),
        }.get(manner, b"")
        if manner == "twice":
            answer += answer
        if manner == "nack" and command.codec == "14":
            answer = wire_format.message("14", self.imei, wire_format.NACK, b"")
        if manner == "late":
            delay = self._random.uniform(4.0, 20.0)
        silent = ("never", "broken", "wrong imei", "other codec", "disconnect", "vanish", "lose framing")
        # Serial data taken for an answer, then the answer itself: the second one is a residual risk.
        if self._random.random() < 0.5 and manner != "other codec":
            asyncio.get_running_loop().call_later(delay / 2, self._speak, socket)
        data = first + (b"" if manner in silent else answer)
        if data:
            asyncio.get_running_loop().call_later(delay, self._say, socket, data)
        if "disconnect" in manner or manner == "vanish":
            leave = socket.vanish if manner == "vanish" else socket.disconnect
            asyncio.get_running_loop().call_later(delay + 0.001, self._leave, socket, leave)

    def _say(self, socket: Socket, data: bytes) -> None:
        if self._socket is socket:
            socket.send(data)

    def _leave(self, socket: Socket, leave: object) -> None:
        assert callable(leave)
        leave()
        self.ended(socket)

    def _unidentified_bytes(self) -> bytes:
        """An answer that nobody asked for would be taken for the one that is owed: only others are sent."""
        return wire_format.message("12", "", wire_format.ANSWER, b"")

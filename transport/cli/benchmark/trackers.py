"""Simulated trackers on one thread: they send frames that are made beforehand, and answer commands."""

from __future__ import annotations

import random
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from fsm.errors import GatewayFault
from transport.settings import Address
from transport.teltonika.avl import Record, encode_avl
from transport.teltonika.command import encode_answer
from transport.teltonika.frame import CODEC_8E, CODEC_12
from transport.teltonika.handshake import encode_handshake

FRAMES = 64
"""Different frames that are sent in turn."""
PATIENCE = 10.0
"""Seconds in which a server has to accept its trackers, or to acknowledge what it was sent last."""
AT_ONCE = 64
"""Connections that are opened before their handshakes are answered."""
OF_ONE_SOURCE = 20_000
"""Connections from one address: it has 28,000 ports for them."""
NAP = 0.0001
"""Seconds between two looks when a rate is given: the processor is for others, too."""
WIDTHS = (1,) * 8 + (2,) * 6 + (4,) * 4 + (8,) * 2
"""Bytes of the IO values of a record, as devices send them: 130 bytes for a record."""
BITS = {1: 7, 2: 14, 4: 27, 8: 50}
"""Bits of a value that change: states, voltages, distances, identities."""


@dataclass(slots=True)
class Load:
    """What was acknowledged in a time: how many frames, how many seconds each took, and how long all took."""

    frames: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """The latency in ms that this share of the frames did not exceed."""
        ordered = sorted(self.latencies)
        return ordered[int(len(ordered) * share)] * 1000 if ordered else 0.0


def frames_of(records: int) -> list[bytes]:
    """Frames with so many records each."""
    now = int(time.time()) * 1000
    return [
        encode_avl(CODEC_8E, [_record(now + 1000 * (number * records + one)) for one in range(records)])
        for number in range(FRAMES)
    ]


def _record(timestamp: int) -> Record:
    mixed = timestamp * 0x9E3779B97F4A7C15
    io = {1 + 7 * at: (width, mixed >> at & (1 << BITS[width]) - 1) for at, width in enumerate(WIDTHS)}
    return Record.of(
        timestamp=timestamp, longitude=25.3, latitude=54.7, altitude=120, satellites=11, speed=60, io=io
    )


class Trackers:
    """Trackers with consecutive IMEIs; a context manager that ends their connections.

    Args:
        count: how many are connected when the context begins; `connect` adds more.
    """

    def __init__(self, address: Address, count: int, first_imei: int) -> None:
        self._address = address
        self._count = count
        self._first_imei = first_imei
        self.imeis: list[str] = []
        self._sockets: dict[int, socket.socket] = {}
        self._answers: dict[int, bytes] = {}
        self._poll = select.epoll()
        self._clock = time.perf_counter

    def __enter__(self) -> Trackers:
        try:
            self.connect(self._count)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._sockets.values():
            one.close()
        self._poll.close()

    def connect(self, count: int) -> None:
        """Connect so many more trackers, and wait until they are accepted.

        Raises:
            GatewayFault: the server does not accept them.
        """
        for begun in range(0, count, AT_ONCE):
            try:
                self._connect(min(AT_ONCE, count - begun))
            except OSError as error:
                raise GatewayFault(f"The trackers cannot connect to {self._address[0]}: {error}") from error

    def _connect(self, count: int) -> None:
        new = []
        for _ in range(count):
            imei = f"{self._first_imei + len(self.imeis):015d}"
            one = socket.create_connection(self._address, PATIENCE, self._source())
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[one.fileno()] = one
            self._answers[one.fileno()] = encode_answer(CODEC_12, imei, b"OK")
            self.imeis.append(imei)
            one.sendall(encode_handshake(imei))
            new.append(one)
        for one in new:
            if one.recv(1) != b"\x01":
                raise GatewayFault("A simulated tracker was not accepted.")
            self._poll.register(one, select.EPOLLIN)

    def _source(self) -> Address | None:
        """The address of the next tracker; None for the one that the system chooses."""
        place = len(self.imeis) // OF_ONE_SOURCE
        return (f"127.0.0.{1 + place}", 0) if place and self._address[0] == "127.0.0.1" else None

    def load(self, frames: Sequence[bytes], seconds: float, rate: float = 0.0, window: int = 0) -> Load:
        """Send frames, each tracker one at a time.

        Args:
            rate: frames a second of all trackers, at random times; 0 for as many as are acknowledged.
            window: frames that wait for their acknowledgement at any time; 0 for one of each tracker.
        """
        rush = _Rush(self._sockets, frames, self._clock)
        result, begun = Load(), self._clock()
        idle = deque(self._sockets)
        window = window or len(idle)
        due = begun
        while (now := self._clock()) < begun + seconds:
            while idle and len(rush.begun) < window and (not rate or due <= now):
                rush.send(idle.popleft())
                due += random.expovariate(rate) if rate else 0.0
            found = self._poll.poll(0 if rate else 0.05)
            for number, _ in found:
                if rush.acknowledged(number, result):
                    idle.append(number)
            if not found and rate and due > self._clock() + NAP:
                time.sleep(NAP)
        self._settle(rush, result)
        result.seconds = self._clock() - begun
        return result

    def report(self, frame: bytes) -> None:
        """Each tracker sends a frame, and all of them are acknowledged."""
        rush, result = _Rush(self._sockets, [frame], self._clock), Load()
        for number in self._sockets:
            rush.send(number)
            if len(rush.begun) == AT_ONCE:
                self._settle(rush, result)
        self._settle(rush, result)

    def _settle(self, rush: _Rush, result: Load) -> None:
        """Wait for the frames that are not acknowledged: their server has had most of its work with them."""
        until = self._clock() + PATIENCE
        while rush.begun:
            if self._clock() > until:
                raise GatewayFault("The server does not acknowledge the frames of simulated trackers.")
            for number, _ in self._poll.poll(0.1):
                rush.acknowledged(number, result)

    def answer(self) -> None:
        """Answer the commands that have come, or come within a millisecond."""
        for number, _ in self._poll.poll(0.001):
            one = self._sockets[number]
            with suppress(BlockingIOError):
                if one.recv(4096):
                    one.sendall(self._answers[number])


class _Rush:
    """The frames of one load.

    Attributes:
        begun: when a tracker sent the frame for which it waits.
    """

    def __init__(
        self, sockets: dict[int, socket.socket], frames: Sequence[bytes], clock: Callable[[], float]
    ) -> None:
        self._sockets = sockets
        self._frames = frames
        self._clock = clock
        self._sent = 0
        self._read: dict[int, int] = dict.fromkeys(sockets, 0)
        self.begun: dict[int, float] = {}

    def send(self, number: int) -> None:
        """The tracker sends its next frame."""
        self.begun[number] = self._clock()
        self._sockets[number].sendall(self._frames[self._sent % len(self._frames)])
        self._sent += 1

    def acknowledged(self, number: int, result: Load) -> bool:
        """Read what has come for a tracker; whether its frame is acknowledged, which is noted in `result`."""
        data = self._sockets[number].recv(4)
        if not data:
            raise GatewayFault("The server has closed the connection of a simulated tracker.")
        self._read[number] = (self._read[number] + len(data)) % 4
        if self._read[number] or number not in self.begun:
            return False
        result.frames += 1
        result.latencies.append(self._clock() - self.begun.pop(number))
        return True

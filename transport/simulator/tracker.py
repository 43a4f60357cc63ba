"""One simulated device: it connects, sends its IMEI and records, and answers commands."""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import Any

from transport.teltonika.avl import Record, encode_avl
from transport.teltonika.command import TYPE_COMMAND, Message, encode_answer, encode_nack, encode_serial
from transport.teltonika.errors import WireFault
from transport.teltonika.frame import CODEC_14, PACKET_LIMIT
from transport.teltonika.handshake import ACCEPT, encode_handshake

from .answers import answer_text
from .behaviour import Behaviour, Counters, Received
from .downlink import Downlink, DownlinkFault
from .uplink import Uplink
from .vehicle import Vehicle

READ_SIZE = 65_536
BACKLOG_LIMIT = 10_000
"""Records that a device keeps; if it cannot deliver them, it loses the oldest."""


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[str], Awaitable[Streams]]
"""Opens a connection to the gateway; an OSError if there is none."""


class _Lost(Exception):
    """The connection is over."""


class Tracker:
    """A device. ``run`` runs it; ``counters``, ``vehicle`` and ``connected`` may be read at any time.

    Args:
        imei: 15 digits; also the seed of all its random numbers.
        host, port: the address of the gateway.
        now_ms: the clock of the device, epoch ms.
        connect: opens a connection from the IMEI; by default one of plain TCP.

    Attributes:
        unreachable: why the last attempt ended before the gateway had accepted the device; None if it has.
    """

    def __init__(
        self,
        imei: str,
        host: str,
        port: int,
        behaviour: Behaviour | None = None,
        *,
        now_ms: Callable[[], int],
        connect: Connect | None = None,
    ) -> None:
        self.imei = imei
        self.address = (host, port)
        self.behaviour = behaviour or Behaviour()
        self.counters = Counters()
        self.vehicle = Vehicle(imei)
        self.connected = False
        self.unreachable: OSError | None = None
        self._now_ms = now_ms
        self._connect = connect or self._connect_plainly
        self._random = Random(int(imei))
        self._unacked: deque[Record] = deque(maxlen=BACKLOG_LIMIT)
        self._hurry = asyncio.Event()
        self._uplink = Uplink(imei, self.behaviour)
        self._acks: asyncio.Queue[int] = asyncio.Queue()
        self._answering: set[asyncio.Task[None]] = set()
        self._waiters: list[tuple[Callable[[Tracker], bool], asyncio.Future[None]]] = []

    async def run(self) -> None:
        """Run until `records_limit` records are acknowledged, or without end. Cancel it to stop the device.

        Without ``reconnect`` it ends after the first connection, or if the gateway cannot be reached.
        """
        attempts = 0
        while not self._finished:
            connections = self.counters.connections
            await self._connection()
            attempts = 0 if self.counters.connections > connections else attempts + 1
            if self._finished or not self.behaviour.reconnect:
                return
            asleep_for = self.behaviour.asleep_for
            await self._wait(self._pause(attempts) if asleep_for is None else asleep_for)

    async def reached(self, condition: Callable[[Tracker], bool]) -> None:
        """Return as soon as `condition` holds. It is checked now and after every change."""
        if not condition(self):
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append((condition, waiter))
            await waiter

    def report(self) -> None:
        """Send the next frame now, or connect again now, without the usual delay."""
        self._hurry.set()

    def drop(self) -> None:
        """Cut the connection, as if the device lost its power."""
        self._uplink.cut()

    async def send_raw(self, data: bytes) -> None:
        """Write `data` between two frames.

        Raises:
            ConnectionError: the device is not connected.
        """
        await self._uplink.send(data)

    @property
    def _finished(self) -> bool:
        limit = self.behaviour.records_limit
        return limit is not None and self.counters.records_acked >= limit

    def _pause(self, attempts: int) -> float:
        first, longest = self.behaviour.backoff
        wait = min(longest, first * 2.0 ** min(attempts, 16))
        return wait * self._random.uniform(0.75, 1.25)

    async def _connection(self) -> None:
        try:
            reader, writer = await self._connect(self.imei)
        except OSError as error:
            self.unreachable = error
            self._changed()
            return
        try:
            await self._session(reader, writer)
        except (OSError, EOFError, _Lost, WireFault, DownlinkFault) as error:
            self.counters.lost += 1
            if not self.connected:  # with TLS 1.3 a certificate is refused after the client's handshake
                closed = ConnectionAbortedError(errno.ECONNABORTED, "The connection was closed.")
                self.unreachable = error if isinstance(error, OSError) else closed
        finally:
            self._uplink.end()
            self.connected = False
            writer.transport.abort()
            self._changed()

    async def _connect_plainly(self, _: str) -> Streams:
        return await asyncio.open_connection(*self.address)

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(encode_handshake(self.imei))
        if await reader.readexactly(1) != ACCEPT:
            self.counters.rejected += 1
            return
        self._uplink.begin(writer)
        self._acks = asyncio.Queue()
        self.connected, self.unreachable = True, None
        self.counters.connections += 1
        self._changed()
        await self._all_until_first(
            self._listen(reader), self._report(), self._ping(), self._speak(), self._power_cut()
        )

    async def _all_until_first(self, *duties: Coroutine[Any, Any, None]) -> None:
        """Run all `duties` at the same time until one ends; then cancel the others."""
        tasks = [asyncio.ensure_future(duty) for duty in duties]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*tasks, *self._answering):
                task.cancel()
            await asyncio.gather(*tasks, *self._answering, return_exceptions=True)
        for task in done:
            task.result()

    async def _report(self) -> None:
        while not self._finished:
            self._measure()
            while self._unacked:
                await self._deliver()
            if not self._finished:
                await self._wait(self.behaviour.interval)

    def _measure(self) -> None:
        wanted = self.behaviour.records_per_frame
        if self.behaviour.records_limit is not None:
            wanted = min(wanted, self.behaviour.records_limit - self.counters.records_made)
        now, step = self._now_ms(), self.behaviour.interval / max(wanted, 1)
        for back in reversed(range(max(wanted, 0))):
            self.vehicle.drive(step)
            self._unacked.append(self.vehicle.record(self.behaviour.codec, now - round(back * step * 1000)))
            self.counters.records_made += 1

    async def _deliver(self) -> None:
        """Send the oldest records and wait for their acknowledgement. A wrong number keeps them."""
        frame, data = self._next_frame()
        await self._uplink.send_frame(data)
        self.counters.frames_sent += 1
        self.counters.records_sent += len(frame)
        self._changed()
        if self.counters.frames_sent == self.behaviour.drop_after_frames:
            raise _Lost
        async with asyncio.timeout(self.behaviour.ack_timeout):  # TimeoutError is an OSError
            acked = await self._acks.get()
        if acked != len(frame):
            self.counters.wrong_acks += 1
        else:
            for _ in frame:
                self._unacked.popleft()
            self.counters.records_acked += acked
        self._changed()

    def _next_frame(self) -> tuple[list[Record], bytes]:
        """The oldest records and their frame, as many as `records_per_frame` and the packet size allow."""
        records = list(self._unacked)[: self.behaviour.records_per_frame]
        while len(data := encode_avl(self.behaviour.codec, records)) > PACKET_LIMIT and len(records) > 1:
            del records[max(1, len(records) * PACKET_LIMIT // len(data)) :]
        return records, data

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        downlink = Downlink()
        while data := await reader.read(READ_SIZE):
            for item in downlink.feed(data):
                if isinstance(item, int):
                    self._acks.put_nowait(item)
                else:
                    self._take(*item)
        raise _Lost

    def _take(self, message: Message, frame: bytes) -> None:
        self.counters.commands.append(Received(message.codec, message.imei, message.payload, frame))
        self._changed()
        if message.type == TYPE_COMMAND:
            task = asyncio.ensure_future(self._answer(message, replace(self.behaviour)))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def _answer(self, message: Message, behaviour: Behaviour) -> None:
        """Answer as `behaviour` says, which is the one of the time when the command came."""
        mode = behaviour.answers
        await asyncio.sleep(behaviour.answer_delay)
        refused = message.codec == CODEC_14 and (mode == "nack" or message.imei != self.imei)
        command = message.payload.decode("latin-1")
        text = None if refused else answer_text(self.vehicle, command, self._now_ms())
        if mode == "never" or (text is None and not refused):
            return
        if mode == "late":
            await asyncio.sleep(behaviour.late_by)
        frame = (
            encode_nack(self.imei) if text is None else encode_answer(message.codec, self.imei, text.encode())
        )
        with suppress(OSError, _Lost):  # the reader notices it, too, and ends the connection
            for _ in range(2 if mode == "twice" else 1):
                await self._uplink.send_frame(frame)
                self.counters.nacks_sent += refused
                self.counters.answers_sent += not refused
        self._changed()

    async def _ping(self) -> None:
        while (interval := self.behaviour.ping_interval) is not None:
            await asyncio.sleep(interval)
            await self.send_raw(b"\xff")
            self.counters.pings_sent += 1
            self._changed()
        await asyncio.Event().wait()

    async def _speak(self) -> None:
        """Send serial-port data each time there are enough messages for a frame."""
        behaviour = self.behaviour
        while (interval := behaviour.serial_interval) is not None:
            await asyncio.sleep(interval)
            readings = [self.vehicle.reading() for _ in range(behaviour.serial_merge)]
            await self._uplink.send_frame(
                encode_serial(behaviour.serial_codec, readings, self._now_ms() // 1000)
            )
            self.counters.serial_sent += len(readings)
            self._changed()
        await asyncio.Event().wait()

    async def _power_cut(self) -> None:
        if self.behaviour.cut_after is None:
            await asyncio.Event().wait()
        else:
            await asyncio.sleep(self.behaviour.cut_after)
        raise _Lost

    async def _wait(self, seconds: float) -> None:
        """Wait, or return at once if `report` is called."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        self._hurry.clear()

    def _changed(self) -> None:
        for waiter in [*self._waiters]:
            if waiter[1].done() or waiter[0](self):
                self._waiters.remove(waiter)
                if not waiter[1].done():
                    waiter[1].set_result(None)

"""A TCP connection between a simulated device and a gateway, without sockets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests import wire_format
from tests.history import Bytes

if TYPE_CHECKING:
    from tests.simulation.device import Device
    from tests.simulation.process import Process

KERNEL_TIMEOUT = 6.0
"""Seconds after which the gateway's kernel gives up a peer that has vanished."""
STEP = 1e-6


class Socket:
    """The gateway's transport (the methods that asyncio has) and the device's end (the rest).

    Bytes of one direction arrive in the order in which they were sent. A `cut` connection loses everything
    and tells nobody; a device that does not `read` lets bytes pile up on the gateway's side.
    """

    def __init__(self, device: Device, process: Process, latency: float) -> None:
        self.device = device
        self._host = device.host
        self._process = process
        self._history = process.world.history
        self._loop = asyncio.get_running_loop()
        self._latency = latency
        self._ready = {"up": 0.0, "down": 0.0}
        self._piled: list[bytes] = []
        self._held: list[bytes] | None = None
        self._unread = 0
        self._high = 1 << 30
        self.down = wire_format.from_gateway()
        self.cut = False
        self.reads = True
        self.closing = False
        self.over = False
        self.protocol: Any = process.accept(self)

    @property
    def open(self) -> bool:
        """Whether the gateway has no reason to believe it closed."""
        return not self.closing and not self.over

    # The gateway's side

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return (self._host, 40_000) if name == "peername" else default

    def set_protocol(self, protocol: Any) -> None:
        """Reads have no size here."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        # A run is short, so an ack and a command can be too much for one that does not read, or they cannot.
        self._high = self._process.world.random.choice((30, 300))

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self._piled))

    def unacknowledged(self) -> int:
        """Bytes that the device's TCP has not acknowledged."""
        return self._unread

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes) -> None:
        if self.over or self._process.dead:
            return
        self._history.traffic.append(Bytes(self._now_ms(), self.protocol.session_id, False, data))
        self._unread += len(data)
        if not self.reads:
            self._piled.append(data)
            if self.get_write_buffer_size() > self._high:
                self.protocol.pause_writing()
        else:
            self._later("down", self._arrive_at_device, data)

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self._process.soon(self._lost)
            self._later("down", self.device.ended, self)

    abort = close

    def pause_reading(self) -> None:
        self._held = self._held or []

    def resume_reading(self) -> None:
        held, self._held = self._held or [], None
        for data in held:
            self._process.soon(self._read, data)

    def kill(self) -> None:
        """The gateway's process is gone."""
        self.closing = self.over = True
        self._later("down", self.device.ended, self)

    def _lost(self) -> None:
        if not self.over:
            self.over = True
            if not self._process.dead:
                self.protocol.connection_lost(None)

    # The device's side

    def send(self, data: bytes, after: float = 0.0) -> None:
        """Send from the device, `after` seconds from now or from what was sent before."""
        self._later("up", self._arrive_at_gateway, data, after=after)

    def disconnect(self) -> None:
        """Close from the device."""
        self._later("up", self._closed_by_device)

    def read_again(self) -> None:
        """Read what has piled up, and go on."""
        self.reads = True
        piled, self._piled = self._piled, []
        for data in piled:
            self._later("down", self._arrive_at_device, data)

    def vanish(self) -> None:
        """The device is gone without a word; the gateway's kernel notices in time."""
        self.cut = True
        self._loop.call_later(KERNEL_TIMEOUT, self._process.soon, self._lost)

    # On the way

    def _later(self, way: str, call: Any, *args: Any, after: float = 0.0) -> None:
        at = max(self._loop.time(), self._ready[way]) + after
        at = max(at, self._loop.time() + self._latency) + STEP
        self._ready[way] = at
        self._loop.call_at(at, self._if_connected, call, *args, context=self._process.world.context)

    def _if_connected(self, call: Any, *args: Any) -> None:
        if not self.cut:
            call(*args)

    def _arrive_at_device(self, data: bytes) -> None:
        self._unread -= len(data)
        self.device.receive(self, data)

    def _arrive_at_gateway(self, data: bytes) -> None:
        self._process.soon(self._read, data)

    def _read(self, data: bytes) -> None:
        if self.closing or self._process.dead:
            return
        if self._held is not None:
            self._held.append(data)
            return
        self._history.traffic.append(Bytes(self._now_ms(), self.protocol.session_id, True, data))
        self.protocol.received(data)

    def _closed_by_device(self) -> None:
        self._process.soon(self._end_of_file)

    def _end_of_file(self) -> None:
        self.closing = True
        self._lost()

    def _now_ms(self) -> float:
        return self._process.world.clock.wall() * 1000

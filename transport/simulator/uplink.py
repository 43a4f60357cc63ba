"""What a simulated device writes to its connection: whole frames, in pieces if it is told to."""

from __future__ import annotations

import asyncio

from .behaviour import Behaviour


class Uplink:
    """The writing half of the connection of a device. Frames never mix, whoever writes them."""

    def __init__(self, imei: str, behaviour: Behaviour) -> None:
        self._imei = imei
        self._behaviour = behaviour
        self._writing = asyncio.Lock()
        self._writer: asyncio.StreamWriter | None = None

    def begin(self, writer: asyncio.StreamWriter) -> None:
        """The device is accepted on this connection."""
        self._writer = writer

    def end(self) -> None:
        """The connection is over."""
        self._writer = None

    def cut(self) -> None:
        """Abort the connection, if there is one."""
        if self._writer is not None:
            self._writer.transport.abort()

    async def send(self, data: bytes) -> None:
        """Write `data` at once, between two frames.

        Raises:
            ConnectionError: the device is not connected.
        """
        async with self._writing:
            await self._put(data)

    async def send_frame(self, frame: bytes) -> None:
        """Write a frame, in pieces of ``split`` bytes if the behaviour says so.

        Raises:
            ConnectionError: the device is not connected.
        """
        size = self._behaviour.split or len(frame)
        async with self._writing:
            for at in range(0, len(frame), size):
                await self._put(frame[at : at + size])
                if at + size < len(frame):
                    await asyncio.sleep(self._behaviour.split_pause)

    async def _put(self, data: bytes) -> None:
        if self._writer is None:
            raise ConnectionError(f"The simulated device {self._imei} is not connected.")
        self._writer.write(data)
        await self._writer.drain()

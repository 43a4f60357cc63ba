"""A device on a real socket, and a gateway in this process on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis

from transport.daemon.gateway import Gateway
from transport.settings import Settings
from transport.teltonika.avl import Record, encode_avl
from transport.teltonika.command import Message, decode_message, encode_answer
from transport.teltonika.frame import CODEC_8, CODEC_12
from transport.teltonika.handshake import encode_handshake

IMEI = "352093081452251"
LOCAL = ("127.0.0.1", 0)
RECORD = Record.of(timestamp=1_767_225_600_000, longitude=25.2797, latitude=54.6872, satellites=9)


class Device:
    """A device that does what a test says."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    @asynccontextmanager
    async def at(cls, host: str, port: int) -> AsyncIterator[Device]:
        """A device that has connected."""
        device = cls(*await asyncio.open_connection(host, port))
        try:
            yield device
        finally:
            device._writer.transport.abort()

    async def name_itself(self, imei: str = IMEI) -> bytes:
        """Say the IMEI; the gateway's answer."""
        self._writer.write(encode_handshake(imei))
        return await self._reader.readexactly(1)

    async def report(self) -> int:
        """Send a frame of one record; how many the gateway acknowledges."""
        self._writer.write(encode_avl(CODEC_8, [RECORD]))
        return int.from_bytes(await self._reader.readexactly(4), "big")

    async def command(self) -> Message:
        """The next command."""
        head = await self._reader.readexactly(8)
        body = await self._reader.readexactly(int.from_bytes(head[4:], "big") + 4)
        return decode_message(body[:-4])

    def say(self, frame: bytes) -> None:
        """Send a frame."""
        self._writer.write(frame)

    def answer(self, text: bytes) -> None:
        """Answer a codec 12 command."""
        self._writer.write(encode_answer(CODEC_12, IMEI, text))


@asynccontextmanager
async def running(url: str, **given: Any) -> AsyncIterator[tuple[Gateway, tuple[str, int]]]:
    """A gateway, and where it listens; it ends in order with the test."""
    settings = Settings(**{"instance_id": "gw-1", "listen": (LOCAL,), "metrics": None} | given)
    gateway = Gateway(settings, url)
    ready: asyncio.Future[list[tuple[str, int]]] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(gateway.run(ready.set_result))
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    try:
        yield gateway, ready.result()[0]
    finally:
        gateway.stop()
        await task


async def told(client: Redis, *wanted: tuple[str, str], stream: str = "commands:responses") -> dict[str, str]:
    """The first entry of the log with these values, as soon as it is there."""
    start: Any = "0"
    while True:
        for _, entries in await client.xread({stream: start}, block=500) or ():
            start = entries[-1][0]
            for _, raw in entries:
                fields = {name.decode(): value.decode() for name, value in raw.items()}
                if all(fields.get(name) == value for name, value in wanted):
                    return fields

"""A server that speaks Redis' protocol, and answers what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

Reply = Any
"""``str`` for OK and the like, ``Exception`` for an error, None, ``int``, ``bytes``, a list of these, or
``...`` for silence."""


SETUP = {"CLIENT": "OK", "PING": "PONG"}


def spell(reply: Reply) -> bytes:
    """A reply on the wire."""
    match reply:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % reply
        case bytes():
            return b"$%d\r\n%s\r\n" % (len(reply), reply)
        case str():
            return b"+%s\r\n" % reply.encode()
        case Exception():
            return b"-%s\r\n" % str(reply).encode()
    return b"*%d\r\n%s" % (len(reply), b"".join(map(spell, reply)))


class Server:
    """One server on a port of its own.

    Attributes:
        answer: from the words of a command to the reply.
        calls: the commands that came, without those that set the connection up.
        connections: how many have ever been made.
    """

    def __init__(self, answer: Callable[[list[str]], Reply]) -> None:
        self.answer = answer
        self.calls: list[list[str]] = []
        self.connections = 0
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readline():
                words = []
                for _ in range(int(head[1:])):
                    length = int((await reader.readline())[1:])
                    words.append((await reader.readexactly(length + 2))[:-2].decode())
                if words[0] in SETUP:
                    writer.write(spell(SETUP[words[0]]))
                    continue
                self.calls.append(words)
                reply = self.answer(words)
                if reply is not ...:
                    writer.write(spell(reply))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def disconnect(self) -> None:
        """Close every connection."""
        for writer in self._writers:
            writer.close()
        self._writers.clear()


@asynccontextmanager
async def serving(answer: Callable[[list[str]], Reply]) -> AsyncIterator[Server]:
    """A server for the time of the block."""
    server = Server(answer)
    listener = await asyncio.start_server(server._accept, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        server.disconnect()
        await asyncio.gather(*server._tasks, return_exceptions=True)
        await listener.wait_closed()

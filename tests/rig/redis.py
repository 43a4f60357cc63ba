"""A Redis of one's own: killed, frozen, and started again on the same port and the same data."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from redis import Redis

from store.embedded import _binary
from store.state_directory import HOST
from tests.rig.local import answers
from tests.rig.ports import free_port

PERSISTENCE = {
    "always": ("--appendonly", "yes", "--appendfsync", "always"),
    "everysec": ("--appendonly", "yes", "--appendfsync", "everysec"),
    "none": ("--appendonly", "no"),
}


class RedisServer:
    """A server process.

    Args:
        directory: its data and its log.
        persistence: how it keeps what it is told, a key of `PERSISTENCE`.

    Attributes:
        url: the same in all its lives.
    """

    def __init__(self, directory: Path, persistence: str) -> None:
        self._directory = directory
        self._persistence = PERSISTENCE[persistence]
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.url = f"redis://{HOST}:{self.port}/0"

    async def start(self, *more: str) -> None:
        """Start it, with `more` options, and wait until it has loaded its data and answers."""
        self._spawn(more)
        await asyncio.to_thread(self._wait)

    def _spawn(self, more: tuple[str, ...]) -> None:
        options = [
            *("--bind", HOST, "--port", str(self.port), "--dir", str(self._directory)),
            *("--save", "", "--repl-diskless-sync-delay", "0"),
        ]
        with (self._directory / f"{self.port}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(_binary()), *options, *self._persistence, *more], stdout=log, stderr=subprocess.STDOUT
            )

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + 20
        while not answers(self.port, self._process.pid):
            assert self._process.poll() is None, "the server did not start"
            assert time.monotonic() < deadline, "the server did not answer"
            time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL, if it lives."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """SIGSTOP, and SIGCONT at the end of the block."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def client(self) -> Redis:
        """A client that blocks the caller, for what an operator does."""
        return Redis(host=HOST, port=self.port, protocol=2, decode_responses=True)


@asynccontextmanager
async def redis_server(directory: Path, persistence: str = "none") -> AsyncIterator[RedisServer]:
    """A running server that ends with the block."""
    server = RedisServer(directory, persistence)
    try:
        await server.start()
        yield server
    finally:
        server.kill()

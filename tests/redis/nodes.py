"""Redis servers as processes that are killed, frozen and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from redis import Redis
from redis.exceptions import RedisError

from store.embedded import die_with
from tests.conftest import REDIS_SERVER
from tests.rig.ports import free_port

HOST = "127.0.0.1"
T = TypeVar("T")


def until(condition: Callable[[], T | None], what: str, within: float = 20.0) -> T:
    """Wait for `condition` to yield something, and return that; a server that is away yields nothing."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            if found := condition():
                return found
        except RedisError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"It did not come to pass within {within} s: {what}")


class Node:
    """A process of a server with a directory and a port of its own, which it keeps."""

    def __init__(
        self,
        directory: Path,
        *options: str,
        config: Callable[[int, Path], str] | None = None,
        server: Path = REDIS_SERVER,
    ) -> None:
        directory.mkdir()
        self.directory = directory
        self.port = free_port()
        self.client: Any = Redis(host=HOST, port=self.port, protocol=2, socket_timeout=5)
        self._server = server
        self._options = options
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Node:
        """Start it and wait until it answers. Its life is tied to the thread that starts it: the main one."""
        arguments = ["--port", str(self.port), "--bind", HOST, "--dir", str(self.directory), *self._options]
        if self._config is not None:
            file = self.directory / "sentinel.conf"
            file.write_text(self._config(self.port, self.directory))
            arguments = [str(file), "--sentinel"]
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._server), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with(os.getpid()),
            )
        until(self.client.ping, f"a server on port {self.port}, see {self.directory}/server.log")
        return self

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def signal(self, number: int) -> None:
        """Send a signal, if it lives."""
        if self._process is not None and self.alive:
            self._process.send_signal(number)

    def freeze(self) -> None:
        """It stands still, and its connections stay open."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on where it stood."""
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(10)
        self.client.connection_pool.disconnect()

    def end(self) -> None:
        """Kill it, and let go of it."""
        self.kill()
        self.client.close()

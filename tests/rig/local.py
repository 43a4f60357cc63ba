"""A Redis of the tests' own, on a port and a socket, without a password: one that any program may talk to."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from store.embedded import _binary, die_with
from store.state_directory import HOST
from tests.rig.ports import free_port

START_TIMEOUT = 20.0


def answers(port: int, pid: int) -> bool:
    """Whether the process `pid`, and nobody else, serves on `port` and has loaded its data."""
    client = Redis(host=HOST, port=port, protocol=2, socket_timeout=1, retry=Retry(NoBackoff(), 0))
    try:
        return bool(client.ping()) and client.info("server").get("process_id") == pid
    except RedisError:
        return False
    finally:
        client.close()


class LocalServer:
    """A running server that keeps its data. A context manager: leaving it stops the server.

    Attributes:
        url: for `store.client.client.connect`.
        socket: its Unix socket, if the path is not too long for one.
    """

    def __init__(self, directory: Path, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self.url = f"redis://{HOST}:{port}/0"
        self.pid = process.pid
        self.socket = directory / "server.sock"
        self._process = process

    @classmethod
    def start(cls, directory: Path, port: int = 0, *, binary: Path | None = None) -> LocalServer:
        """Start a server on `port`, 0 for a free one, and wait until it answers."""
        port = port or free_port()
        options = [
            *("--bind", HOST, "--port", str(port), "--dir", str(directory)),
            *("--unixsocket", str(directory / "server.sock")),
            *("--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"),
        ]
        with (directory / "server.log").open("ab") as log:
            process = subprocess.Popen(
                [str(binary or _binary()), *options],
                stdout=log,
                stderr=log,
                process_group=0,
                preexec_fn=die_with(os.getpid()),
            )
        deadline = time.monotonic() + START_TIMEOUT
        while not answers(port, process.pid):
            assert process.poll() is None, (directory / "server.log").read_text()[-2000:]
            assert time.monotonic() < deadline, "the server did not answer"
            time.sleep(0.005)
        return cls(directory, port, process)

    def stop(self) -> None:
        """End it, politely; its data stays."""
        self._process.terminate()
        self._process.wait(10)

    def __enter__(self) -> LocalServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

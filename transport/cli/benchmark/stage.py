"""What is measured together: one Redis, and the servers beside it, each on the cores that it may use."""

from __future__ import annotations

import asyncio
import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from store.client.client import connect
from store.embedded import EmbeddedServer
from transport.settings import Address, as_text

from . import processes
from .measuring import Server
from .outcome import FLOOR, GATEWAY

INSTANCE = "bench"
REWRITTEN = "1gb"
"""The size from which on the append-only file is rewritten. Meanwhile Redis takes twice as much for a record,
and with its own setting it would do that in some measurements and not in others."""


class Stage:
    """A Redis of its own, which is deleted at the end, and servers that are started as they are needed.

    The first gateway has no prefix of keys, each later one has its own.

    Args:
        apart: a server has one core, and Redis and the trackers, which are in this process, have the others.
            Without it all of them share all cores.
    """

    def __init__(self, stack: ExitStack, *, apart: bool = True) -> None:
        self._stack = stack
        _open_files(stack)
        self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="telgw-bench-")))
        every = sorted(os.sched_getaffinity(0))
        stack.callback(os.sched_setaffinity, 0, set(every))
        self._cores = every[:1] if apart else every
        if apart and len(every) > 1:
            os.sched_setaffinity(0, set(every[1:]))
        redis = stack.enter_context(EmbeddedServer.start(self.directory))
        self.url, self._redis_pid = redis.url, redis.pid
        asyncio.run(_rewrite_seldom(redis.url))
        self._started = 0

    def start(self, *options: str, name: str = GATEWAY, workers: int = 1) -> Server:
        """A gateway that runs to the end; with a prefix of its own, beside others."""
        return self._stack.enter_context(self.gateway(*options, name=name, workers=workers))

    @contextmanager
    def gateway(self, *options: str, name: str = GATEWAY, workers: int = 1) -> Iterator[Server]:
        """A gateway with these options of ``telgw run``."""
        self._started += 1
        own = ("--key-prefix", f"{INSTANCE}{self._started}:") if self._started > 1 else ()
        run = processes.gateway(self.url, INSTANCE, self._cores, *own, *options, workers=workers)
        with run as (pids, port):
            yield Server(name, (processes.LOOPBACK, port), pids, (self._redis_pid,))

    def floor(self) -> Iterator[Server]:
        """The server that does the least; none without a C compiler."""
        if program := processes.build_floor(self.directory):
            pids, port = self._stack.enter_context(processes.floor(program, self._cores))
            yield Server(FLOOR, (processes.LOOPBACK, port), pids)

    def others(self, against: tuple[Address, ...]) -> Iterator[Server]:
        """Servers that run already."""
        for address in against:
            here = address[0] in ("localhost", processes.LOOPBACK, "::1")
            yield Server(as_text(address), address, processes.listeners(address[1]) if here else ())


async def _rewrite_seldom(url: str) -> None:
    client: Any = connect(url, purpose="bench")
    try:
        await client.config_set("auto-aof-rewrite-min-size", REWRITTEN)
    finally:
        await client.aclose()


def _open_files(stack: ExitStack) -> None:
    """Let this process, and what it starts, have as many open files as the system allows."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, before)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))

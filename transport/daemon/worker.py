"""One worker of a supervisor, as the supervisor sees it: a process that is started, signalled and awaited."""

from __future__ import annotations

import asyncio
import pickle
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import structlog

from transport.settings import Settings

log = structlog.get_logger("telgw")


class Worker:
    """A worker, which may run or not.

    Args:
        number: from 1.
        program: its command line.

    Attributes:
        restarts: how often it was started again.
    """

    def __init__(self, number: int, settings: Settings, program: Sequence[str]) -> None:
        self.number = number
        self.restarts = 0
        self._settings = settings
        self._program = program
        self._process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> bool:
        """Whether its process exists."""
        return self._process is not None and self._process.returncode is None

    @property
    def pages(self) -> Path:
        """The socket on which it serves its pages."""
        assert isinstance(self._settings.metrics, Path)
        return self._settings.metrics

    async def run(self) -> int:
        """Start its process, and wait for its end; its exit status, or the negative number of a signal."""
        self.pages.unlink(missing_ok=True)
        # In its own session, so that Ctrl-C at a terminal reaches the supervisor only.
        process = self._process = await asyncio.create_subprocess_exec(
            *self._program, stdin=asyncio.subprocess.PIPE, start_new_session=True
        )
        log.info(
            "worker_started", worker=self.number, instance_id=self._settings.instance_id, pid=process.pid
        )
        assert process.stdin is not None
        # The pipe stays open: its end tells the worker that the supervisor is gone.
        process.stdin.write(pickle.dumps(self._settings))
        return await process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it runs."""
        if self._process is not None and self.running:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)


def read_settings(stream: BinaryIO) -> Settings:
    """The settings that `Worker.run` has written; `stream` must not be buffered beyond them.

    Raises:
        EOFError, pickle.UnpicklingError: there are none.
    """
    settings: Settings = pickle.load(stream)
    return settings

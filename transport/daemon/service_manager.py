"""What a process tells systemd: that it is ready, reloads, stops, and that its event loop runs.

The protocol is that of ``sd_notify(3)``: lines in datagrams to the socket that ``NOTIFY_SOCKET`` names.
Without that variable nothing is sent. systemd accepts messages of the main process only, so the variables are
taken out of the environment before other processes are started.

`told` runs in the event loop that serves devices: when that loop hangs, the watchdog of the unit notices.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager, suppress

import structlog

log = structlog.get_logger("telgw")

TOLD_EVERY = 5.0
"""Seconds between two messages about the state, if the watchdog does not ask for more."""
ASKED_EVERY = 0.2
"""Seconds between two questions whether the start is over."""
SENT_WITHIN = 0.1
"""Seconds that a message may take when the socket of systemd is full."""

Serves = Callable[[], Awaitable[bool]]


class ServiceManager:
    """systemd, as the process that it has started sees it.

    Args:
        environment: of this process; the variables of the protocol are removed from it.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        name = environment.pop("NOTIFY_SOCKET", "")
        watchdog = environment.pop("WATCHDOG_USEC", "")
        pid = environment.pop("WATCHDOG_PID", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name
        ours = watchdog.isdecimal() and pid in ("", str(os.getpid()))
        self._every = min(TOLD_EVERY, int(watchdog) / 2_000_000) if ours else TOLD_EVERY

    def ready(self) -> None:
        """The start, or a reload, is over."""
        self._send("READY=1")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The shutdown begins."""
        self._send("STOPPING=1")

    @asynccontextmanager
    async def told(self, state: Callable[[], str], serves: Serves | None = None) -> AsyncIterator[None]:
        """Within the block systemd hears that the event loop runs, and the state of the process in a line.

        Args:
            serves: asked until it is true, and then the start is over. Without it the caller says so.
        """
        if not self._address:
            yield
            return
        task = asyncio.create_task(self._keep_told(state, serves), name="service manager")
        task.add_done_callback(_report)
        try:
            yield
        finally:
            task.cancel()

    async def _keep_told(self, state: Callable[[], str], serves: Serves | None) -> None:
        while True:
            if serves and await serves():
                self.ready()
                serves = None
            self._send(f"WATCHDOG=1\nSTATUS={state()}")
            await asyncio.sleep(ASKED_EVERY if serves else self._every)

    def _send(self, lines: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(SENT_WITHIN)
            sock.sendto(lines.encode(), self._address)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("task_failed", task=task.get_name(), exc_info=error)

"""The signal handlers of a gateway process.

These are not handlers of the event loop: a second SIGTERM has to end a process whose event loop is stuck or
closed. A handler can interrupt the main thread anywhere, so it only counts, and passes the work to the loop.

Other signals that would end the process are logged. They get a handler instead of SIG_IGN, because programs
that are started from here would inherit SIG_IGN.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any

import structlog

from transport.logs import say_at_once

log = structlog.get_logger("telgw")

EXIT_SECOND_SIGNAL = 130
ENDING = (signal.SIGTERM, signal.SIGINT)
HARMLESS = (
    *(signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM),
    *(signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO, signal.SIGPIPE),
)
"""Signals that end a process by default, and that a gateway survives."""


class Signals:
    """The handlers of a process, from now until `restore`. Outside the main thread none are set.

    Args:
        stop: called in the event loop at the first SIGTERM or SIGINT. A second one ends the process at once
            with status 130.

    Attributes:
        last: called before that end, in the handler: it must not wait or log.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._actions: dict[int, Callable[[], None]] = {
            **{number: partial(_ignored, number) for number in HARMLESS},
            **dict.fromkeys(ENDING, stop),
        }
        self.last: Callable[[], object] = lambda: None
        self._seen = 0
        self._before: dict[int, Any] = {}
        with suppress(ValueError):
            for number in self._actions:
                self._before[number] = signal.signal(number, self._handle)

    def on(self, number: signal.Signals, action: Callable[[], None]) -> None:
        """Call `action` in the event loop at this signal."""
        self._actions[number] = action

    def _handle(self, number: int, _: FrameType | None) -> None:
        if number in ENDING:
            self._seen += 1
            if self._seen > 1:
                self.last()
                say_at_once("ended", because="a second signal", exit_status=EXIT_SECOND_SIGNAL)
                os._exit(EXIT_SECOND_SIGNAL)
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._actions[number])

    def restore(self) -> None:
        """Restore the former handlers, except where another handler was set since."""
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, handler)


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Within the block, the first SIGTERM or SIGINT ends the process: the shutdown is over."""
    before = {number: signal.getsignal(number) for number in ENDING}
    for number in ENDING:
        signal.signal(number, lambda *_: os._exit(EXIT_SECOND_SIGNAL))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignored(number: int) -> None:
    log.info("signal_ignored", signal=signal.Signals(number).name)

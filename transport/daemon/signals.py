"""What a signal means to a gateway process.

A handler runs between two steps of the main thread, wherever that is: a second SIGTERM has to end a process
whose event loop is stuck, or closed. That is why these are not handlers of the event loop. They only count,
and hand what is to be done to the loop.

A signal that means nothing here, and would end the process, is a line in the log. It has a handler and is not
ignored by the system, because programs that are started from here would inherit that.
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

log = structlog.get_logger("telgw")

EXIT_SECOND_SIGNAL = 130
ENDING = (signal.SIGTERM, signal.SIGINT)
HARMLESS = (
    *(signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM),
    *(signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO, signal.SIGPIPE),
)
"""Signals that end a process by default; a terminal, a timer or a mistaken operator sends them."""


class Signals:
    """The handlers of a process, from now until `restore`. Elsewhere than in the main thread there are none.

    Args:
        stop: called in the event loop at the first signal that asks for the end; a second ends the process at
            once with status 130.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._actions: dict[int, Callable[[], None]] = {
            **{number: partial(_ignored, number) for number in HARMLESS},
            **dict.fromkeys(ENDING, stop),
        }
        self._seen = 0
        self._before: dict[int, Any] = {}
        with suppress(ValueError):
            for number in self._actions:
                self._before[number] = signal.signal(number, self._handle)

    def on(self, number: signal.Signals, action: Callable[[], None]) -> None:
        """Give a harmless signal a meaning: `action` is called in the event loop."""
        self._actions[number] = action

    def _handle(self, number: int, _: FrameType | None) -> None:
        if number in ENDING:
            self._seen += 1
            if self._seen > 1:
                os._exit(EXIT_SECOND_SIGNAL)
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._actions[number])

    def restore(self) -> None:
        """Put back what was there before, where nobody else has put a handler meanwhile."""
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, handler)


@contextmanager
def ending_at_once() -> Iterator[None]:
    """While the block runs, a signal that asks for the end needs no second: everything is done."""
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

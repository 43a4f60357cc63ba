"""Random delays, so that the instances of a fleet do not call Redis at the same moment."""

from __future__ import annotations

import asyncio
import builtins
import random
from contextlib import suppress


def jittered(seconds: float) -> float:
    """About `seconds`, a fifth more or less: a fleet must not do everything at the same moment."""
    return seconds * random.uniform(0.8, 1.2)


class Backoff:
    """Waits that grow from `first` to `last` seconds, each cut short at random to spread a fleet."""

    def __init__(self, first: float = 0.05, last: float = 1.0) -> None:
        self._first = first
        self._last = last
        self._delay = first

    def reset(self) -> None:
        """Begin anew with the shortest wait."""
        self._delay = self._first

    async def wait(self, stop: asyncio.Event) -> None:
        """Wait once, or until `stop` is set."""
        delay = self._delay * random.uniform(0.5, 1.0)
        self._delay = min(self._delay * 2, self._last)
        with suppress(builtins.TimeoutError):
            async with asyncio.timeout(delay):
                await stop.wait()

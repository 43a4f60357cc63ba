"""Random delays, so that the instances of a fleet do not call Redis at the same moment."""

from __future__ import annotations

import asyncio
import builtins
import random
from contextlib import suppress

from redis.backoff import EqualJitterBackoff

_DOUBLINGS = 30
"""More are not counted: by then a delay has its maximum, and a float cannot be doubled without end."""


def jittered(seconds: float) -> float:
    """About `seconds`, a fifth more or less: a fleet must not do everything at the same moment."""
    return seconds * random.uniform(0.8, 1.2)


class Backoff:
    """Waits that double from `first` to `last` seconds, each cut by up to a half at random."""

    def __init__(self, first: float = 0.05, last: float = 1.0) -> None:
        self._delays = EqualJitterBackoff(cap=last, base=first)
        self._failures = 0

    def reset(self) -> None:
        """Begin anew with the shortest wait."""
        self._failures = 0

    def next(self) -> float:
        """The seconds to wait this time."""
        delay = self._delays.compute(self._failures)
        self._failures = min(self._failures + 1, _DOUBLINGS)
        return delay

    async def wait(self, stop: asyncio.Event) -> None:
        """Wait once, or until `stop` is set."""
        with suppress(builtins.TimeoutError):
            async with asyncio.timeout(self.next()):
                await stop.wait()

"""The clock: the one place where time is read."""

from __future__ import annotations

import time


class Clock:
    """Monotonic seconds for durations and deadlines; epoch milliseconds of Redis for what is published.

    Redis is the only clock that all instances share. Its offset to our monotonic clock is measured at every
    reply that carries its time; until the first one the wall clock stands in.
    """

    __slots__ = ("_epoch_ms",)

    def __init__(self) -> None:
        self._epoch_ms = time.time() * 1000 - time.monotonic() * 1000

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def now_ms(self) -> int:
        """Epoch ms by the clock of Redis, as far as it is known."""
        return int(self._epoch_ms + time.monotonic() * 1000)

    def sync(self, redis_ms: int) -> None:
        """Redis said that it is `redis_ms` now."""
        self._epoch_ms = redis_ms - time.monotonic() * 1000

    def at(self, epoch_ms: int) -> float:
        """The monotonic second at which the clock of Redis shows `epoch_ms`."""
        return (epoch_ms - self._epoch_ms) / 1000

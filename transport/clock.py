"""The clock: the one place where time is read."""

from __future__ import annotations

import time

MEMORY_MS = 60_000.0
"""For how long a good measurement is believed against worse ones; twice that at most."""


class Clock:
    """Monotonic seconds for durations and deadlines; epoch milliseconds of Redis for what is published.

    Redis is the only clock that all instances share. Its offset to our monotonic clock is measured at every
    reply that carries its time; until the first one the wall clock stands in. A reply that was held up, on
    the network or by a stall of ours, shows a time that is over: of the recent measurements the one that is
    furthest ahead is right.
    """

    __slots__ = ("_best", "_epoch_ms", "_older", "_since")

    def __init__(self) -> None:
        self._epoch_ms = time.time() * 1000 - time.monotonic() * 1000
        self._best = self._older = float("-inf")  # of this period, and of the one before
        self._since = float("-inf")

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def now_ms(self) -> int:
        """Epoch ms by the clock of Redis, as far as it is known."""
        return int(self._epoch_ms + time.monotonic() * 1000)

    def sync(self, redis_ms: int) -> None:
        """Redis said that it is `redis_ms` now."""
        now = time.monotonic() * 1000
        measured = redis_ms - now
        if now - self._since >= MEMORY_MS:
            recent = now - self._since < 2 * MEMORY_MS
            self._older, self._best = self._best if recent else measured, measured
            self._since = now
        self._best = max(self._best, measured)
        self._epoch_ms = max(self._best, self._older)

    def at(self, epoch_ms: int) -> float:
        """The monotonic second at which the clock of Redis shows `epoch_ms`."""
        return (epoch_ms - self._epoch_ms) / 1000

"""The clock: the only module that reads time."""

from __future__ import annotations

import time

MEMORY_MS = 60_000.0
"""Seconds for which a good measurement is kept against worse ones; twice as long at most."""


class Clock:
    """Monotonic seconds for durations and deadlines; epoch milliseconds of Redis for published times.

    Redis has the only clock that all instances share. Its offset to our monotonic clock is measured at each
    reply that has its time; before the first one the wall clock is used. A reply that was delayed, on the
    network or in this process, gives an offset that is too small. So of the recent measurements the largest
    is the best.
    """

    __slots__ = ("_best", "_epoch_ms", "_last", "_older", "_since")

    def __init__(self) -> None:
        self._epoch_ms = time.time() * 1000 - time.monotonic() * 1000
        self._best = self._older = float("-inf")  # of this period, and of the period before
        self._since = float("-inf")
        self._last = 0

    def monotonic(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def now_ms(self) -> int:
        """Epoch ms of Redis, as well as it is known."""
        return int(self._epoch_ms + time.monotonic() * 1000)

    def sync(self, redis_ms: int) -> None:
        """A reply of Redis has the time `redis_ms`: measure the offset.

        The moves of one call have one time, of which the first measurement is the best.
        """
        if redis_ms == self._last:
            return
        self._last = redis_ms
        now = time.monotonic() * 1000
        measured = redis_ms - now
        if now - self._since >= MEMORY_MS:
            recent = now - self._since < 2 * MEMORY_MS
            self._older, self._best = self._best if recent else measured, measured
            self._since = now
        self._best = max(self._best, measured)
        self._epoch_ms = max(self._best, self._older)

    def at(self, epoch_ms: int) -> float:
        """The monotonic second at which the time of Redis is `epoch_ms`."""
        return (epoch_ms - self._epoch_ms) / 1000

"""Lines of the log that strangers could make us write without end, written now and then."""

from __future__ import annotations

from collections.abc import Hashable

AGAIN_AFTER = 60.0
"""Seconds in which the same thing is told once."""
REMEMBERED = 1000
"""Things remembered, and so told, within that time: addresses and IMEIs are easily invented."""


class Seldom:
    """Tells whether something is worth another line."""

    def __init__(self) -> None:
        self._told: dict[Hashable, float] = {}  # what -> when it was told, oldest first

    def worth(self, what: Hashable, now: float) -> bool:
        """Whether `what` happens, at `now` (monotonic seconds), for the first time in a while."""
        told = self._told
        while told and now - next(iter(told.values())) >= AGAIN_AFTER:
            del told[next(iter(told))]
        if what in told or len(told) >= REMEMBERED:
            return False
        told[what] = now
        return True

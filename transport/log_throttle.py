"""Rate limits for log lines that untrusted peers can cause."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

AGAIN_AFTER = 60.0
"""Seconds in which the same thing is told once."""
REMEMBERED = 1000
"""Things remembered, and so told, within that time: addresses and IMEIs are easily invented."""

What = TypeVar("What", bound=Hashable)


class LogThrottle:
    """Tells whether something is worth another line."""

    def __init__(self) -> None:
        self._told: dict[Hashable, float] = {}  # what -> when it was told, oldest first

    def allow(self, what: Hashable, now: float) -> bool:
        """Whether `what` happens, at `now` (monotonic seconds), for the first time in a while."""
        told = self._told
        while told and now - next(iter(told.values())) >= AGAIN_AFTER:
            del told[next(iter(told))]
        if what in told or len(told) >= REMEMBERED:
            return False
        told[what] = now
        return True


class Tally(Generic[What]):
    """Counts what is told at once when it happens first, and then once a minute with its number since."""

    def __init__(self) -> None:
        self._since: dict[What, float] = {}  # what -> when it was told, oldest first
        self._untold: dict[What, int] = {}

    def add(self, what: What, now: float) -> bool:
        """`what` happens at `now`, monotonic seconds; whether to tell of it at once, else it is counted."""
        if what in self._since:
            self._untold[what] = self._untold.get(what, 0) + 1
            return False
        if len(self._since) >= REMEMBERED:
            return False
        self._since[what] = now
        return True

    def due(self, now: float) -> list[tuple[What, int]]:
        """What was told a minute ago, and how often it has happened since; what has not is forgotten."""
        due = []
        while self._since:
            what, told = next(iter(self._since.items()))
            if now - told < AGAIN_AFTER:
                break
            del self._since[what]
            if count := self._untold.pop(what, 0):
                self._since[what] = now
                due.append((what, count))
        return due

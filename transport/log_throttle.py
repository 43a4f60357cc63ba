"""Rate limits for log lines that untrusted peers can cause."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

AGAIN_AFTER = 60.0
"""Seconds within which the same thing is logged once."""
REMEMBERED = 1000
"""Things remembered, and so logged, within that time: addresses and IMEIs are easily invented."""

What = TypeVar("What", bound=Hashable)


class LogThrottle:
    """Decides whether something is logged again. When too much is remembered, nothing new is logged."""

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
    """Counts what is logged at once when it happens first, and then once a minute with a count."""

    def __init__(self) -> None:
        self._since: dict[What, float] = {}  # what -> when it was told, oldest first
        self._untold: dict[What, int] = {}

    def add(self, what: What, now: float) -> bool:
        """`what` happens at `now`, monotonic seconds; whether to log it at once, else it is counted."""
        if what in self._since:
            self._untold[what] = self._untold.get(what, 0) + 1
            return False
        if len(self._since) >= REMEMBERED:
            return False
        self._since[what] = now
        return True

    def due(self, now: float) -> list[tuple[What, int]]:
        """What was logged a minute ago, and how often it has happened since; what has not is forgotten."""
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

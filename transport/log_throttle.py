"""Rate limits for log lines that untrusted peers can cause.

`LogThrottle` allows a line about the same subject once a minute. `CountingThrottle` also counts what it has
suppressed, for a later line. Both remember a limited number of subjects, because a peer can invent addresses
and IMEIs; when they are full they refuse new subjects, so a peer cannot push out others to get more lines.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

AGAIN_AFTER = 60.0
"""Seconds within which the same subject is logged once."""
REMEMBERED = 1000
"""Subjects that are remembered, and so logged, within that time."""

What = TypeVar("What", bound=Hashable)


class LogThrottle:
    """Decides whether a subject is logged now."""

    def __init__(self) -> None:
        self._logged: dict[Hashable, float] = {}  # what -> when it was logged, oldest first

    def allow(self, what: Hashable, now: float) -> bool:
        """Whether to log `what` at `now` (monotonic seconds): it was not logged within `AGAIN_AFTER`."""
        logged = self._logged
        while logged and now - next(iter(logged.values())) >= AGAIN_AFTER:
            del logged[next(iter(logged))]
        if what in logged or len(logged) >= REMEMBERED:
            return False
        logged[what] = now
        return True


class CountingThrottle(Generic[What]):
    """A subject is logged at once when it first occurs, and then once a minute with a count."""

    def __init__(self) -> None:
        self._since: dict[What, float] = {}  # what -> when it was logged, oldest first
        self._suppressed: dict[What, int] = {}

    def add(self, what: What, now: float) -> bool:
        """`what` occurs at `now` (monotonic seconds): whether to log it at once; else it is counted."""
        if what in self._since:
            self._suppressed[what] = self._suppressed.get(what, 0) + 1
            return False
        if len(self._since) >= REMEMBERED:
            return False
        self._since[what] = now
        return True

    def due(self, now: float) -> list[tuple[What, int]]:
        """Subjects whose minute is over, and how often each occurred in it. Others are forgotten."""
        due = []
        while self._since:
            what, logged = next(iter(self._since.items()))
            if now - logged < AGAIN_AFTER:
                break
            del self._since[what]
            if count := self._suppressed.pop(what, 0):
                self._since[what] = now
                due.append((what, count))
        return due

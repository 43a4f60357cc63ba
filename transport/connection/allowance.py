"""An allowance: how much each subject may take, at an even rate, with a reserve for quick succession.

This is the generic cell rate algorithm (ITU-T I.371). One number is kept of each subject: the time at which
all that it has taken is paid for. Each unit moves that time by the same interval, and it may be ahead of now
by the whole reserve at most. A subject that has paid for everything is like one that was never seen, so it is
forgotten: only those that take something have a place in memory, and no other subject can push them out.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_ROUNDING = 1e-6


class Allowance(Generic[K]):
    """What subjects may take.

    Args:
        rate: units a second; 0 for no limit.
        reserve: units that may be taken at once.
    """

    def __init__(self, rate: float, reserve: float) -> None:
        self._interval = 1 / rate if rate else 0.0
        self._ahead = reserve * self._interval + _ROUNDING
        self._paid_at: dict[K, float] = {}  # the subject that took something last is at the end

    def __len__(self) -> int:
        """How many subjects are remembered."""
        return len(self._paid_at)

    def covers(self, subject: K, units: float, now: float) -> bool:
        """Whether the subject may take so many units at `now`, monotonic seconds."""
        paid_at = max(self._paid_at.get(subject, now), now)
        return paid_at + units * self._interval <= now + self._ahead

    def take(self, subject: K, units: float, now: float) -> None:
        """The subject takes so many units, whether they are covered or not."""
        self._forget(now)
        if self._interval:
            paid_at = max(self._paid_at.pop(subject, now), now)
            self._paid_at[subject] = paid_at + units * self._interval

    def _forget(self, now: float) -> None:
        """Forget those that have paid and took nothing after one that has not."""
        while self._paid_at:
            subject, paid_at = next(iter(self._paid_at.items()))
            if paid_at > now:
                return
            del self._paid_at[subject]

"""A limit for what each of many sources does in a second, in memory that no source can change.

The rule is the generic cell rate algorithm (ITU-T I.371): of a source one number is kept, the time at which
all that it has done is paid for. Each action moves that time by the same interval; it may be ahead of now
by `ahead` seconds at most. So a source may do `rate * ahead` things at once, and then `rate` a second.

The sources are kept by no name: each has two of `CELLS` numbers, chosen by a hash that is different in each
process, and the smaller of the two counts. So no invented source pushes out another one, and the memory is
the same for any number of sources. A source that has done nothing is limited only if others who are over
the limit share both of its cells: with a thousand of those it is one source of 250.
"""

from __future__ import annotations

import secrets
from array import array

CELLS = 16_384


class RateLimit:
    """A limit for each source. Each method is O(1), and the clock is that of the caller.

    Args:
        rate: actions a second; 0 for no limit.
        ahead: seconds in which a source saves up what it may do at once.
    """

    def __init__(self, rate: float, ahead: float) -> None:
        self.rate = rate
        self._interval = 1 / rate if rate else 0.0
        self._ahead = ahead
        self._salt = secrets.randbits(64)
        self._paid_at = array("d", bytes(8 * CELLS)), array("d", bytes(8 * CELLS))

    def covers(self, source: str, now: float) -> bool:
        """Whether the source may act at `now`, monotonic seconds."""
        (one, i), (other, j) = self._cells(source)
        return min(one[i], other[j]) + self._interval <= now + self._ahead

    def take(self, source: str, now: float) -> None:
        """The source acts."""
        for row, cell in self._cells(source):
            row[cell] = max(row[cell], now) + self._interval

    def give_back(self, source: str) -> None:
        """An action of the source does not count any more."""
        for row, cell in self._cells(source):
            row[cell] -= self._interval

    def _cells(self, source: str) -> tuple[tuple[array[float], int], tuple[array[float], int]]:
        number = hash((self._salt, source))
        one, other = self._paid_at
        return (one, number % CELLS), (other, (number >> 32) % CELLS)

"""How long something took, kept as the number of times that each value came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
ROUGH_ABOVE = 10_000
ROUGH = 100
"""Above `ROUGH_ABOVE` ms a value is kept to `ROUGH` ms: that bounds how many different ones there are."""


class Latency:
    """Durations in ms."""

    def __init__(self) -> None:
        self._times: Counter[int] = Counter()

    def add(self, ms: int) -> None:
        """Take a duration."""
        self._times[ms if ms <= ROUGH_ABOVE else ms - ms % ROUGH] += 1

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Each duration and how often it came."""
        return iter(self._times.items())

    @property
    def count(self) -> int:
        """How many there are."""
        return self._times.total()

    def quantiles(self, wanted: Sequence[float] = QUANTILES) -> list[int]:
        """For each share, the least duration that is not exceeded by that share of all; none without any."""
        total, found, reached = self.count, [], 0
        ordered = iter(sorted(self._times.items()))
        ms = 0
        for share in wanted if total else ():
            while reached < share * total:
                ms, times = next(ordered)
                reached += times
            found.append(ms)
        return found

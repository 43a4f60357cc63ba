"""How much flows: amounts of short intervals, for the sparklines of the last minutes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from statistics import median

SPAN = 120
"""Intervals that are kept."""


class Rate:
    """Amounts a second, from a total that only grows."""

    def __init__(self) -> None:
        self._amounts: deque[float] = deque(maxlen=SPAN)
        self._last: tuple[int, int] | None = None

    def total(self, value: int | None, now_ms: int) -> None:
        """The total at `now_ms`, epoch ms; None if it is not known. A total that shrinks begins again."""
        before, self._last = self._last, None if value is None else (value, now_ms)
        if value is None or before is None or now_ms <= before[1] or value < before[0]:
            return
        self._amounts.append((value - before[0]) * 1000 / (now_ms - before[1]))

    @property
    def now(self) -> float | None:
        """The amount a second in the last interval; None if it is not known yet."""
        return self._amounts[-1] if self._amounts else None

    @property
    def past(self) -> Sequence[float]:
        """The amounts of the intervals, the oldest first."""
        return tuple(self._amounts)


class Medians:
    """The median of what was measured in each interval."""

    def __init__(self) -> None:
        self._medians: deque[float] = deque(maxlen=SPAN)
        self._open: list[float] = []
        self.last: float | None = None
        """The median of the last interval in which something was measured; None before."""

    def add(self, value: float) -> None:
        """Take a measurement."""
        self._open.append(value)

    def close(self) -> None:
        """End the interval."""
        if self._open:
            self.last = median(self._open)
        self._medians.append(median(self._open) if self._open else 0.0)
        self._open.clear()

    @property
    def past(self) -> Sequence[float]:
        """The medians of the intervals, the oldest first; 0 for one without a measurement."""
        return tuple(self._medians)

"""The time that is reported, cut into parts of equal length."""

from __future__ import annotations

from collections.abc import Iterator

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
WIDTHS = (
    *(SECOND, 5 * SECOND, 15 * SECOND, 30 * SECOND),
    *(MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE),
    *(HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 7 * DAY, 30 * DAY),
)
"""Lengths of a part, in ms."""
MOST = 96
"""Parts at most, unless they would be longer than the longest of `WIDTHS`."""


class Span:
    """From `since_ms` to `until_ms`, both epoch ms. Parts begin at multiples of `width_ms`."""

    def __init__(self, since_ms: int, until_ms: int) -> None:
        self.since_ms = min(since_ms, until_ms)
        self.until_ms = until_ms
        length = self.until_ms - self.since_ms
        self.width_ms = next((width for width in WIDTHS if width * MOST >= length), WIDTHS[-1])
        self._first = self.since_ms // self.width_ms
        self.parts = self.until_ms // self.width_ms - self._first + 1

    def __iter__(self) -> Iterator[int]:
        """When each part begins, epoch ms."""
        return (((self._first + part) * self.width_ms) for part in range(self.parts))

    def part(self, at_ms: int) -> int:
        """The part in which a time lies; one before or after the span counts in the first or last part."""
        return max(0, min(self.parts - 1, at_ms // self.width_ms - self._first))

    def counts(self) -> list[int]:
        """A zero for each part."""
        return [0] * self.parts

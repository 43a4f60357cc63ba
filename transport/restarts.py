"""How often something that failed is started again, and after which pause."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


class Restarts:
    """Restarts of one task or process.

    Args:
        limit: restarts within `within` seconds, at most.
        pauses: seconds before the first restart, the second, and so on: as many as `limit`.
    """

    def __init__(self, limit: int, within: float, pauses: Sequence[float]) -> None:
        self._limit = limit
        self._within = within
        self._pauses = pauses
        self._at = deque[float]()

    def next(self, now: float) -> float | None:
        """The pause before the next restart, which is counted; None if there were too many.

        Args:
            now: seconds of a clock that does not go back.
        """
        while self._at and now - self._at[0] >= self._within:
            self._at.popleft()
        if len(self._at) == self._limit:
            return None
        self._at.append(now)
        return self._pauses[len(self._at) - 1]

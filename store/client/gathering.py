"""When a call to Redis waits a moment, so that it carries more.

A call costs as much as several of the items that it carries. Where items come one by one and often, a call
waits from its first item on for a fixed time, and carries what comes meanwhile.

Waits are made where they pay. A client that sends an item only after the last one is confirmed would wait
each time and bring nothing along, and so would items that come seldom. So each wait in which nothing came
counts against the next, one in which something came counts twice for it, and the balance decides. While it is
empty one call of `PROBE` waits, to see whether it would pay now.
"""

from __future__ import annotations

ENOUGH = 64
"""Items among which the cost of a call is small: with so many it does not wait."""
BALANCE = 8
"""The most that waits which paid can count."""
PROBE = 16


class Gathering:
    """The waits of one queue.

    Args:
        within: seconds that a call waits when it does.
    """

    def __init__(self, within: float) -> None:
        self._within = within
        self._balance = 0
        self._passed = 0

    def delay(self, waiting: int) -> float:
        """Seconds that the next call waits, for which `waiting` items wait already; 0 if it does not."""
        return self._within if waiting < ENOUGH and self._pays() else 0.0

    def waited(self, gained: int) -> None:
        """A call has waited, and so many items came meanwhile."""
        self._balance = min(self._balance + 2, BALANCE) if gained > 0 else max(self._balance - 1, 0)

    def _pays(self) -> bool:
        if not self._balance:
            self._passed = (self._passed + 1) % PROBE
        return bool(self._balance) or not self._passed

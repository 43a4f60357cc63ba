"""The recent outcomes of this process, in case Redis loses them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from fsm.events import CommandEvent

REMEMBERED = 2000
"""Verdicts kept. A failover or a loss of power loses the work of a few seconds."""


class RecentOutcomes:
    """The last verdicts by command, none older than the retention, after which an id counts as new.

    Args:
        retention: seconds.
        monotonic: seconds.
    """

    def __init__(self, retention: float, monotonic: Callable[[], float]) -> None:
        self._retention = retention
        self._monotonic = monotonic
        # It keeps the order in which they came, and costs a tenth of a cache of `cachetools`.
        self._outcomes: OrderedDict[str, tuple[float, CommandEvent]] = OrderedDict()

    def add(self, outcome: CommandEvent) -> None:
        """Remember a terminal event."""
        self._outcomes.pop(outcome.command_id, None)
        self._outcomes[outcome.command_id] = self._monotonic(), outcome
        if len(self._outcomes) > REMEMBERED:
            self._outcomes.popitem(last=False)

    def find(self, command_id: str) -> CommandEvent | None:
        """The terminal event that this process has given to a command."""
        since, outcome = self._outcomes.get(command_id, (0.0, None))
        return outcome if outcome and self._monotonic() - since < self._retention else None

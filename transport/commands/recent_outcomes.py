"""The recent outcomes of this process, in case Redis loses them."""

from __future__ import annotations

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
        # A dict keeps the order in which they came, and costs a tenth of a cache of `cachetools`.
        self._outcomes: dict[str, tuple[float, CommandEvent]] = {}

    def add(self, outcome: CommandEvent) -> None:
        """Remember a terminal event."""
        self._outcomes.pop(outcome.command_id, None)
        self._outcomes[outcome.command_id] = self._monotonic(), outcome
        if len(self._outcomes) > REMEMBERED:
            del self._outcomes[next(iter(self._outcomes))]

    def find(self, command_id: str) -> CommandEvent | None:
        """The terminal event that this process has given to a command."""
        since, outcome = self._outcomes.get(command_id, (0.0, None))
        return outcome if outcome and self._monotonic() - since < self._retention else None

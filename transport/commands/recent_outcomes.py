"""The recent outcomes of this process, in case Redis loses them."""

from __future__ import annotations

from collections.abc import Callable

from cachetools import TTLCache

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
        self._outcomes: TTLCache[str, CommandEvent] = TTLCache(REMEMBERED, retention, monotonic)

    def add(self, outcome: CommandEvent) -> None:
        """Remember a terminal event."""
        self._outcomes[outcome.command_id] = outcome

    def find(self, command_id: str) -> CommandEvent | None:
        """The terminal event that this process has given to a command."""
        return self._outcomes.get(command_id)

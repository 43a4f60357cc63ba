"""The recent verdicts of this process, in case Redis loses them."""

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
        self._given: OrderedDict[str, tuple[float, CommandEvent]] = OrderedDict()

    def add(self, verdict: CommandEvent) -> None:
        """Remember a terminal event."""
        self._given[verdict.command_id] = (self._monotonic(), verdict)
        self._given.move_to_end(verdict.command_id)
        if len(self._given) > REMEMBERED:
            self._given.popitem(last=False)

    def find(self, command_id: str) -> CommandEvent | None:
        """The verdict that this process has given to a command."""
        at, verdict = self._given.get(command_id, (0.0, None))
        return None if self._monotonic() - at >= self._retention else verdict

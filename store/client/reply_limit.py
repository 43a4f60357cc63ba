"""The time limit for the replies on one connection, which come one at a time.

A timer of its own for each reply is armed and cancelled at each call, and costs a tenth of it. So one timer
serves many replies: when it fires it looks at the reply that is waited for then, and if that is not late, it
is armed for the time at which it would be.
"""

from __future__ import annotations

import asyncio


class Overdue(TimeoutError):
    """A reply did not come in time."""


class ReplyLimit:
    """The time limit of one connection."""

    __slots__ = ("_due", "_reader", "_timer")

    def __init__(self) -> None:
        self._reader: asyncio.StreamReader | None = None
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, reader: asyncio.StreamReader, within: float) -> None:
        """A reply is waited for: after so many seconds `reader` raises `Overdue`."""
        loop = asyncio.get_running_loop()
        self._reader, self._due = reader, loop.time() + within
        if self._timer is None:
            self._timer = loop.call_at(self._due, self._look)

    def end(self) -> None:
        """No reply is waited for."""
        self._reader = None

    def close(self) -> None:
        """The connection is closed."""
        self._reader = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._reader is None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._due:
            self._timer = loop.call_at(self._due, self._look)
        else:
            self._reader.set_exception(Overdue())

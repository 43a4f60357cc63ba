"""Time limits of connections, swept at short intervals by one task.

A deadline of a connection is an entry in one table, and the connection says what it means (`overdue`). What
has no deadline of its own, because it changes with every frame, is checked once a second: how long a device
has been silent, and how long a frame has not been acknowledged.
"""

from __future__ import annotations

from fsm.reasons import IDLE, STORE_UNAVAILABLE
from transport.connection.context import ConnectionContext

DUE_AT_ONCE = 50
"""Connections whose deadlines are handled in one turn of the loop, since thousands may be due at once."""
STORE_TIMEOUT = 60.0
"""Seconds that a device waits for an acknowledgement before its connection is closed."""


class Timeouts:
    """Closes the connections whose time is over, and lets those be read that wait for room."""

    def __init__(self, context: ConnectionContext) -> None:
        self._context = context
        self._check_at = 0.0

    def sweep(self, now: float) -> bool:
        """Handle what is due by `now`, monotonic seconds; whether more has to wait for the next turn."""
        context = self._context
        context.now = now
        due = context.deadlines.due(now, at_most=DUE_AT_ONCE)
        for connection in due:
            connection.overdue()
        context.backpressure.progress()
        context.sessions.share.sweep(now)
        if now >= self._check_at:
            self._check_at = now + 1.0
            context.sessions.admission.log_refused(now)
            self._check_sessions(now)
        return len(due) == DUE_AT_ONCE

    def _check_sessions(self, now: float) -> None:
        context = self._context
        idle = context.settings.idle_timeout
        if not idle and context.telemetry.healthy:
            return
        for connection in list(context.sessions.by_imei.values()):
            if connection.unacked_since and now - connection.unacked_since >= STORE_TIMEOUT:
                connection.close(STORE_UNAVAILABLE)
            elif idle and now - connection.last_read >= idle and not context.backpressure.holds(connection):
                connection.close(IDLE)

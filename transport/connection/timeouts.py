"""Time limits of connections, swept at short intervals by one task.

A deadline of a connection is an entry in one table, and the connection says what it means (`overdue`). What
has no deadline of its own, because it changes with every frame, is checked every few seconds: how long a
device has been silent, and, while the store fails, how long a frame has not been acknowledged.

The idle time-out is long, because a parked tracker may keep its link and report once a day. But anybody can
send an IMEI and nothing more. So something of a device that is not known must be stored in `FIRST_RECORD`.
"""

from __future__ import annotations

from fsm.reasons import IDLE, STORE_UNAVAILABLE
from transport.connection.context import ConnectionContext
from transport.connection.ports import SessionConnection

DUE_AT_ONCE = 50
"""Connections whose deadlines are handled in one turn of the loop, since thousands may be due at once."""
FIRST_RECORD = 300.0
"""Seconds within which something of an unknown device must be stored: it connects because it has records."""
HALF_CLOSED_TIMEOUT = 30.0
"""Seconds that a half-closed connection stays open for its acknowledgements."""
STORE_TIMEOUT = 60.0
"""Seconds that a device waits for an acknowledgement before its connection is closed."""


class Timeouts:
    """Closes the connections whose time is over, and lets those be read that wait for room."""

    def __init__(self, context: ConnectionContext) -> None:
        self._context = context
        self._check_at = self._check_sessions_at = 0.0

    def sweep(self, now: float) -> bool:
        """Handle what is due by `now`, monotonic seconds; whether more has to wait for the next turn."""
        context = self._context
        context.set_time(now)
        due = context.deadlines.due(now, at_most=DUE_AT_ONCE)
        for connection in due:
            connection.overdue()
        context.resume_reading(now)
        context.takeovers.sweep(now)
        context.sessions.share.sweep(now)
        if now >= self._check_at:
            self._check_at = now + 1.0
            context.sessions.admission.log_refused(now)
            if now >= self._check_sessions_at or not context.healthy:
                self._check_sessions_at = now + self._every
                self._check_sessions(now)
        return len(due) == DUE_AT_ONCE

    @property
    def _every(self) -> float:
        """Seconds between two checks of all sessions: a small part of the time that they are about."""
        return min(10.0, self._context.settings.idle_timeout / 30)

    def _check_sessions(self, now: float) -> None:
        context = self._context
        idle = context.settings.idle_timeout
        for connection in list(context.sessions.by_imei.values()):
            if connection.unacked_since:
                if now - connection.unacked_since >= STORE_TIMEOUT:
                    connection.close(STORE_UNAVAILABLE)
            elif idle and _is_idle(connection, now, idle) and not context.holds(connection):
                connection.close(IDLE)


def _is_idle(connection: SessionConnection, now: float, idle: float) -> bool:
    place = connection.place
    if place.proven_at is not None or place.known:
        return now - connection.last_read >= idle
    return now - place.since >= min(idle, FIRST_RECORD)

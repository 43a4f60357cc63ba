"""What the log tells of trouble with Redis: enough to see it, and never a flood.

A Redis that comes and goes, or that has no room for all of our connections, fails many calls a second while
others go through. So an error of one kind is told at once, and then once a minute with its number. The end
of an outage is told when no call has failed for a while, and then the next outage is news; but only so often
in a minute: trouble that comes again and again is one trouble, which is not over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import structlog

from store.client.errors import StoreError

log = structlog.get_logger("telgw.store")

AGAIN_AFTER = 60.0
"""Seconds in which an error of one kind is told once."""
QUIET = 2.0
"""Seconds without a failed call after which an outage is over: no client waits longer to try again."""
ENDS_A_MINUTE = 2
"""Ends of outages that are told within `AGAIN_AFTER`."""

_NO_ROOM = "max number of clients"


class Outages:
    """The trouble of one process with Redis.

    Args:
        monotonic: the clock, in seconds.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._told: dict[tuple[str, str], float] = {}
        self._untold: dict[tuple[str, str], int] = {}
        self._since: float | None = None
        self._last = 0.0
        self._over_at: float | None = None
        self._ends: deque[float] = deque(maxlen=ENDS_A_MINUTE)

    def failed(self, part: str, error: Exception, *, transient: bool) -> None:
        """A call of a part of the gateway failed; `transient` errors are an outage."""
        now = self._monotonic()
        if transient:
            self._since = now if self._since is None else self._since
            self._last, self._over_at = now, None
        kind = error.kind if isinstance(error, StoreError) else type(error).__name__
        facts = {"error": kind, "detail": str(error)[:200]}
        if _NO_ROOM in str(error):  # the same for all parts
            facts["advice"] = "raise maxclients of Redis"
            self._tell(("", _NO_ROOM), "redis_error", now, part=part, **facts)
        else:
            self._tell((part, kind), "redis_error", now, part=part, **facts)

    def registrations_failed(self, count: int) -> None:
        """Devices could not be registered."""
        self._tell(("registry", "registrations"), "registry_failed", self._monotonic(), registrations=count)

    def _tell(self, what: tuple[str, str], event: str, now: float, **facts: object) -> None:
        told = self._told.get(what)
        if told is not None and now - told < AGAIN_AFTER:
            self._untold[what] = self._untold.get(what, 0) + 1
            return
        self._told[what] = now
        if more := self._untold.pop(what, 0):
            facts["untold"] = more
        log.warning(event, **facts)

    def heartbeat_renewed(self) -> bool:
        """The heartbeat was renewed: log the end of an outage; False if it is too early to say so."""
        if self._since is None:
            return True
        now = self._monotonic()
        self._over_at = self._over_at or now
        if now - self._last < QUIET:
            return False
        if len(self._ends) == ENDS_A_MINUTE and now - self._ends[0] < AGAIN_AFTER:
            return True
        log.info("redis_back", after_s=round(self._over_at - self._since, 1))
        self._since = None
        self._ends.append(now)
        self._told.clear()
        self._untold.clear()
        return True

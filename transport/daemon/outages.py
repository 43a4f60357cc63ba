"""Logs errors of Redis and the ends of outages, at a limited rate.

If Redis is unstable, or has too few connections for us, many calls a second fail and others succeed. So an
error of one kind is logged at once, and after that once a minute with the count of suppressed errors. The end
of an outage is logged when no call has failed for `QUIET` seconds; the next error is then logged at once
again. The ends are limited, too: many short outages in a minute count as one outage that is not over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import structlog

from store.client.errors import StoreError

log = structlog.get_logger("telgw.store")

AGAIN_AFTER = 60.0
"""Seconds within which an error of one kind is logged once."""
QUIET = 2.0
"""Seconds without a failed call after which an outage is over; clients try again at shorter intervals."""
ENDS_A_MINUTE = 2
"""Ends of outages that are logged within `AGAIN_AFTER`."""

_NO_ROOM = "max number of clients"


class Outages:
    """The outages that one process has seen.

    Args:
        monotonic: the clock, in seconds.
        facts: what each line says besides.
    """

    def __init__(self, monotonic: Callable[[], float], **facts: object) -> None:
        self._monotonic = monotonic
        self._facts = facts
        self._logged: dict[tuple[str, str], float] = {}
        self._suppressed: dict[tuple[str, str], int] = {}
        self._since: float | None = None
        self._last = 0.0
        self._over_at: float | None = None
        self._ends: deque[float] = deque(maxlen=ENDS_A_MINUTE)

    @property
    def redis_up(self) -> bool:
        """Whether Redis answers, as far as is known: such a call succeeded after the last failed one."""
        return self._since is None or self._over_at is not None

    def failed(self, part: str, error: Exception, *, transient: bool) -> None:
        """Log that a call of a part of the gateway failed. A `transient` error begins an outage."""
        now = self._monotonic()
        if transient:
            self._since = now if self._since is None else self._since
            self._last, self._over_at = now, None
        kind = error.kind if isinstance(error, StoreError) else type(error).__name__
        facts = {"error": kind, "detail": str(error)[:200]}
        if _NO_ROOM in str(error):  # the same for all parts
            facts["advice"] = "raise maxclients of Redis"
            self._log(("", _NO_ROOM), "redis_error", now, part=part, **facts)
        else:
            self._log((part, kind), "redis_error", now, part=part, **facts)

    def registrations_failed(self, count: int) -> None:
        """Log that devices could not be registered."""
        self._log(("registry", "registrations"), "registry_failed", self._monotonic(), registrations=count)

    def _log(self, what: tuple[str, str], event: str, now: float, **facts: object) -> None:
        logged = self._logged.get(what)
        if logged is not None and now - logged < AGAIN_AFTER:
            self._suppressed[what] = self._suppressed.get(what, 0) + 1
            return
        self._logged[what] = now
        if more := self._suppressed.pop(what, 0):
            facts["suppressed"] = more
        log.warning(event, **self._facts, **facts)

    def succeeded(self) -> bool:
        """A call has succeeded that shows that Redis is back, such as a heartbeat: log the end of an outage.

        False if it is too early to say so.
        """
        if self._since is None:
            return True
        now = self._monotonic()
        self._over_at = self._over_at or now
        if now - self._last < QUIET:
            return False
        if len(self._ends) == ENDS_A_MINUTE and now - self._ends[0] < AGAIN_AFTER:
            return True
        log.info("redis_back", **self._facts, after_s=round(self._over_at - self._since, 1))
        self._since = None
        self._ends.append(now)
        self._logged.clear()
        self._suppressed.clear()
        return True

"""What is said of trimming: metrics, and lines of the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import fields

import structlog

from store.diagnosis.server import MEMORY_ALARM
from store.streams.caps import CapSettings, Memory
from transport.log_throttle import LogThrottle
from transport.metrics import Metrics
from transport.settings import Settings

log = structlog.get_logger("telgw.store")


def cap_settings(settings: Settings, session_events: str = "") -> CapSettings:
    """What the operator has set of caps; `session_events` is a separate stream, or empty."""
    names = {field.name for field in fields(CapSettings)} - {"session_events"}
    return CapSettings(session_events=session_events, **{name: getattr(settings, name) for name in names})


class TrimReports:
    """Counts what was trimmed, and logs it once a minute at most: a cap may be reached many times a second.

    Args:
        monotonic: seconds.
    """

    def __init__(self, metrics: Metrics, monotonic: Callable[[], float]) -> None:
        self._metrics = metrics
        self._monotonic = monotonic
        self._lines = LogThrottle()
        self._unlogged: Counter[str] = Counter()
        self._counters = {
            "responses": metrics.trimmed_unread,
            **dict.fromkeys(("sessions", "unasked"), metrics.session_events_trimmed),
            **dict.fromkeys(("telemetry", "messages", "undecodable"), metrics.telemetry_trimmed_unread),
        }

    def trimmed(self, stream: str, unread: int) -> None:
        """A cap has removed unread entries of a stream; of a shard the name ends with its number."""
        self._counters[stream.partition(":")[0]].inc(unread)
        self._unlogged[stream] += unread
        if self._lines.allow(stream, self._monotonic()):
            log.warning("trimmed_unread", stream=stream, entries=self._unlogged.pop(stream))

    def measured(self, stream: str, held: int) -> None:
        """A stream holds so many bytes."""
        self._metrics.stream_bytes.labels(stream).set(held)

    def memory_read(self, memory: Memory, **facts: object) -> None:
        """The memory of Redis was looked at: it may be nearly full. `facts` say which server that is."""
        short = memory.limit and memory.used > MEMORY_ALARM * memory.limit
        if short and self._lines.allow(f"memory {facts}", self._monotonic()):
            log.warning(
                "redis_memory_short",
                **facts,
                used=memory.used,
                maxmemory=memory.limit,
                advice="raise maxmemory, or keep less; above 80 % telemetry is trimmed, read or not",
            )

"""When Redis and when gateways were away, as far as the log tells.

A gateway: every process of it has a boot id, with which the ids of its sessions begin. From the last event
of one process to the first of the next one, or to now, it was away at most. What its last sessions were
closed for says whether it was stopped or died.

Redis: while it is away nothing is appended, and session events wait in the gateways. So a time in which
nothing was appended, followed by the ends of sessions that had ended within it, was an outage. One during
which no session ended is not seen. Other events do not count: gateways hold them back when there are many.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from fsm.reasons import FENCED, GATEWAY_RESTART, INSTANCE_LOST, SHUTDOWN
from fsm.session import CLOSED
from store.streams.messages import CommandEvent, Message, SessionEvent

from ..times import epoch_ms_of
from .span import Span

REDIS = "Redis"
SILENCE_MS = 3000
"""The shortest time without entries that may be an outage of Redis."""
DELAY_MS = 2000
"""How much later than usual the end of a session has to be appended to tell of an outage."""
KEPT = 1000
"""Late events that are kept to be judged at the end."""

STOPPED, DIED, REPLACED, RESTARTED, AWAY = "stopped", "died", "replaced", "restarted", "unreachable"
_ENDS = {SHUTDOWN: STOPPED, FENCED: REPLACED, INSTANCE_LOST: DIED}


class Outage(NamedTuple):
    """A time, in epoch ms, in which something was away; `what` says how. `who` is a gateway, or `REDIS`."""

    who: str
    since_ms: int
    until_ms: int
    what: str
    over: bool = True

    @property
    def of_redis(self) -> bool:
        """Whether Redis was away; a gateway may have its name."""
        return self.what == AWAY


@dataclass(slots=True)
class _Life:
    """A process of a gateway: its first and last events (epoch ms), and how it ended."""

    boot: str
    first: int
    last: int
    end: str = ""


class Lives:
    """The processes of the gateways."""

    def __init__(self) -> None:
        self._lives: dict[str, list[_Life]] = {}

    def add(self, at_ms: int, message: Message) -> None:
        """Take an entry that was appended at `at_ms`."""
        if not isinstance(message, SessionEvent | CommandEvent) or not message.session_id:
            return
        boot = message.session_id.partition("-")[0]
        lives = self._lives.setdefault(message.instance_id, [])
        life = next((one for one in reversed(lives) if one.boot == boot), None)
        if message.reason in (INSTANCE_LOST, GATEWAY_RESTART):  # told by another process
            if life is not None:
                life.end = life.end or DIED
            return
        if life is None:
            life = _Life(boot, at_ms, at_ms)
            lives.append(life)
        life.last = max(life.last, at_ms)
        if isinstance(message, SessionEvent) and message.reason in _ENDS:
            life.end = _ENDS[message.reason]

    def last_sign(self, instance_id: str) -> int | None:
        """When the gateway last wrote an event, epoch ms; None if it wrote none."""
        return max((life.last for life in self._lives.get(instance_id, ())), default=None)

    def outages(self, alive: Mapping[str, str], now_ms: int) -> list[Outage]:
        """Each time in which a gateway was away.

        Args:
            alive: the boot id of each gateway that has a heartbeat now.
        """
        return [
            outage
            for instance_id, lives in sorted(self._lives.items())
            for outage in self._away(instance_id, lives, alive, now_ms)
        ]

    def _away(
        self, instance_id: str, lives: list[_Life], alive: Mapping[str, str], now_ms: int
    ) -> list[Outage]:
        found = [
            Outage(instance_id, one.last, max(one.last, following.first), one.end or RESTARTED)
            for one, following in pairwise(lives)
        ]
        last = lives[-1] if lives else None
        if last is not None and alive.get(instance_id) != last.boot:
            over = instance_id in alive  # a newer process, of which the log has no event yet
            found.append(
                Outage(instance_id, last.last, now_ms, last.end or (RESTARTED if over else DIED), over)
            )
        return found


class Silences:
    """The times in which nothing was appended to a stream, and the ends of sessions that came after."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._silence: tuple[int, int] | None = None
        self._usual: dict[str, int] = {}
        self._suspected: list[tuple[str, int, int, int]] = []

    def add(self, at_ms: int, message: Message | None) -> None:
        """Take an entry that was appended at `at_ms`, the oldest first."""
        if self._last is not None and at_ms - self._last >= SILENCE_MS:
            self._silence = (self._last, at_ms)
        self._last = at_ms
        if isinstance(message, SessionEvent) and message.state == CLOSED:
            happened = epoch_ms_of(message.at)
            if happened is not None:
                self._judge(at_ms, happened, message.instance_id)

    def _judge(self, at_ms: int, happened: int, instance_id: str) -> None:
        delay = at_ms - happened
        self._usual[instance_id] = min(delay, self._usual.get(instance_id, delay))
        if self._silence is None or delay < DELAY_MS or len(self._suspected) >= KEPT:
            return
        begin, end = self._silence
        if at_ms - end < SILENCE_MS and begin <= happened <= end:
            self._suspected.append((instance_id, begin, end, delay))

    def outages(self) -> list[Outage]:
        """Each outage of Redis that was seen, the oldest first."""
        # A clock that differs from that of Redis delays every event of its gateway alike.
        found = {
            (begin, end)
            for instance_id, begin, end, delay in self._suspected
            if delay - max(0, self._usual[instance_id]) >= DELAY_MS
        }
        return [Outage(REDIS, begin, end, AWAY) for begin, end in sorted(found)]


def longest_first(outages: list[Outage], span: Span) -> list[Outage]:
    """The outages within the span, those that go on first, then the longest."""
    cut = [one._replace(since_ms=max(one.since_ms, span.since_ms)) for one in outages]
    return sorted(cut, key=lambda one: (one.over, one.since_ms - one.until_ms))

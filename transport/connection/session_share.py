"""The share of session events in the log: which are published, in the stream and as lines, and when.

Anybody who can reach the port causes session events, and consumers and people read the log for other things,
too. So three allowances apply: of the device, of its address, and of the whole process. What they do not
cover waits; it is not dropped at once, because a consumer that tracks who is connected needs the last state
of each session, and because thousands of honest devices connect at once after a fault of the network.

* Of each session one event waits at most, the newest: it replaces an older one, which is left out.
* The end of a session is published at once if anything of it was: it was paid for with the first event.
  If nothing was, the session leaves no trace but its count. So every session that consumers know ends for
  them, and every session that lasts becomes known to them.
* While the process has no allowance left, addresses take turns.

What waits is bounded by the number of connections; what is remembered of devices and addresses by what the
allowance of the process lets through.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import count
from typing import NamedTuple, Protocol

import structlog

from fsm.events import Note, SessionEvent
from fsm.reasons import SESSION_EVENTS_LEFT_OUT
from transport.clock import Clock
from transport.connection.admission import network_of
from transport.connection.allowance import Allowance
from transport.connection.left_out import LeftOut
from transport.connection.tally import Tally
from transport.metrics import Metrics
from transport.ports import SessionLogPort
from transport.settings import Settings

log = structlog.get_logger("telgw.sessions")

ADDRESS, PROCESS = 120, 1200
"""The allowances of an address and of the process, in those of a device: 20 and 200 events a second."""
ADDRESS_RESERVE, PROCESS_RESERVE = 200, 2000
"""What they may take at once, in the same unit: 2,000 and 20,000 events."""
FIRST = 2
"""What the first event of a session costs."""
AT_ONCE = 200
"""Waiting events that are tried in one sweep."""


class Source(Protocol):
    """The connection of a session."""

    imei: str
    seq: int
    """Of the newest event of the session."""
    session_id: str
    state: str
    tally: Tally

    def __hash__(self) -> int: ...

    @property
    def host(self) -> str:
        """The device's address."""

    @property
    def peer(self) -> str:
        """The device's end of the connection, ``HOST:PORT``."""

    @property
    def auth(self) -> str:
        """How the device has proved who it is."""


class _Untold(NamedTuple):
    """What the newest event of a session says and its connection does not."""

    at_ms: int
    trigger: str
    prev: str
    reason: str


class SessionShare:
    """Publishes session events as far as they are covered.

    Args:
        session_log: None to publish nothing but lines of the log.
    """

    def __init__(
        self,
        settings: Settings,
        boot_id: str,
        clock: Clock,
        metrics: Metrics,
        session_log: SessionLogPort | None,
    ) -> None:
        each = settings.session_events_rate
        self._device: Allowance[str] = Allowance(each / 60, max(each, FIRST))
        self._address: Allowance[str] = Allowance(each * ADDRESS / 60, each * ADDRESS_RESERVE)
        self._process: Allowance[None] = Allowance(each * PROCESS / 60, each * PROCESS_RESERVE)
        self._instance_id = settings.instance_id
        self._boot_id = boot_id
        self._clock = clock
        self._metrics = metrics
        self._session_log = session_log
        # network -> connection -> its newest event; the network and the connection tried last are at the end
        self._waiting: OrderedDict[str, dict[Source, _Untold]] = OrderedDict()
        self._last_untold = _Untold(0, "", "", "")
        self._short = False  # the process has no allowance left: all events wait for their turn
        self._left_out = LeftOut()
        self._serial = count(1)

    @property
    def waiting(self) -> int:
        """Events that wait."""
        return sum(map(len, self._waiting.values()))

    def publish(self, event: SessionEvent, source: Source) -> None:
        """Publish an event of the session of `source`, its newest, now or later, or leave it out."""
        now, at_ms, network = self._clock.monotonic(), self._clock.now_ms(), network_of(source.host)
        self._drop_waiting(source, network, now)
        if event.terminal:
            self._end(event, source, network, at_ms, now)
        elif self._short or not self._pay(source, network, now):
            self._waiting.setdefault(network, {})[source] = self._untold(event, at_ms)
        else:
            self._append(event, source, at_ms)

    def _untold(self, event: SessionEvent, at_ms: int) -> _Untold:
        """Thousands wait when thousands come at once: those of one millisecond share one value."""
        untold = _Untold(at_ms, event.trigger, event.prev, event.reason)
        if untold != self._last_untold:
            self._last_untold = untold
        return self._last_untold

    def _drop_waiting(self, source: Source, network: str, now: float) -> None:
        sources = self._waiting.get(network)
        if sources and sources.pop(source, None):
            self._leave_out(source, network, now)
            if not sources:
                del self._waiting[network]

    def _end(self, event: SessionEvent, source: Source, network: str, at_ms: int, now: float) -> None:
        if source.tally.published:
            self._append(event, source, at_ms)
        else:
            self._leave_out(source, network, now)

    def _pay(self, source: Source, network: str, now: float) -> bool:
        """Take what the newest event of `source` costs, if all three allowances cover it."""
        imei, units = source.imei, self._price(source)
        if not self._process.covers(None, units, now):
            self._short = True
            return False
        if not (self._device.covers(imei, units, now) and self._address.covers(network, units, now)):
            return False
        self._process.take(None, units, now)
        self._address.take(network, units, now)
        self._device.take(imei, units, now)
        return True

    def _price(self, source: Source) -> int:
        """The first event of a session pays for its end, too."""
        return 1 if source.tally.published else FIRST

    def _append(self, event: SessionEvent, source: Source, at_ms: int) -> None:
        if self._session_log is not None:
            self._session_log.append(event, at_ms)
        if not source.tally.published:
            source.tally.published = True
            log.info("session_opened", imei=event.imei, session_id=event.session_id, peer=event.peer)
        elif event.terminal:
            log.info("session_closed", imei=event.imei, session_id=event.session_id, reason=event.reason)

    def _newest(self, source: Source, untold: _Untold) -> SessionEvent:
        """The newest event of `source`: had there been another one since, that would wait instead."""
        return SessionEvent(
            session_id=source.session_id,
            seq=source.seq,
            state=source.state,
            prev=untold.prev,
            trigger=untold.trigger,
            reason=untold.reason,
            imei=source.imei,
            peer=source.peer,
            auth=source.auth,
            instance_id=self._instance_id,
        )

    def _leave_out(self, source: Source, network: str, now: float) -> None:
        self._metrics.session_events_left_out.inc()
        self._left_out.add(source.imei, network, now)

    # Time

    def sweep(self, now: float) -> None:
        """Publish what has waited and is covered now, and the summary of what was left out when it is due."""
        self._short = False
        for _ in range(AT_ONCE):
            if not self._waiting or self._short:
                break
            self._try_next(now)
        if self._left_out.due(now):
            self.conclude()

    def _try_next(self, now: float) -> None:
        """Try the session of the address whose turn it is; both go behind all others."""
        network, sources = next(iter(self._waiting.items()))
        source, untold = next(iter(sources.items()))
        if self._pay(source, network, now):
            del sources[source]
            self._append(self._newest(source, untold), source, untold.at_ms)
        elif not self._short:
            sources[source] = sources.pop(source)
        else:
            return
        self._waiting.move_to_end(network)
        if not sources:
            del self._waiting[network]

    def conclude(self) -> None:
        """Publish the summary of what was left out since the last one, if anything was."""
        summary = self._left_out.take()
        if summary is None:
            return
        log.warning(
            "session_events_left_out",
            events=summary.events,
            devices=summary.devices,
            address=summary.source,
            of_address=summary.of_source,
        )
        if self._session_log is not None:
            self._metrics.notes.labels(SESSION_EVENTS_LEFT_OUT).inc()
            self._session_log.append(self._note(summary.sentence), self._clock.now_ms())

    def _note(self, detail: str) -> Note:
        note_id = f"{self._boot_id}:s{next(self._serial)}"
        return Note(SESSION_EVENTS_LEFT_OUT, note_id, detail=detail, instance_id=self._instance_id)

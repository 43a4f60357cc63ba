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
from dataclasses import dataclass
from itertools import count
from typing import Protocol

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

    tally: Tally

    @property
    def host(self) -> str:
        """The device's address."""


@dataclass(slots=True)
class _Stamped:
    event: SessionEvent
    source: Source
    network: str
    at_ms: int


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
        # network -> session_id -> the newest event; the network and the session tried last are at the end
        self._waiting: OrderedDict[str, OrderedDict[str, _Stamped]] = OrderedDict()
        self._short = False  # the process has no allowance left: all events wait for their turn
        self._left_out = LeftOut()
        self._serial = count(1)

    @property
    def waiting(self) -> int:
        """Events that wait."""
        return sum(map(len, self._waiting.values()))

    def publish(self, event: SessionEvent, source: Source) -> None:
        """Publish an event of the session of `source`, now or later, or leave it out."""
        now = self._clock.monotonic()
        stamped = _Stamped(event, source, network_of(source.host), self._clock.now_ms())
        self._drop_waiting(stamped, now)
        if event.terminal:
            self._end(stamped, now)
        elif self._short or not self._pay(stamped, now):
            self._waiting.setdefault(stamped.network, OrderedDict())[event.session_id] = stamped
        else:
            self._append(stamped)

    def _drop_waiting(self, newer: _Stamped, now: float) -> None:
        sessions = self._waiting.get(newer.network)
        if sessions and sessions.pop(newer.event.session_id, None):
            self._leave_out(newer, now)
            if not sessions:
                del self._waiting[newer.network]

    def _end(self, stamped: _Stamped, now: float) -> None:
        if stamped.source.tally.published:
            self._append(stamped)
        else:
            self._leave_out(stamped, now)

    def _pay(self, stamped: _Stamped, now: float) -> bool:
        """Take what the event costs, if all three allowances cover it."""
        imei, units = stamped.event.imei, self._price(stamped)
        if not self._process.covers(None, units, now):
            self._short = True
            return False
        if not (self._device.covers(imei, units, now) and self._address.covers(stamped.network, units, now)):
            return False
        self._process.take(None, units, now)
        self._address.take(stamped.network, units, now)
        self._device.take(imei, units, now)
        return True

    def _price(self, stamped: _Stamped) -> int:
        """The first event of a session pays for its end, too."""
        return 1 if stamped.source.tally.published else FIRST

    def _append(self, stamped: _Stamped) -> None:
        event = stamped.event
        if self._session_log is not None:
            self._session_log.append(event, stamped.at_ms)
        if not stamped.source.tally.published:
            stamped.source.tally.published = True
            log.info("session_opened", imei=event.imei, session_id=event.session_id, peer=event.peer)
        elif event.terminal:
            log.info("session_closed", imei=event.imei, session_id=event.session_id, reason=event.reason)

    def _leave_out(self, stamped: _Stamped, now: float) -> None:
        self._metrics.session_events_left_out.inc()
        self._left_out.add(stamped.event.imei, stamped.network, now)

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
        network, sessions = next(iter(self._waiting.items()))
        session_id, stamped = next(iter(sessions.items()))
        if self._pay(stamped, now):
            del sessions[session_id]
            self._append(stamped)
        elif not self._short:
            sessions.move_to_end(session_id)
        else:
            return
        self._waiting.move_to_end(network)
        if not sessions:
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

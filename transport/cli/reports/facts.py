"""The result: what a page shows, and its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from store.fleet.overview import Overview

from .latency import QUANTILES, Latency
from .outages import Outage
from .presence import Online
from .span import Span
from .tally import Tally

WORST = 20
"""Devices that are listed."""


@dataclass(slots=True)
class Facts:
    """What was found.

    Attributes:
        online: None if the log has no session events and so tells nothing of it.
        connected: devices that are connected now, by the registry.
        parked: devices for which commands are parked.
        begins_at: when the oldest entry of the log was appended, epoch ms; None if the log is empty.
        unreadable: entries that are no event or note.
    """

    span: Span
    entries: int
    unreadable: int
    begins_at: int | None
    tally: Tally
    online: Online | None
    connected: int
    outages: list[Outage]
    parked: int
    dead_letters: int
    overview: Overview

    def as_dict(self) -> dict[str, Any]:
        """The same for programs. Times are epoch ms, durations ms."""
        tally, span = self.tally, self.span
        return {
            "since": span.since_ms,
            "until": span.until_ms,
            "entries": self.entries,
            "unreadable": self.unreadable,
            "log_begins": self.begins_at,
            "commands": {
                "accepted": tally.accepted,
                "ended": tally.ended,
                "endings": [
                    {"state": state, "reason": reason, "delivery": delivery, "count": count}
                    for (state, reason, delivery), count in tally.endings.most_common()
                ],
            },
            "answer_ms": _quantiles(tally.answers),
            "answer_ms_by_verb": _each(tally.by_verb),
            "answer_ms_by_gateway": _each(tally.by_gateway),
            "wait_ms_by_gateway": _each(tally.waits),
            "notes": dict(tally.notes),
            "closes": {reason: sum(counts) for reason, counts in sorted(tally.closes.items())},
            "devices": {"connected": self.connected, "worst": self._worst()},
            "outages": [outage._asdict() for outage in self.outages],
            "devices_with_parked_commands": self.parked,
            "dead_letters": self.dead_letters,
            "now": asdict(self.overview),
            "over_time": self._over_time(),
        }

    def _worst(self) -> list[dict[str, Any]]:
        return [
            {"imei": imei, **asdict(counts), "reasons": dict(counts.reasons)}
            for imei, counts in self.tally.worst(WORST)
        ]

    def _over_time(self) -> dict[str, Any]:
        tally = self.tally
        online = None if self.online is None else self.online._asdict()
        return {
            "width": self.span.width_ms,
            "begins": list(self.span),
            "outcomes": dict(tally.outcomes),
            "reasons": dict(tally.reasons),
            "closes": dict(tally.closes),
            "online": online,
        }


def _each(named: Mapping[str, Latency]) -> dict[str, Any]:
    return {name: _quantiles(times) for name, times in sorted(named.items())}


def _quantiles(times: Latency) -> dict[str, int]:
    named = zip((f"p{share * 100:.0f}" for share in QUANTILES), times.quantiles(), strict=False)
    return {"count": times.count, **dict(named)}

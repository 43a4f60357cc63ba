"""The result of a benchmark: as a table, as JSON, and against an earlier one."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from rich.table import Table

from transport.settings import Settings

from .measuring import RECORDS, Cost, Series

GATEWAY, FLOOR = "telgw", "floor"
HALF, COMMAND, BEAT, RAW = "half a core", "command", "heartbeat", "1 record, raw"
BUSY = 0.5
"""The share of a core that a gateway may use in everyday work: the rest is for the hours after an outage."""
HEARTBEAT = Settings(instance_id="bench").heartbeat_interval
"""Seconds between two heartbeats of a gateway."""
REACHED = 0.9
"""A smaller share of a rate than this was not reached: trackers and Redis had no more time."""
WORSE = 1.3
"""A ratio that is so much above an earlier one is not the noise of a machine."""


def saturated(records: int) -> str:
    """Frames with so many records, as many as are acknowledged."""
    return f"{records} record" if records == 1 else f"{records} records"


def singly(rate: int) -> str:
    """Frames of one record, so many a second."""
    return f"{rate:,}/s"


@dataclass(slots=True)
class Outcome:
    """All series of a benchmark, in the order in which they are shown.

    Attributes:
        idle_kib: memory that one idle connection takes.
        record_bytes, sent_bytes: that a record which comes alone takes in Redis, and on the way there.
        half_wanted: frames a second at which half a core should be busy.
        interval: seconds between two frames of a tracker, for the number of trackers.
    """

    interval: float
    series: dict[tuple[str, str], Series] = field(default_factory=dict)
    idle_kib: float | None = None
    record_bytes: float | None = None
    sent_bytes: float | None = None
    half_wanted: float = 0.0

    def of(self, what: str, server: str) -> Series:
        """The series of a measurement of a server; an empty one if there is none."""
        return self.series.get((what, server)) or Series(what, server)

    def add(self, what: str, server: str, cost: Cost) -> None:
        """One more round of a measurement."""
        self.series.setdefault((what, server), Series(what, server)).costs.append(cost)

    def times_floor(self, series: Series) -> float | None:
        """How many times the cost of the floor in the same round this costs; the median of the rounds.

        Commands and raw frames are compared with frames of one record.
        """
        if series.server == FLOOR or series.what not in _AT_SATURATION:
            return None
        return self._times(series, _FLOOR_OF.get(series.what, series.what), FLOOR)

    def times_saturated(self, series: Series) -> float | None:
        """How many times the cost at saturation in the same round a frame costs at a rate."""
        if series.what in _AT_SATURATION or series.what == BEAT:
            return None
        return self._times(series, saturated(1), series.server)

    def times_ours(self, series: Series) -> float | None:
        """How many times the cost of our gateway in the same round another server's is."""
        return self._times(series, series.what, GATEWAY)

    def _times(self, series: Series, what: str, server: str) -> float | None:
        """The median of the ratios of two costs, each pair of one round."""
        pairs = zip(series.costs, self.of(what, server).costs, strict=False)
        ratios = sorted(one.server / two.server for one, two in pairs if one.server and two.server)
        return ratios[len(ratios) // 2] if ratios else None

    def trackers_a_core(self) -> int | None:
        """Trackers for which `BUSY` of a core is enough, one frame of one record each in every interval.

        Each costs a part of the heartbeats, too, as long as it is connected.
        """
        frame = self._own_cost(HALF) or self._own_cost(saturated(1))
        if not frame:
            return None
        beat = self._own_cost(BEAT) or 0.0
        return int(BUSY * 1e6 / (frame / self.interval + beat / HEARTBEAT))

    def _own_cost(self, what: str) -> float | None:
        """The CPU time of our gateway for one of these."""
        return self.of(what, GATEWAY).median(lambda one: one.server)

    def ratios(self) -> dict[str, float]:
        """What can be compared between two runs, and between two machines of a kind."""
        found: dict[str, float | None] = {}
        for (what, server), series in self.series.items():
            if server == GATEWAY:
                found[f"{what}, times the floor"] = self.times_floor(series)
                found[f"{what}, times saturated"] = self.times_saturated(series)
        for what, name in _AGAINST_ONE.items():
            found[name] = self._times(self.of(what, GATEWAY), saturated(1), GATEWAY)
        return {name: round(ratio, 2) for name, ratio in found.items() if ratio is not None}

    def worse_than(self, earlier: Any) -> Iterator[str]:
        """What has become worse since an earlier result in JSON.

        Raises:
            ValueError: it is none.
        """
        before = earlier.get("ratios") if isinstance(earlier, dict) else None
        if not isinstance(before, dict):
            raise ValueError("no result of telgw bench")
        for name, ratio in self.ratios().items():
            old = before.get(name)
            if isinstance(old, int | float) and ratio > WORSE * old:
                yield f"{name}: {ratio:g}, before {old:g}"

    def as_json(self) -> dict[str, Any]:
        """The result for programs."""
        return {
            "telgw": version("teltonika-gateway"),
            "python": platform.python_version(),
            "machine": {"processors": os.cpu_count(), "architecture": platform.machine()},
            "ratios": self.ratios(),
            "idle_connection_kib": self.idle_kib,
            "redis_record_bytes": self.record_bytes,
            "redis_record_sent_bytes": self.sent_bytes,
            "interval_s": self.interval,
            "trackers_a_core": self.trackers_a_core(),
            "series": [_row(series) for series in self.series.values()],
        }

    def parts(self) -> Iterator[str | Table]:
        """The result for a terminal: a table of our gateway and of each other server, and what it means."""
        yield self._own()
        yield ""
        for name in dict.fromkeys(server for _, server in self.series):
            if name not in (GATEWAY, FLOOR):
                yield self._other(name)
                yield ""
        yield from self._sentences()

    def _own(self) -> Table:
        heads = ("CPU us", "x floor", "x busy", "Redis us", "a core/s", "p50 ms", "p99 ms")
        table = _table("load", *heads)
        for series in self._of(GATEWAY):
            cost = series.median(lambda one: one.server)
            full = series.what in _AT_SATURATION
            cells = [_shown(cost), _shown(self.times_floor(series)), _shown(self.times_saturated(series))]
            cells += [_shown(series.median(lambda one: one.redis))]
            cells += [f"{1e6 / cost:,.0f}" if cost and full else ""]
            table.add_row(series.what, *cells, *(["", ""] if full else _latencies(series)))
        return table

    def _other(self, name: str) -> Table:
        table = _table(name, "CPU us", "x telgw", "frames/s", "p50 ms", "p99 ms")
        for series in self._of(name):
            cost = series.median(lambda one: one.server)
            reached = series.median(lambda one: one.each_second)
            cells = [_shown(cost), _shown(self.times_ours(series)), _shown(reached, 0)]
            table.add_row(series.what, *cells, *_latencies(series))
        return table

    def _of(self, server: str) -> list[Series]:
        return [series for series in self.series.values() if series.server == server]

    def _sentences(self) -> Iterator[str]:
        """What the figures mean."""
        if trackers := self.trackers_a_core():
            yield (
                f"{BUSY:.0%} of one core serves about {trackers:,} trackers that send a frame of one record "
                f"every {self.interval:g} s."
            )
        half = self.of(HALF, GATEWAY)
        if reached := half.median(lambda one: one.each_second):
            p50, p99 = _latencies(half)
            least = "" if reached >= REACHED * self.half_wanted else _not_reached(self.half_wanted)
            yield (
                f"{least}At {reached:,.0f} frames a second half of the acknowledgements come within "
                f"{p50} ms, 99 of 100 within {p99} ms."
            )
        if cost := self._own_cost(COMMAND):
            yield f"One core carries out about {1e6 / cost:,.0f} commands a second."
        if self.idle_kib is not None:
            yield f"An idle connection takes {self.idle_kib:.1f} KiB of the gateway."
        if self.record_bytes is not None and self.sent_bytes is not None:
            stored, sent = self.record_bytes, self.sent_bytes
            yield f"A record takes {stored:.0f} bytes of Redis, and {sent:.0f} on the way there."
        if not self._of(FLOOR):
            yield "Without a C compiler there is no floor to compare with."


_AT_SATURATION = {*map(saturated, RECORDS), COMMAND, RAW}
_FLOOR_OF = dict.fromkeys((COMMAND, RAW), saturated(1))
_AGAINST_ONE = {
    saturated(20): "20 records in a frame against one",
    RAW: "a raw frame against a decoded one",
    COMMAND: "a command against a frame",
}
"""Ratios that need no C compiler."""


def _table(first: str, *heads: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(first)
    for head in heads:
        table.add_column(head, justify="right")
    return table


def _latencies(series: Series) -> list[str]:
    return [
        _shown(series.median(lambda one: one.p50_ms), 2),
        _shown(series.median(lambda one: one.p99_ms), 2),
    ]


def _not_reached(wanted: float) -> str:
    return f"Trackers and Redis had no time for {wanted:,.0f} frames a second. "


def _row(series: Series) -> dict[str, Any]:
    named = {
        "server_us": series.median(lambda one: one.server),
        "redis_us": series.median(lambda one: one.redis),
        "each_second": series.median(lambda one: one.each_second),
        "p50_ms": series.median(lambda one: one.p50_ms),
        "p99_ms": series.median(lambda one: one.p99_ms),
    }
    known = {name: round(value, 3) for name, value in named.items() if value is not None}
    return {"load": series.what, "server": series.server, "rounds": len(series.costs), **known}


def _shown(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:,.{digits}f}"

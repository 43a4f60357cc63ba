"""The result of a benchmark: as a table, as JSON, and against an earlier one."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from rich.table import Table

from .measuring import RECORDS, Series

GATEWAY, FLOOR = "telgw", "floor"
HALF, COMMAND = "half a core", "command"
BUSY = 0.7
"""The share of a core that a gateway may use in everyday work: the rest is for the hours after an outage."""
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
        interval: seconds between two frames of a tracker, for the number of trackers.
    """

    interval: float
    series: dict[tuple[str, str], Series] = field(default_factory=dict)
    idle_kib: float | None = None

    def of(self, what: str, server: str) -> Series:
        """The series of a measurement of a server."""
        return self.series.setdefault((what, server), Series(what, server))

    def times_floor(self, series: Series) -> float | None:
        """How many times the cost of the floor in the same round a frame costs; the median of the rounds."""
        floor = self.series.get((series.what, FLOOR))
        if floor is None or series.server == FLOOR:
            return None
        pairs = zip(series.costs, floor.costs, strict=False)
        ratios = sorted(ours.server / least.server for ours, least in pairs if ours.server and least.server)
        return ratios[len(ratios) // 2] if ratios else None

    def times_saturated(self, series: Series) -> float | None:
        """How many times the cost at saturation in the same round a frame costs."""
        busy = self.series.get((saturated(1), series.server))
        if busy is None or series.what in _AT_SATURATION:
            return None
        pairs = zip(series.costs, busy.costs, strict=False)
        ratios = sorted(ours.server / full.server for ours, full in pairs if ours.server and full.server)
        return ratios[len(ratios) // 2] if ratios else None

    def trackers_a_core(self) -> int | None:
        """Trackers that one core serves, each of which sends a frame of one record in every interval."""
        cost = self.of(saturated(1), GATEWAY).median(lambda one: one.server)
        return int(BUSY * 1e6 / cost * self.interval) if cost else None

    def ratios(self) -> dict[str, float]:
        """What can be compared between two runs, and between two machines of a kind."""
        found = {}
        for (what, server), series in self.series.items():
            for name, ratio in (
                ("times the floor", self.times_floor(series)),
                ("times saturated", self.times_saturated(series)),
            ):
                if ratio is not None and server == GATEWAY:
                    found[f"{what}, {name}"] = round(ratio, 2)
        return found

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
            "interval_s": self.interval,
            "trackers_a_core": self.trackers_a_core(),
            "series": [_row(series) for series in self.series.values()],
        }

    def table(self) -> Table:
        """The result for a terminal."""
        table = Table(box=None, pad_edge=False)
        table.add_column("load")
        table.add_column("server")
        for head in ("CPU us", "x floor", "x busy", "Redis us", "a core/s", "p50 ms", "p99 ms"):
            table.add_column(head, justify="right")
        for series in self.series.values():
            table.add_row(series.what, series.server, *self._cells(series))
        return table

    def _cells(self, series: Series) -> Iterable[str]:
        cost = series.median(lambda one: one.server)
        full = series.what in _AT_SATURATION
        yield _shown(cost)
        yield _shown(self.times_floor(series))
        yield _shown(self.times_saturated(series))
        yield _shown(series.median(lambda one: one.redis))
        yield f"{1e6 / cost:,.0f}" if cost and full else ""
        for latency in (series.median(lambda one: one.p50_ms), series.median(lambda one: one.p99_ms)):
            yield "" if full else _shown(latency, 2)


_AT_SATURATION = {*map(saturated, RECORDS), COMMAND}


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

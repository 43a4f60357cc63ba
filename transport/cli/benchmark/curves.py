"""Curves: how what a gateway costs depends on one number, such as the records of a frame.

A curve has panels, a panel has lines, and a line has a value at each point: the median of the rounds.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import product
from typing import Any

from rich.table import Table

from .measuring import Cost, Loaded, Server, memory_of, wait_until_idle
from .outcome import GATEWAY, REACHED
from .stage import Stage
from .trackers import frames_of

REDIS, RAW = "Redis", "telgw, raw"
FULL = 0
"""The rate at which as many frames are sent as are acknowledged."""
SINGLY = 2000
"""Frames of one record a second, as a small part of a fleet sends them."""
RECORDS = 5
"""Records of a frame where that is given."""
WINDOW = 100
"""Frames that wait at any time, where the number of connections is what changes."""


@dataclass(frozen=True)
class Panel:
    """One drawing of a curve: what its values are, and whether its axis is logarithmic."""

    title: str
    logarithmic: bool = False


CPU_FRAME = Panel("CPU time of a frame, us", logarithmic=True)
CPU_RECORD = Panel("CPU time of a record, us")
ACK = Panel("Time until the acknowledgement, ms")
RATE = Panel("Records a second")
SINGLE = Panel(f"CPU time of a record, us: {SINGLY:,} frames of one a second")
MEMORY = Panel("Memory of the gateway, MiB")
CPU_ANY = Panel("CPU time of a frame, us")


@dataclass
class Curve:
    """The values of a curve.

    Attributes:
        title: what is shown.
        axis: what the points are.
        points: as they are shown.
        values: of each round, by panel, line and point.
    """

    title: str
    axis: str
    points: tuple[int, ...]
    values: dict[Panel, dict[str, dict[int, list[float]]]] = field(default_factory=dict)

    def add(self, panel: Panel, line: str, point: int, value: float | None) -> None:
        """A value of one round; None is none."""
        if value is not None:
            lines = self.values.setdefault(panel, {})
            lines.setdefault(line, defaultdict(list))[point].append(value)

    def add_cost(self, panel: Panel, line: str, point: int, cost: Cost, parts: int = 1) -> None:
        """The CPU time of a server, and of its Redis, of which `parts` are one."""
        self.add(panel, line, point, cost.server and cost.server / parts)
        self.add(panel, REDIS, point, cost.redis and cost.redis / parts)

    def line(self, panel: Panel, line: str) -> dict[int, float]:
        """The value at each point that has one."""
        found = self.values[panel][line]
        return {point: statistics.median(found[point]) for point in self.points if found.get(point)}

    def as_json(self) -> dict[str, Any]:
        """The curve for programs."""
        panels = {
            panel.title: {name: _rounded(self.line(panel, name)) for name in lines}
            for panel, lines in self.values.items()
        }
        return {
            "telgw": version("teltonika-gateway"),
            "python": platform.python_version(),
            "machine": {"processors": os.cpu_count(), "architecture": platform.machine()},
            "title": self.title,
            "axis": self.axis,
            "panels": panels,
        }

    def parts(self) -> Iterator[str | Table]:
        """The curve for a terminal: a title and a table for each panel."""
        for panel, lines in self.values.items():
            yield f"{panel.title}:"
            table = Table(box=None, pad_edge=False)
            table.add_column(self.axis)
            for name in lines:
                table.add_column(name, justify="right")
            found = [self.line(panel, name) for name in lines]
            for point in self.points:
                cells = [short(line[point]) if point in line else "" for line in found]
                if any(cells):
                    table.add_row(shown(point), *cells)
            yield table
            yield ""


Measure = Callable[[Stage, Curve, float], Iterator[str]]
"""One round; before each step its name."""


@dataclass(frozen=True)
class Plan:
    """How a curve is measured.

    Attributes:
        prepare: starts what is measured; what it returns measures one round.
        apart: a server has a core of its own.
    """

    title: str
    axis: str
    points: Callable[[], tuple[int, ...]]
    prepare: Callable[[Stage, tuple[int, ...]], Measure]
    apart: bool = True

    def curve(self) -> Curve:
        """The curve, without values."""
        return Curve(self.title, self.axis, self.points())

    def measure(self, stage: Stage, curve: Curve, rounds: int, seconds: float) -> Iterator[str]:
        """Fill a curve; before each step its name."""
        yield "start"
        one_round = self.prepare(stage, curve.points)
        for number in range(1, rounds + 1):
            for name in one_round(stage, curve, seconds):
                yield f"round {number}: {name}"


def _by_rate(stage: Stage, _: tuple[int, ...]) -> Measure:
    servers = [stage.start(), *stage.floor()]

    def measure(_: Stage, curve: Curve, seconds: float) -> Iterator[str]:
        with _loaded(servers) as loaded:
            for rate, one in product(curve.points, loaded):
                name = one.server.name
                yield f"{shown(rate)} frames a second, {name}"
                cost = one.frames(1, seconds, rate)
                if cost.each_second < REACHED * rate:
                    continue  # trackers and Redis had no more time
                curve.add_cost(CPU_FRAME, name, rate, cost)
                if rate != FULL and name == GATEWAY:
                    curve.add(ACK, "half within", rate, cost.p50_ms)
                    curve.add(ACK, "99 % within", rate, cost.p99_ms)

    return measure


def _by_records(stage: Stage, _: tuple[int, ...]) -> Measure:
    servers = [stage.start(), stage.start("--payload", "raw", name=RAW), *stage.floor()]

    def measure(_: Stage, curve: Curve, seconds: float) -> Iterator[str]:
        with _loaded(servers) as loaded:
            for records, one in product(curve.points, loaded):
                name = one.server.name
                yield f"{records} records a frame, {name}"
                cost = one.frames(records, seconds)
                if name == GATEWAY:
                    curve.add_cost(CPU_RECORD, name, records, cost, records)
                else:
                    curve.add(CPU_RECORD, name, records, cost.server and cost.server / records)

    return measure


def _by_workers(_: Stage, __: tuple[int, ...]) -> Measure:
    def measure(stage: Stage, curve: Curve, seconds: float) -> Iterator[str]:
        for workers in curve.points:
            yield f"{workers} workers"
            with stage.gateway(workers=workers) as server, Loaded(server) as loaded:
                cost = loaded.frames(RECORDS, seconds)
            curve.add(RATE, "stored", workers, cost.each_second * RECORDS)
            curve.add_cost(CPU_RECORD, GATEWAY, workers, cost, RECORDS)

    return measure


def _by_shards(stage: Stage, points: tuple[int, ...]) -> Measure:
    servers = [stage.start("--telemetry-shards", str(shards)) for shards in points]

    def measure(_: Stage, curve: Curve, seconds: float) -> Iterator[str]:
        with _loaded(servers) as loaded:
            for shards, one in zip(points, loaded, strict=True):
                yield f"{shards} shards"
                curve.add_cost(CPU_RECORD, GATEWAY, shards, one.frames(RECORDS, seconds), RECORDS)
                curve.add_cost(SINGLE, GATEWAY, shards, one.frames(1, seconds, SINGLY))

    return measure


def _by_connections(stage: Stage, _: tuple[int, ...]) -> Measure:
    floor = list(stage.floor())

    def measure(stage: Stage, curve: Curve, seconds: float) -> Iterator[str]:
        with stage.gateway() as gateway:
            for one in (gateway, *floor):  # one after the other, because both together have too many files
                with Loaded(one, 0) as loaded:
                    for number in curve.points:
                        yield f"{number:,} connections, {one.name}"
                        loaded.fleet.connect(number - len(loaded.fleet.imeis))
                        loaded.fleet.report(frames_of(1)[0])
                        wait_until_idle(one)
                        if one is gateway:
                            curve.add(MEMORY, GATEWAY, number, memory_of(one) / 2**20)
                        curve.add(CPU_ANY, one.name, number, loaded.frames(1, seconds, window=WINDOW).server)

    return measure


@contextmanager
def _loaded(servers: list[Server]) -> Iterator[list[Loaded]]:
    """Trackers at each of the servers."""
    with ExitStack() as stack:
        yield [stack.enter_context(Loaded(server)) for server in servers]


def _cores() -> tuple[int, ...]:
    """1, 2, 4 and so on, up to the number of cores, but 2 at least."""
    cores = len(os.sched_getaffinity(0))
    return tuple(1 << power for power in range(max(2, cores.bit_length())))


def _connections() -> tuple[int, ...]:
    """As many as this process may have open, beside other files."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = 100_000 if files < 0 else min(100_000, max(100, files // 1000 * 1000 - 1000))
    return (*(number for number in (100, 1000, 10_000) if number < most), most)


CURVES = {
    "rate": Plan(
        "A frame of one record, by frames a second of 500 trackers",
        "frames a second",
        lambda: (250, 1000, 4000, 12_000, FULL),
        _by_rate,
    ),
    "records": Plan(
        "A record, by records of a frame, as many as are acknowledged",
        "records of a frame",
        lambda: (1, 2, 5, 10, 20),
        _by_records,
    ),
    "workers": Plan(
        f"Records by workers, {RECORDS} in a frame; trackers and Redis on the same cores",
        "workers",
        _cores,
        _by_workers,
        apart=False,
    ),
    "shards": Plan(
        f"A record by shards on one server; left {RECORDS} in a frame, as many as are acknowledged",
        "shards",
        lambda: (1, 2, 4, 8),
        _by_shards,
    ),
    "connections": Plan(
        f"Memory and cost by connections; {WINDOW} frames wait at any time",
        "connections",
        _connections,
        _by_connections,
    ),
}
"""By name, what can be measured."""


def shown(point: int) -> str:
    """A point as it is shown."""
    return f"{point:,}" if point != FULL else "saturated"


def short(value: float) -> str:
    """A value with three digits, or all before its point."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def _rounded(line: dict[int, float]) -> dict[str, float]:
    return {shown(point): round(value, 3) for point, value in line.items()}

"""The drawings of a report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import tzinfo
from typing import Any

import matplotlib.dates
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .latency import Latency
from .markup import named
from .outages import REDIS, Outage
from .presence import Online
from .span import DAY, Span
from .svg import COLOURS, STYLE

SIZE = (5.0, 3.0)
"""Inches, of 72 units of the drawing."""
SERIES = 6
"""Kinds that are told apart by a colour; the others are one kind."""
ROWS = 8
"""Rows of a chart with a row for each gateway."""
LONGEST = 18
"""Characters of a name in a drawing."""
OTHERS = "others"
OUTCOMES = ("responded", "delivered", "timeout", "failed")
PARTS_OF_A_DECADE = 8
DECADES = 8
"""From 1 ms to more than an hour, the longest time to answer."""
DATES = ["", "%Y", "%b", "%d %b", "%H:%M", "%H:%M"]
"""Formats of the first of a unit: the year, a month, a day, an hour, a minute, a second."""

Counts = Mapping[str, Sequence[int]]


class Charts:
    """Draws figures that share one time axis.

    Args:
        zone: in which times are shown.
        outages: shown as bands in every figure over time.
    """

    def __init__(self, span: Span, zone: tzinfo, outages: Sequence[Outage]) -> None:
        self._span = span
        self._zone = zone
        self._outages = outages

    def outcomes(self, counts: Counts) -> Figure:
        """Commands that ended, by their state."""
        shown = {state: counts[state] for state in OUTCOMES if state in counts}
        return self._stacked(shown, [COLOURS[state] for state in shown])

    def kinds(self, counts: Counts) -> Figure:
        """The most frequent kinds, each with its colour, and the others as one."""
        shown = _most_frequent(counts)
        return self._stacked(shown, [COLOURS[f"c{place}"] for place in range(1, len(shown) + 1)])

    def online(self, online: Online) -> Figure:
        """Connected devices."""
        with rc_context(STYLE):
            figure, axes = self._over_time()
            begins = self._edges()
            last, least = (_ended(counts) for counts in online)
            colour = COLOURS["online"]
            axes.fill_between(begins, last, step="post", color=colour, alpha=0.18, linewidth=0)
            axes.fill_between(begins, least, last, step="post", color=colour, alpha=0.35, linewidth=0)
            axes.plot(begins, last, drawstyle="steps-post", color=colour, linewidth=1.6)
            axes.set_ylim(bottom=0, top=max(1, max(last) * 1.12))
            return figure

    def away(self) -> Figure:
        """A row for Redis and for each gateway that was away."""
        gateways = dict.fromkeys((False, one.who) for one in self._outages if not one.of_redis)
        rows = [(True, REDIS), *gateways][:ROWS]
        with rc_context(STYLE):
            figure, axes = self._over_time(bands=False)
            axes.grid(visible=False)
            for place, row in enumerate(rows):
                axes.axhline(place, color=COLOURS["grid"], linewidth=0.8)
                for one in (one for one in self._outages if (one.of_redis, one.who) == row):
                    begin, end = self._moments([one.since_ms, one.until_ms])
                    colour = COLOURS["band-redis" if one.of_redis else "band-gateway"]
                    # A short outage must not be too thin to be seen.
                    axes.plot([begin, end], [place, place], color=colour, linewidth=9, solid_capstyle="butt")
                    axes.plot([begin], [place], color=colour, marker="|", markersize=9, markeredgewidth=1.5)
            axes.set_yticks(range(len(rows)), [_short(name) for _, name in rows])
            axes.set_ylim(len(rows) - 0.4, -0.6)
            return figure

    def _stacked(self, counts: Counts, colours: Sequence[str]) -> Figure:
        with rc_context(STYLE):
            figure, axes = self._over_time()
            edges = self._edges()
            below = self._span.counts()
            for (name, values), colour in zip(counts.items(), colours, strict=True):
                above = [one + other for one, other in zip(below, values, strict=True)]
                axes.fill_between(
                    edges, _ended(below), _ended(above), step="post", color=colour, label=name, linewidth=0
                )
                below = above
            axes.set_ylim(bottom=0, top=max(1, max(below) * 1.05))
            _legend(figure, len(counts))
            return figure

    def _over_time(self, *, bands: bool = True) -> tuple[Figure, Axes]:
        figure, axes = _figure()
        dates: Any = matplotlib.dates  # it has no types of its own
        locator = dates.AutoDateLocator(tz=self._zone, minticks=3, maxticks=6)
        names = dates.ConciseDateFormatter(locator, tz=self._zone, zero_formats=DATES, show_offset=False)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(names)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_xlim(
            *self._moments([self._span.since_ms, max(self._span.until_ms, self._span.since_ms + 1)])
        )
        for one in self._outages if bands else ():
            colour = COLOURS["band-redis" if one.of_redis else "band-gateway"]
            begin, end = self._moments([one.since_ms, one.until_ms])
            axes.axvspan(begin, end, color=colour, alpha=0.25, linewidth=0, zorder=0)
        return figure, axes

    def _edges(self) -> list[float]:
        """Where the parts begin, and where the last one ends."""
        return self._moments([*self._span, max(self._span) + self._span.width_ms])

    def _moments(self, times: Iterable[int]) -> list[float]:
        """Times as matplotlib counts them: in days."""
        return [ms / DAY for ms in times]


def distribution(answers: Latency, by_verb: Mapping[str, Latency]) -> Figure:
    """How often an answer took how long, by verb."""
    quickest, slowest = min(_place(ms) for ms, _ in answers), max(_place(ms) for ms, _ in answers)
    first, parts = min(quickest, slowest - PARTS_OF_A_DECADE), range(slowest + 1)
    counts = {verb: _by_place(times, slowest) for verb, times in sorted(by_verb.items())}
    with rc_context(STYLE):
        figure, axes = _figure()
        below = [0] * len(parts)
        shown = _most_frequent(counts)
        for number, (name, values) in enumerate(shown.items(), 1):
            axes.bar(
                list(parts),
                values,
                bottom=below,
                width=0.94,
                align="edge",
                label=name,
                color=COLOURS[f"c{number}"],
                linewidth=0,
            )
            below = [one + other for one, other in zip(below, values, strict=True)]
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        axes.set_xlim(first - 0.5, slowest + 1.5)
        _decades(axes, first, slowest + 1)
        [middle, late] = answers.quantiles((0.5, 0.95))
        for ms, name, side in ((middle, "half", "right"), (late, "95 %", "left")):
            axes.axvline(_exact(ms), color=COLOURS["ink"], linewidth=0.9, linestyle=(0, (3, 2)))
            axes.annotate(
                name,
                (_exact(ms), 1),
                xycoords=("data", "axes fraction"),
                xytext=(0, 2),
                ha=side,
                textcoords="offset points",
                fontsize=8.5,
            )
        _legend(figure, len(shown))
        return figure


def spread(named: Mapping[str, Latency]) -> Figure:
    """For each gateway the range of its answers: 5 to 95 %, 25 to 75 %, and the median."""
    rows = sorted(named.items(), key=lambda one: -one[1].count)[:ROWS]
    wanted = (0.05, 0.25, 0.5, 0.75, 0.95)
    found = [[_exact(ms) for ms in times.quantiles(wanted)] for _, times in rows]
    with rc_context(STYLE | {"axes.grid.axis": "x"}):
        figure, axes = _figure()
        for place, (least, low, middle, high, most) in enumerate(found):
            axes.plot([least, most], [place, place], color=COLOURS["c1"], linewidth=1.6, alpha=0.7)
            axes.plot([low, high], [place, place], color=COLOURS["c1"], linewidth=9, solid_capstyle="butt")
            axes.plot([middle, middle], [place - 0.3, place + 0.3], color=COLOURS["ink"], linewidth=2)
        axes.set_yticks(range(len(rows)), [_short(name) for name, _ in rows])
        axes.set_ylim(max(len(rows), 3) - 0.4, -0.6)
        least, most = min(row[0] for row in found), max(row[-1] for row in found)
        axes.set_xlim(min(least, most - PARTS_OF_A_DECADE) - 1, most + 1)
        _decades(axes, math.floor(min(least, most - PARTS_OF_A_DECADE)), math.ceil(most) + 1)
        return figure


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    return figure, axes


def _legend(figure: Figure, count: int) -> None:
    if count:
        figure.legend(
            loc="outside upper left",
            ncols=min(3, count),
            handlelength=0.8,
            handleheight=0.8,
            columnspacing=1.1,
            handletextpad=0.4,
        )


def _most_frequent(counts: Counts) -> dict[str, Sequence[int]]:
    order = sorted(counts, key=lambda name: (-sum(counts[name]), name))
    shown = {name: counts[name] for name in order[:SERIES]}
    if len(order) > SERIES:
        rest = (counts[name] for name in order[SERIES:])
        shown[OTHERS] = [sum(column) for column in zip(*rest, strict=True)]
    return shown


def _ended(counts: Sequence[int]) -> list[int]:
    """A step for each part, up to the end of the last one."""
    return [*counts, counts[-1]]


def _short(name: str) -> str:
    text = named(name) or "unknown"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _exact(ms: int) -> float:
    """The place of a duration on a logarithmic axis."""
    return math.log10(max(1, ms)) * PARTS_OF_A_DECADE


def _place(ms: int) -> int:
    return math.floor(_exact(ms) + 1e-9)


def _by_place(times: Latency, last: int) -> list[int]:
    counts = [0] * (last + 1)
    for ms, count in times:
        counts[_place(ms)] += count
    return counts


def _decades(axes: Axes, first: int, last: int) -> None:
    """Ticks at 1, 10, 100 ms and so on; at 2 and 5 too if there would be few."""
    steps = (1, 2, 5) if last - first < 2.5 * PARTS_OF_A_DECADE else (1,)
    times = [step * 10**decade for decade in range(DECADES) for step in steps]
    shown = {_exact(ms): _rounded(ms) for ms in times if first <= _exact(ms) <= last}
    axes.set_xticks(list(shown), list(shown.values()))


def _rounded(ms: int) -> str:
    if ms < 1000:
        return f"{ms} ms"
    return f"{ms // 1000} s" if ms < 1_000_000 else f"{ms / 60_000:.0f} min"

"""The table of a benchmark as a drawing: a bar for each measurement of each server, as long as its cost."""

from __future__ import annotations

from collections.abc import Iterator

from .measuring import Series
from .outcome import Outcome
from .page import WIDTH, Colours, legend, page, text

BAR, GAP = 14, 10
LEFT, RIGHT = 150, 80


def draw(outcome: Outcome) -> str:
    """The drawing."""
    groups: dict[str, list[Series]] = {}
    for series in outcome.series.values():
        if _cost(series):
            groups.setdefault(series.what, []).append(series)
    every = [one for group in groups.values() for one in group]
    colours = Colours(one.server for one in every)
    scale = (WIDTH - LEFT - RIGHT) / max(map(_cost, every), default=1.0)
    body = [*legend(12, 46, dict.fromkeys(one.server for one in every), colours)]
    height = 64.0
    for what, group in groups.items():
        body += _group(what, group, height, scale, colours)
        height += len(group) * (BAR + 3) + GAP
    return page("CPU time of a frame, a command, a heartbeat of a device, us", height, body)


def _group(what: str, group: list[Series], top: float, scale: float, colours: Colours) -> Iterator[str]:
    yield text(LEFT - 8, top + 11, what, anchor="end")
    for place, series in enumerate(group):
        y, length = top + place * (BAR + 3), max(1.0, _cost(series) * scale)
        kind = f"f{colours[series.server]}"
        yield f"<rect class='{kind}' x='{LEFT}' y='{y}' width='{length:.1f}' height='{BAR}'/>"
        yield text(LEFT + length + 5, y + 11, f"{_cost(series):.1f}")


def _cost(series: Series) -> float:
    return series.median(lambda one: one.server) or 0.0

"""The result of a benchmark as SVG: a bar for each measurement of each server, as long as its cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from .measuring import Series
from .outcome import FLOOR, GATEWAY, Outcome

WIDTH, BAR, GAP = 760, 14, 10
LEFT, RIGHT = 230, 150
COLOURS = {GATEWAY: "#2563eb", FLOOR: "#9ca3af"}
OTHER = "#d97706"
FONT = "font-family='system-ui, sans-serif' font-size='12'"


def draw(outcome: Outcome) -> str:
    """The drawing."""
    groups: dict[str, list[Series]] = {}
    for series in outcome.series.values():
        if _cost(series):
            groups.setdefault(series.what, []).append(series)
    longest = max((_cost(one) for group in groups.values() for one in group), default=1.0)
    body: list[str] = []
    height = 64.0
    for what, group in groups.items():
        body += _group(what, group, height, (WIDTH - LEFT - RIGHT) / longest)
        height += len(group) * (BAR + 3) + GAP
    legend = _legend(dict.fromkeys(one.server for group in groups.values() for one in group))
    return "\n".join(_page(body, legend, height))


def _page(body: Iterable[str], legend: Iterable[str], height: float) -> Iterator[str]:
    yield f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height:.0f}' {FONT} fill='#374151'>"
    yield f"<rect width='{WIDTH}' height='{height:.0f}' fill='white'/>"
    yield "<text x='12' y='24' font-size='15' fill='#111827'>CPU time for one frame or command, us</text>"
    yield from legend
    yield from body
    yield "</svg>\n"


def _legend(servers: Iterable[str]) -> Iterator[str]:
    at = 12
    for server in servers:
        yield f"<rect x='{at}' y='36' width='10' height='10' fill='{COLOURS.get(server, OTHER)}'/>"
        yield f"<text x='{at + 15}' y='45'>{escape(server)}</text>"
        at += 40 + 8 * len(server)


def _group(what: str, group: Iterable[Series], top: float, scale: float) -> Iterator[str]:
    yield f"<text x='{LEFT - 8}' y='{top + 11}' text-anchor='end'>{escape(what)}</text>"
    for place, series in enumerate(group):
        y, length = top + place * (BAR + 3), max(1.0, _cost(series) * scale)
        colour = COLOURS.get(series.server, OTHER)
        yield f"<rect x='{LEFT}' y='{y}' width='{length:.1f}' height='{BAR}' fill='{colour}'/>"
        yield f"<text x='{LEFT + length + 5:.1f}' y='{y + 11}'>{_cost(series):.1f}</text>"


def _cost(series: Series) -> float:
    return series.median(lambda one: one.server) or 0.0

"""A curve as a drawing: its panels side by side, each with a line for each of its names."""

from __future__ import annotations

import math
from collections.abc import Iterator

from .curves import Curve, Panel, short, shown
from .page import WIDTH, Colours, legend, page, text

TOP, HEIGHT, BOTTOM = 84, 220, 44
LEFT, RIGHT = 52, 16
TICKS = 5
"""Steps of a linear axis, about."""


def plot(curve: Curve) -> str:
    """The drawing."""
    colours = Colours(name for lines in curve.values.values() for name in lines)
    width = WIDTH / max(1, len(curve.values))
    body = [
        line
        for place, panel in enumerate(curve.values)
        for line in _Drawing(curve, panel, place * width, width, colours).lines()
    ]
    return page(curve.title, TOP + HEIGHT + BOTTOM, body)


class _Drawing:
    """One panel, from `left` on so many units wide."""

    def __init__(self, curve: Curve, panel: Panel, left: float, width: float, colours: Colours) -> None:
        self._curve = curve
        self._panel = panel
        self._left, self._right = left + LEFT, left + width - RIGHT
        self._colours = colours
        self._values = {name: curve.line(panel, name) for name in curve.values[panel]}
        self._points = [
            point for point in curve.points if any(point in line for line in self._values.values())
        ]
        every = [value for line in self._values.values() for value in line.values()]
        self._ticks = _decades(min(every), max(every)) if panel.logarithmic else _steps(max(every))

    def lines(self) -> Iterator[str]:
        """The elements of the panel."""
        yield text(self._left - LEFT + 12, 46, self._panel.title, "muted")
        yield from legend(self._left - LEFT + 12, 66, self._values, self._colours)
        for tick in self._ticks:
            y = self._y(tick)
            yield f"<path class='grid' d='M{self._left:.1f} {y:.1f}H{self._right:.1f}'/>"
            yield text(self._left - 6, y + 4, f"{tick:,g}", "muted", "end")
        for point in self._points:
            yield text(self._x(point), TOP + HEIGHT + 18, shown(point), "muted", "middle")
        middle = (self._left + self._right) / 2
        yield text(middle, TOP + HEIGHT + 36, self._curve.axis, "muted", "middle")
        for name in self._values:
            yield from self._line(name)

    def _line(self, name: str) -> Iterator[str]:
        place = self._colours[name]
        found = [(self._x(point), self._y(value), value) for point, value in self._values[name].items()]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in found)
        yield f"<polyline class='line s{place}' points='{path}'/>"
        for x, y, value in found:
            told = f"<title>{name}: {short(value)}</title>"
            yield f"<circle class='f{place}' cx='{x:.1f}' cy='{y:.1f}' r='3.5'>{told}</circle>"

    def _x(self, point: int) -> float:
        """Points are as far from each other whatever their numbers are: most of them double or more."""
        share = (self._points.index(point) + 0.5) / len(self._points)
        return self._left + share * (self._right - self._left)

    def _y(self, value: float) -> float:
        least, most = self._ticks[0], self._ticks[-1]
        if self._panel.logarithmic:
            least, most, value = math.log(least), math.log(most), math.log(max(value, least))
        return TOP + HEIGHT * (1 - (value - least) / (most - least))


def _steps(most: float) -> list[float]:
    """Ticks from 0 to the first at or above `most`."""
    raw = max(most, 1e-9) / TICKS
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= raw)
    return [step * number for number in range(math.ceil(most / step - 1e-9) + 1)]


def _decades(least: float, most: float) -> list[float]:
    """Ticks at 1, 2, 5, 10 and so on, from the last one below `least` to the first one above `most`."""
    low, high = math.floor(math.log10(least)), math.ceil(math.log10(most))
    ticks = [factor * 10.0**power for power in range(low, high + 1) for factor in (1, 2, 5)]
    first = max(place for place, tick in enumerate(ticks) if tick <= least)
    last = min(place for place, tick in enumerate(ticks) if tick >= most)
    return ticks[first : max(last, first + 1) + 1]

"""A drawing as SVG: its size, its style for light and dark, and the colour of each name in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

WIDTH = 760
LIGHT = {"page": "#ffffff", "ink": "#111827", "text": "#374151", "muted": "#6b7280", "grid": "#e5e7eb"}
DARK = {"page": "#0d1117", "ink": "#f3f4f6", "text": "#d1d5db", "muted": "#9ca3af", "grid": "#30363d"}
COLOURS = (
    ("#2563eb", "#60a5fa"),
    ("#c2410c", "#fb923c"),
    ("#6b7280", "#9ca3af"),
    ("#0f766e", "#2dd4bf"),
    ("#7c3aed", "#a78bfa"),
)
"""For light and for dark, of what has no colour of its own in turn."""
OWN = {"telgw": 0, "Redis": 1, "floor": 2, "telgw, raw": 3}
"""Names that have the same colour in all drawings."""


class Colours:
    """The place of each name in `COLOURS`."""

    def __init__(self, names: Iterable[str]) -> None:
        names = list(dict.fromkeys(names))
        taken = {OWN.get(name) for name in names}
        free = [place for place in reversed(range(len(COLOURS))) if place not in taken]
        others = [name for name in names if name not in OWN]
        self._places = OWN | {
            name: (free or [len(COLOURS) - 1])[number % max(1, len(free))]
            for number, name in enumerate(others)
        }

    def __getitem__(self, name: str) -> int:
        return self._places[name]


def page(title: str, height: float, body: Iterable[str]) -> str:
    """The drawing, with its title above the body."""
    lines = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height:.0f}' role='img'>",
        f"<title>{escape(title)}</title>",
        f"<style>{''.join(_style())}</style>",
        f"<rect class='page' width='{WIDTH}' height='{height:.0f}'/>",
        text(12, 24, title, "ink"),
        *body,
        "</svg>\n",
    )
    return "\n".join(lines)


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """A line of text; `kind` is a class of the style."""
    return f"<text x='{x:.1f}' y='{y:.1f}' class='{kind}' text-anchor='{anchor}'>{escape(words)}</text>"


def legend(x: float, y: float, names: Iterable[str], colours: Colours) -> Iterator[str]:
    """A square of its colour before each name."""
    for name in names:
        yield f"<rect class='f{colours[name]}' x='{x:.1f}' y='{y - 9:.1f}' width='10' height='10'/>"
        yield text(x + 15, y, name)
        x += 34 + 6.5 * len(name)


def _style() -> Iterator[str]:
    yield "text{font:12px system-ui,sans-serif}.ink{font-size:15px}"
    yield ".line{fill:none;stroke-width:2}.grid{stroke-width:1}"
    yield from _colours(LIGHT, 0)
    yield "@media (prefers-color-scheme:dark){"
    yield from _colours(DARK, 1)
    yield "}"


def _colours(shades: dict[str, str], mode: int) -> Iterator[str]:
    yield f"text{{fill:{shades['text']}}}.ink{{fill:{shades['ink']}}}.muted{{fill:{shades['muted']}}}"
    yield f".page{{fill:{shades['page']}}}.grid{{stroke:{shades['grid']}}}"
    for place, pair in enumerate(COLOURS):
        yield f".f{place}{{fill:{pair[mode]}}}.s{place}{{stroke:{pair[mode]}}}"

"""A figure of matplotlib as an element of a page.

A colour in the drawing is the name of a variable of the style sheet, so that one drawing serves light and
dark. matplotlib knows only numbers: each name has a number of its own while it draws.
"""

from __future__ import annotations

import io
import re
from typing import Any
from xml.etree.ElementTree import Element, fromstring

from matplotlib import rc_context
from matplotlib.figure import Figure

NAMES = (
    *("ink", "muted", "grid", "card"),
    *("responded", "delivered", "timeout", "failed"),
    *("c1", "c2", "c3", "c4", "c5", "c6", "c7"),
    *("online", "band-redis", "band-gateway"),
)
COLOURS = {name: f"#0000{place:02x}" for place, name in enumerate(NAMES, 1)}
"""By name, the number that stands for it."""

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "telgw",
    "font.size": 9.5,
    "text.color": COLOURS["ink"],
    "text.parse_math": False,  # a name may have dollar signs
    "axes.edgecolor": COLOURS["grid"],
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.labelcolor": COLOURS["muted"],
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "xtick.color": COLOURS["grid"],
    "xtick.labelcolor": COLOURS["muted"],
    "xtick.major.size": 3,
    "ytick.color": COLOURS["grid"],
    "ytick.labelcolor": COLOURS["muted"],
    "ytick.major.size": 0,
}
_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_VARIABLES = {number: f"var(--{name})" for name, number in COLOURS.items()}
_COLOUR = re.compile(r"#0000[0-9a-f]{2}\b")
_FONT = re.compile(r"font: ([\d.]+px) [^;]*")
_ID = re.compile(r"#([\w-]+)")


def drawn(figure: Figure, name: str, label: str) -> Element:
    """The figure as an element ``svg``.

    Args:
        name: distinguishes its ids from those of other figures of the page.
        label: what it shows, for those who cannot see it.
    """
    file = io.StringIO()
    with rc_context(STYLE):
        figure.savefig(file, format="svg", metadata=_METADATA)
    root = fromstring(file.getvalue())
    used = {found for one in root.iter() for value in one.attrib.values() for found in _ID.findall(value)}
    for one in root.iter():
        one.tag = one.tag.rpartition("}")[2]
        one.attrib = _attributes(one.attrib, name, used)
        one.tail = None
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.attrib |= {"role": "img", "aria-label": label}
    return root


def _attributes(found: dict[str, str], name: str, used: set[str]) -> dict[str, str]:
    kept = {}
    for key, value in found.items():
        plain = key.rpartition("}")[2]
        if plain == "id":
            if value in used:
                kept["id"] = f"{name}-{value}"
            continue
        if plain == "style":
            value = _FONT.sub(r"font-size: \1", value)
            value = _COLOUR.sub(lambda match: _VARIABLES.get(match[0], match[0]), value)
        if plain == "href" or "url(" in value:
            value = _ID.sub(lambda match: f"#{name}-{match[1]}", value)
        kept[plain] = value
    return kept

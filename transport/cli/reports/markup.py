"""Elements of a page. What they hold is text or another element, and text is escaped when it is written."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element, tostring

from ..render import printable

LONGEST = 80
"""Characters of a name from outside."""

Child = Element | str


def element(tag: str, *children: Child, **attributes: str) -> Element:
    """An element with these children. ``class_`` stands for the attribute ``class``; ``_`` for ``-``."""
    made = Element(tag, {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()})
    add(made, children)
    return made


def add(parent: Element, children: Iterable[Child]) -> None:
    """Append `children`."""
    for child in children:
        if isinstance(child, Element):
            parent.append(child)
        elif len(parent):
            parent[-1].tail = (parent[-1].tail or "") + child
        else:
            parent.text = (parent.text or "") + child


def named(text: str) -> str:
    """A name from outside, in printable characters."""
    return printable(text, LONGEST)


def table(headings: Iterable[str], rows: Iterable[Iterable[Child]], numbers: frozenset[int]) -> Element:
    """A table. The columns of `numbers` stand at the right; the first cell of a row is its heading."""
    head = element("tr", *(_cell("th", name, place in numbers, "col") for place, name in enumerate(headings)))
    body = element("tbody")
    for row in rows:
        cells = list(row)
        first = _cell("th", cells[0], 0 in numbers, "row")
        rest = (_cell("td", cell, place in numbers) for place, cell in enumerate(cells[1:], 1))
        body.append(element("tr", first, *rest))
    # A wide table scrolls by itself, so that the page does not.
    return element("div", element("table", element("thead", head), body), class_="table", tabindex="0")


def _cell(tag: str, content: Child, number: bool, scope: str = "") -> Element:
    attributes = {"class_": "number"} if number else {}
    if scope:
        attributes["scope"] = scope
    return element(tag, content, **attributes)


def written(page: Element) -> str:
    """A whole page as HTML."""
    return f"<!doctype html>\n{tostring(page, encoding='unicode', method='html')}\n"

"""A table of many rows: it fits a terminal of 80 columns, uses a wide one, and never cuts a value.

The first columns are always there. Extra columns follow as far as all rows have room for them. The tail of a
row, a text of any length, stands behind the columns if it fits, else on lines of its own below. Output that
is no terminal has as much room as it needs, so that one row is one line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

GAP = 2
INDENT = 4


class Column(NamedTuple):
    """A column: its heading, whether its cells stand at the right, and whether it may be left out."""

    heading: str
    right: bool = False
    extra: bool = False


class Row(NamedTuple):
    """The cells of a row, and its tail."""

    cells: Sequence[Text]
    tail: Text


def print_listing(console: Console, columns: Sequence[Column], rows: Sequence[Row], tail: str = "") -> None:
    """Print `rows` below their headings; `tail` is the heading of the tails."""
    head = Row([Text(column.heading, "bold") for column in columns], Text(tail, "bold"))
    layout = _Layout(columns, (head, *rows), console.width)
    for row in (head, *rows):
        _print(console, layout.line(row), layout.tail(row))


class _Layout:
    """Which columns are shown, and how wide they are.

    Extra columns are shown as long as all tails have room beside them. If there is not even room for the
    other columns, the last of them go to the tail.
    """

    def __init__(self, columns: Sequence[Column], rows: Sequence[Row], room: int) -> None:
        self._columns = columns
        self._widths = [max(row.cells[place].cell_len for row in rows) for place in range(len(columns))]
        self._shown = [place for place, column in enumerate(columns) if not column.extra]
        self._moved: list[int] = []
        while len(self._shown) > 1 and self._used(self._shown) > room:
            self._moved.insert(0, self._shown.pop())
        longest = max(row.tail.cell_len for row in rows)
        for place, column in enumerate(columns):
            wider = sorted([*self._shown, place])
            if column.extra and not self._moved and self._used(wider) + (longest and GAP + longest) <= room:
                self._shown = wider

    def _used(self, places: Sequence[int]) -> int:
        return sum(self._widths[place] + GAP for place in places) - GAP

    def line(self, row: Row) -> Text:
        """The cells of a row that are shown."""
        line = Text()
        for place in self._shown:
            cell, right = row.cells[place], self._columns[place].right
            blanks = " " * (self._widths[place] - cell.cell_len)
            line.append(blanks if right else "").append_text(cell)
            line.append(("" if right else blanks) + " " * GAP)
        return line

    def tail(self, row: Row) -> Text:
        """The tail of a row, behind the cells for which there is no column."""
        parts = [*(row.cells[place] for place in self._moved), row.tail]
        return Text(" " * GAP).join(part for part in parts if part)


def _print(console: Console, line: Text, tail: Text) -> None:
    whole = Text.assemble(line, tail)
    whole.rstrip()
    if whole.cell_len <= console.width or not tail:
        console.print(whole, soft_wrap=True)
        return
    line.rstrip()
    console.print(line, soft_wrap=True)
    console.print(Padding(tail, (0, 0, 0, INDENT), expand=False), overflow="fold")

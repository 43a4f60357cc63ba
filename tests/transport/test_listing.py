"""A table of many rows: it fits every width, and no value is cut."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console
from rich.text import Text

from transport.cli.listing import Column, Row, print_listing

COLUMNS = (Column("id"), Column("age", right=True), Column("more", extra=True), Column("last", extra=True))


def printed(width: int, *rows: tuple[str, ...], columns: tuple[Column, ...] = COLUMNS) -> list[str]:
    console = Console(file=StringIO(), width=width, color_system=None, highlight=False)
    made = [Row([Text(cell) for cell in row[:-1]], Text(row[-1])) for row in rows]
    print_listing(console, columns, made, "why")
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_a_wide_terminal_has_all_columns_and_tails_in_one_line() -> None:
    assert printed(80, ("a", "1s", "x", "y", "because"), ("bb", "10s", "x", "y", "")) == [
        "id  age  more  last  why",
        "a    1s  x     y     because",
        "bb  10s  x     y",
    ]


def test_extra_columns_are_left_out_when_tails_have_no_room() -> None:
    assert printed(20, ("a", "1s", "x", "y", "because")) == ["id  age  why", "a    1s  because"]


def test_a_tail_that_does_not_fit_stands_below() -> None:
    assert printed(12, ("a", "1s", "x", "y", "because it is so")) == [
        "id  age  why",
        "a    1s",
        "    because",
        "    it is so",
    ]


def test_columns_for_which_there_is_no_room_go_below() -> None:
    shown = printed(9, ("a long id", "1s", "x", "y", "so"))
    assert shown == ["id", "    age", "    why", "a long id", "    1s", "    so"]


@pytest.mark.parametrize("width", [10, 40, 80, 200])
def test_nothing_is_cut_or_too_wide(width: int) -> None:
    rows = [("x" * 9, "y" * 7, "z" * 9, "w" * 30, "Q" * 99), ("é", "", "", "", "")]
    shown = printed(width, *rows)
    assert max(map(len, shown)) <= width
    assert "".join(shown).replace(" ", "").count("Q") == 99

"""Lines of events and of `telgw simulate` at a narrow terminal: folded between words, nothing is lost."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console
from rich.text import Text

from transport.cli.render import print_line
from transport.cli.simulate import present, summary
from transport.simulator.fleet import Totals

WORDS = (
    "2026-11-30 05:22:43.308+0000  command   352094080000018 n3  queued → timeout  reason=expired  not_sent"
)


@pytest.mark.parametrize("columns", [40, 80, 100, 103, 200])
def test_a_line_is_folded_between_words(columns: int) -> None:
    console = Console(file=StringIO(), width=columns, force_terminal=True, color_system=None)
    print_line(console, Text(WORDS))
    printed = console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO
    assert printed.split() == WORDS.split()
    assert max(map(len, printed.splitlines())) <= columns
    assert all(line.startswith("    ") for line in printed.splitlines()[1:])


def test_a_line_stays_whole_in_a_pipe() -> None:
    console = Console(file=StringIO(), width=40)
    print_line(console, Text(WORDS))
    assert console.file.getvalue() == WORDS + "\n"  # type: ignore[attr-defined]


def test_simulated_trackers_are_counted_in_a_short_line() -> None:
    totals = Totals(1000, 1000, 1000, 0, 99999, 99999, 100, 100, 0)
    spinner_and_time = 10
    assert len(present(totals)) + spinner_and_time <= 80
    assert "1 command read" in summary(replace(totals, commands=1))

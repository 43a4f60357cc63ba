"""Prints the table of mechanisms as Markdown: ``python -m tests.mutation.page``."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from tests.mutation.mechanism import PROMISES, Mechanism
from tests.mutation.mechanisms import MECHANISMS

INTRODUCTION = f"""\
# What upholds the promises

Each promise of the README rests on a few lines of code. The {len(MECHANISMS)} rows below name these lines,
the tests that fail without them, and what their absence would do. For each row the suite removes the line in
a copy of the code and requires that every test of the row fails there.

Some lines are a second defence behind another one. They are tested alone too, because either may be changed.

The rows are data, in `tests/mutation/table/`. To add one:

1. Add a `Mechanism` to the file of its area: the text as it stands once in the code, its replacement, and the
   ids of one or two tests that must fail then. Prefer fast tests.
2. Run `pytest "tests/mutation/test_mechanisms.py::test_without_it_the_suite_fails[NAME]"`. If no test fails,
   the suite has a hole: write one.
"""


def page() -> str:
    """The table of all mechanisms, as Markdown."""
    sections = [
        f"## {_title(promise)}\n\n{_table(mechanisms)}"
        for promise, mechanisms in groupby(MECHANISMS, lambda mechanism: mechanism.promise)
    ]
    return "\n".join([INTRODUCTION, *sections])


def _title(promise: str) -> str:
    text = PROMISES[promise]
    return f"{promise}, {text[0].lower()}{text[1:]}" if promise.startswith("P") else text


def _table(mechanisms: Iterable[Mechanism]) -> str:
    head = ["| mechanism | where | test | mutant killed |", "|---|---|---|---|"]
    return "\n".join([*head, *map(_row, mechanisms)]) + "\n"


def _row(mechanism: Mechanism) -> str:
    told = f"**{mechanism.name}**: {mechanism.what}"
    return f"| {told} | `{mechanism.file}` | {_tests(mechanism)} | {mechanism.without} |"


def _tests(mechanism: Mechanism) -> str:
    return "<br>".join(f"`{test}`" for test in mechanism.tests)


if __name__ == "__main__":
    print(page(), end="")

"""Prints the table of mechanisms as Markdown: ``python -m tests.mutation.page``."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from tests.mutation.mechanism import PROMISES, Mechanism
from tests.mutation.mechanisms import MECHANISMS

INTRODUCTION = f"""\
# What upholds the promises

Each promise of the README rests on a few statements. The {len(MECHANISMS)} rows below name them, the tests
that fail without them, and what their absence would do. For each row the suite removes or changes the code in
a copy of the repository and requires that every test of the row fails there.

Some are a second defence behind another one. They are tested alone too, because either may be changed.

The rows are data, in `tests/mutation/table/`. To add one:

1. Add a `Mechanism` to the file of its area: the file and function, the code that stands there once, its
   replacement, and the ids of one or two tests that must fail then. Prefer fast tests.
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
    where = f"`{mechanism.file}`" + (f", `{mechanism.where}`" if mechanism.where else "")
    return f"| {told} | {where} | {_tests(mechanism)} | {mechanism.without} |"


def _tests(mechanism: Mechanism) -> str:
    return "<br>".join(f"`{test}`" for test in mechanism.tests)


if __name__ == "__main__":
    print(page(), end="")

"""The page that tells of every mechanism, written from the table: ``python -m tests.mutation.page``."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from tests.mutation.grove import ROOT
from tests.mutation.mechanism import PROMISES, Mechanism
from tests.mutation.mechanisms import MECHANISMS

PAGE = ROOT / "docs" / "mechanisms.md"

INTRODUCTION = f"""\
# What upholds the promises

Each promise of the [README](../README.md#what-it-promises) rests on a few lines of code. This page names
them, the tests that notice when one is missing, and what its absence would do. It is no opinion: for each of
the {len(MECHANISMS)} rows the suite, in every run, takes the line out in a copy of the code, runs the tests
of the row there, and fails unless every one of them fails. A row stands here only while its mutant is killed.

Some lines stand behind another that would usually act first. They are tested alone all the same, for nobody
knows which of the two will be changed one day.

The rows are data, in `tests/mutation/table/`. To add one:

1. Add a `Mechanism` to the file of its area: the text that upholds the promise, as it stands once in the
   code, what replaces it, and the ids of one or two tests that must fail then; the faster, the better.
2. `pytest "tests/mutation/test_mechanisms.py::test_without_it_the_suite_fails[its name]"` tells whether they
   do. If no test does, that is a hole in the suite: write one.
3. `python -m tests.mutation.page` writes this page anew; a test compares the two.

Whoever changes such a line of code is told by the same tests: the table follows the code.
"""


def page() -> str:
    """The page as it should be."""
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
    PAGE.write_text(page(), encoding="utf-8")

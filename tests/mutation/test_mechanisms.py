"""Every mechanism that upholds a promise is taken out, one at a time, and the suite must notice."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from lupa.lua51 import LuaRuntime

from tests.mutation.core import CORE
from tests.mutation.mechanism import PROMISES, Mechanism
from tests.mutation.mechanisms import AREAS, MECHANISMS
from tests.mutation.page import page
from tests.mutation.working_copy import ROOT, WorkingCopy

SLIPS = {"ImportError", "IndentationError", "ModuleNotFoundError", "NameError", "SyntaxError"}
"""Errors of a mutant that does not run at all, which would prove nothing."""
TESTS: defaultdict[str, set[str]] = defaultdict(set)
"""Tests of all mechanisms, by their files."""
for mechanism in MECHANISMS:
    for test in mechanism.tests:
        TESTS[test.partition("::")[0]].add(test)

every_mechanism = pytest.mark.parametrize(
    "mechanism", [pytest.param(mechanism, id=mechanism.name) for mechanism in MECHANISMS]
)


@pytest.fixture(scope="session")
def working_copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkingCopy]:
    """One for each process that runs tests."""
    with WorkingCopy(tmp_path_factory.mktemp("mutation") / "copy") as copy:
        yield copy


@every_mechanism
def test_its_code_stands_once_and_its_mutant_can_be_run(mechanism: Mechanism) -> None:
    source = (ROOT / mechanism.file).read_text(encoding="utf-8")
    mutant = mechanism.taken_out(source)
    if mechanism.file.endswith(".lua"):
        assert mutant != source
        LuaRuntime().compile(mutant)
    else:
        assert mutant != ast.unparse(ast.parse(source))
        compile(mutant, mechanism.file, "exec")


def test_each_has_a_name_a_promise_and_a_test() -> None:
    assert len({mechanism.name for mechanism in MECHANISMS}) == len(MECHANISMS)
    assert {mechanism.promise for mechanism in MECHANISMS} == PROMISES.keys()
    assert all(mechanism.tests for mechanism in MECHANISMS)


def test_the_tests_of_each_row_exist() -> None:
    missing = []
    for mechanism in MECHANISMS:
        for test in mechanism.tests:
            file, _, name = test.partition("::")
            path = ROOT / "tests" / file
            source = path.read_text(encoding="utf-8") if path.is_file() else ""
            if f"def {name.partition('[')[0]}(" not in source:
                missing.append(test)
    assert missing == []


def test_the_core_has_rows_of_each_promise() -> None:
    promises = {mechanism.name: mechanism.promise for mechanism in MECHANISMS}
    assert promises.keys() >= CORE
    assert {promises[name] for name in CORE} == {f"P{number}" for number in range(1, 8)}


def test_every_table_is_read() -> None:
    read = {Path(str(area.__file__)) for area in AREAS}
    assert read == set((Path(__file__).parent / "table").glob("*.py"))


def test_the_printed_page_names_every_mechanism() -> None:
    printed = page()
    assert [mechanism.name for mechanism in MECHANISMS if f"**{mechanism.name}**" not in printed] == []


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("file", sorted(TESTS))
def test_with_everything_in_its_place_the_same_tests_pass(file: str, working_copy: WorkingCopy) -> None:
    outcome = working_copy.run(sorted(TESTS[file]))
    assert not outcome.failed, outcome.output
    assert outcome.status == pytest.ExitCode.OK, outcome.output


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "mechanism",
    [
        pytest.param(each, id=each.name, marks=() if each.name in CORE else pytest.mark.slow)
        for each in MECHANISMS
    ],
)
def test_without_it_the_suite_fails(mechanism: Mechanism, working_copy: WorkingCopy) -> None:
    outcome = working_copy.run_without(mechanism)
    assert outcome.status == pytest.ExitCode.TESTS_FAILED, outcome.output
    assert set(mechanism.tests) == outcome.noticed(mechanism.tests), outcome.output
    assert not SLIPS.intersection(outcome.errors), outcome.output

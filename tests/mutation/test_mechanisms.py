"""Every mechanism that upholds a promise is taken out, one at a time, and the suite must notice."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from lupa.lua51 import LuaRuntime

from tests.mutation.grove import ROOT, Grove, Outcome
from tests.mutation.mechanism import PROMISES, Mechanism
from tests.mutation.mechanisms import AREAS, MECHANISMS
from tests.mutation.page import page

INTACT = ""
"""The run with everything in its place, among the runs that go by the names of mechanisms."""
TESTS = sorted({test for mechanism in MECHANISMS for test in mechanism.tests})
SLIPS = {"ImportError", "IndentationError", "ModuleNotFoundError", "NameError", "SyntaxError"}
"""Errors of a mutant that does not run at all, which would prove nothing."""

Runs = dict[str, Future[Outcome]]

every_mechanism = pytest.mark.parametrize(
    "mechanism", [pytest.param(mechanism, id=mechanism.name) for mechanism in MECHANISMS]
)


@pytest.fixture(scope="session")
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """What this session will ask for, begun at once: each processor has its share."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    wanted = [item.callspec.params["mechanism"] for item in items if item.originalname == KILLED]
    with Grove(tmp_path_factory.mktemp("grove")) as grove:
        begun: Runs = {}
        if any(item.originalname == PASSED for item in items):
            begun[INTACT] = grove.run(TESTS)
        yield begun | {mechanism.name: grove.run_without(mechanism) for mechanism in wanted}


@every_mechanism
def test_its_line_stands_once_in_its_file(mechanism: Mechanism) -> None:
    assert (ROOT / mechanism.file).read_text(encoding="utf-8").count(mechanism.text) == 1
    assert mechanism.mutant != mechanism.text


@every_mechanism
def test_what_replaces_it_can_be_run(mechanism: Mechanism) -> None:
    source = (ROOT / mechanism.file).read_text(encoding="utf-8")
    mutant = source.replace(mechanism.text, mechanism.mutant)
    if mechanism.file.endswith(".lua"):
        LuaRuntime().compile(mutant)
    else:
        ast.parse(mutant)


def test_each_has_a_name_a_promise_and_a_test() -> None:
    assert len({mechanism.name for mechanism in MECHANISMS}) == len(MECHANISMS)
    assert {mechanism.promise for mechanism in MECHANISMS} == PROMISES.keys()
    assert all(mechanism.tests for mechanism in MECHANISMS)


def test_every_table_is_read() -> None:
    read = {Path(str(area.__file__)) for area in AREAS}
    assert read == set((Path(__file__).parent / "table").glob("*.py"))


def test_the_printed_page_names_every_mechanism() -> None:
    printed = page()
    assert [mechanism.name for mechanism in MECHANISMS if f"**{mechanism.name}**" not in printed] == []


@pytest.mark.timeout(300)
def test_with_everything_in_its_place_the_same_tests_pass(runs: Runs) -> None:
    outcome = runs[INTACT].result()
    assert not outcome.failed, outcome.output
    assert outcome.status == pytest.ExitCode.OK, outcome.output


@pytest.mark.timeout(300)
@every_mechanism
def test_without_it_the_suite_fails(mechanism: Mechanism, runs: Runs) -> None:
    outcome = runs[mechanism.name].result()
    assert outcome.status == pytest.ExitCode.TESTS_FAILED, outcome.output
    assert set(mechanism.tests) == outcome.noticed(mechanism.tests), outcome.output
    assert not SLIPS.intersection(outcome.errors), outcome.output


PASSED, KILLED = (
    test.__name__
    for test in (test_with_everything_in_its_place_the_same_tests_pass, test_without_it_the_suite_fails)
)

"""Whatever somebody sends or writes is read as the contract says, or refused by name; no other error escapes.

The normal suite tries every input of the corpus and some thousands of mutants, always the same. With
``--long`` each target is tried for TELGW_FUZZ_SECONDS (60) with a seed of its own, or TELGW_FUZZ_SEED; ``-k``
chooses the target. A failure tells the input, made small, and where to keep it.
"""

from __future__ import annotations

import os

import pytest

from tests.fuzz import corpus
from tests.fuzz.rounds import Round, Target
from tests.fuzz.targets import TARGETS

SEED = 1
SECONDS = float(os.environ.get("TELGW_FUZZ_SECONDS") or 60)

each_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
each_input = pytest.mark.parametrize(
    ("target", "name"),
    [
        pytest.param(target, name, id=f"{target.name}-{name}")
        for target in TARGETS
        for name in corpus.files(target.name)
    ],
)


def pool(target: Target) -> list[bytes]:
    return [*corpus.files(target.name).values(), *target.seeds()]


@each_input
def test_an_input_of_the_corpus_is_read_as_the_contract_says(target: Target, name: str) -> None:
    assert target.check(corpus.files(target.name)[name])


@each_target
def test_mutants_are_read_as_the_contract_says(target: Target) -> None:
    done = Round(target, SEED, pool(target)).explore(runs=target.runs)
    assert done.runs == target.runs
    assert target.meets - done.met == set(), "what was not met was not tried"


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 120)
@each_target
def test_mutants_are_read_as_the_contract_says_for_a_long_time(target: Target) -> None:
    seed = int(os.environ.get("TELGW_FUZZ_SEED") or int.from_bytes(os.urandom(4), "big"))
    done = Round(target, seed, pool(target)).explore(seconds=SECONDS)
    print(f"{target.name}: TELGW_FUZZ_SEED={seed}, {done.runs} mutants, {len(done.found)} kept")
    assert done.runs


def test_every_corpus_has_a_target() -> None:
    assert {path.name for path in corpus.HERE.iterdir()} == {target.name for target in TARGETS}

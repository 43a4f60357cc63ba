"""A round finds what is planted, makes it small, says how to keep it, and can be done again."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz import coverage
from tests.fuzz.coverage import Lines
from tests.fuzz.mutations import MOST, mutate
from tests.fuzz.rounds import Round, Target, minimised

SEEDS = [b"GET / HTTP/1.1", bytes(20)]


def target(check: Callable[[bytes], set[str]]) -> Target:
    return Target("planted", check, mutate, lambda: SEEDS, frozenset(), 0)


def planted(data: bytes) -> set[str]:
    assert b"\xff\x00" not in data, "planted"
    return {"short"} if len(data) < 20 else {"long"}


def test_a_planted_fault_is_found_reduced_and_shown() -> None:
    with pytest.raises(AssertionError, match="planted") as caught:
        Round(target(planted), 5, list(SEEDS)).explore(runs=100_000)
    (told,) = caught.value.__notes__
    assert "\nff00\n" in told
    assert "TELGW_FUZZ_SEED=5" in told
    assert "tests/fuzz/corpus/planted/" in told


def test_a_seed_is_a_round() -> None:
    first, second = (Round(target(lambda data: {data[:2].hex()}), 3, list(SEEDS)) for _ in range(2))
    assert first.explore(runs=300).found == second.explore(runs=300).found
    assert first.met == second.met


def test_a_mutant_with_new_coverage_is_kept_and_mutated() -> None:
    def deep(data: bytes) -> set[str]:
        """Three steps, each of which chance takes once in hundreds of tries."""
        right = [found == wanted for found, wanted in zip(data.ljust(3), b"\xff\x00\x7f", strict=False)]
        return {f"depth {(*right, False).index(False)}"}

    done = Round(target(deep), 1, [b"abc"]).explore(runs=20_000)
    assert "depth 3" in done.met
    assert len(done.found) == 3


def test_a_round_counts_only_the_coverage_of_its_mutants() -> None:
    done = Round(target(lambda data: {"seed"} if data in SEEDS else {"mutant"}), 1, list(SEEDS))
    assert done.explore(runs=3).met == {"mutant"}


def test_an_input_is_made_small_as_long_as_the_same_line_fails() -> None:
    def check(data: bytes) -> set[str]:
        assert data, "another error, of the empty input"
        assert data.count(b"\x07") < 2
        return set()

    with pytest.raises(AssertionError) as caught:
        check(b"abc\x07defghi\x07xyz")
    assert minimised(check, b"abc\x07defghi\x07xyz", caught.value) == b"\x07\x07"


def test_an_error_that_is_not_reproduced_keeps_the_input() -> None:
    assert minimised(lambda data: set(), b"once", AssertionError()) == b"once"


def test_a_stopped_test_shows_its_input() -> None:
    def stopped(data: bytes) -> set[str]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        Round(target(stopped), 5, list(SEEDS)).explore(runs=1)
    assert SEEDS[0].hex() in caught.value.__notes__[0]


def test_mutants_are_bounded() -> None:
    def measured(data: bytes) -> set[str]:
        assert len(data) <= MOST
        return {str(len(data))}

    Round(target(measured), 1, [bytes(MOST)]).explore(runs=500)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python tells of lines from 3.12 on")
def test_a_line_is_news_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = tmp_path / "watched.py"
    monkeypatch.setattr(coverage, "WATCHED", (str(tmp_path),))
    space: dict[str, Callable[[bool], int]] = {}
    exec(compile("def f(deep):\n    if deep:\n        return 1\n    return 0\n", source, "exec"), space)  # type: ignore[arg-type]
    told = []
    with Lines(wanted=True) as watch:
        for deep in (False, False, True, True):
            space["f"](deep)
            told.append(watch.news())
    assert told == [2, 0, 1, 0]


def test_only_wanted_lines_are_traced() -> None:
    with Lines(wanted=False) as watch:
        assert watch.news() == 0

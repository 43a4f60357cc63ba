"""The tiers: which test runs when, and that a test under load runs alone."""

from __future__ import annotations

import fcntl
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import tiers


def item(*marks: str, short: bool = False, everything: bool = False, long: bool = False) -> Any:
    """A test with these marks, in a run with these options."""
    option = SimpleNamespace(short=short, all=everything or long, long=long)
    return SimpleNamespace(
        config=SimpleNamespace(option=option),
        iter_markers=lambda: [SimpleNamespace(name=mark) for mark in marks],
        get_closest_marker=lambda name: name if name in marks else None,
    )


@pytest.mark.parametrize(
    ("marks", "short", "named", "everything", "long"),
    [
        ((), True, True, True, True),
        (("slow",), False, True, True, True),
        (("slow", "quick"), True, True, True, True),
        (("slow", "full"), False, False, True, True),
        (("slow", "long"), False, False, False, True),
    ],
)
def test_what_runs_in_which_tier(
    marks: tuple[str, ...], short: bool, named: bool, everything: bool, long: bool
) -> None:
    assert tiers.wanted(item(*marks, short=True)) is short
    assert tiers.wanted(item(*marks)) is named
    assert tiers.wanted(item(*marks, everything=True)) is everything
    assert tiers.wanted(item(*marks, long=True)) is long


def test_each_folder_with_marks_exists() -> None:
    here = Path(__file__).parent
    assert [name for name in tiers.FOLDERS if not (here / name).is_dir()] == []


@pytest.mark.parametrize(("mark", "shared"), [("load", False), ("redis", True)])
def test_nothing_runs_beside_a_test_under_load(tmp_path: Path, mark: str, shared: bool) -> None:
    with tiers.alone(item(mark), tmp_path), (tmp_path / "room").open() as room:
        if shared:
            fcntl.flock(room, fcntl.LOCK_SH | fcntl.LOCK_NB)
        else:
            with pytest.raises(BlockingIOError):
                fcntl.flock(room, fcntl.LOCK_SH | fcntl.LOCK_NB)

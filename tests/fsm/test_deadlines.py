"""Deadlines as data: what is due, and when; the clock is the argument."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsm.deadlines import Deadlines

# A loaded machine draws slowly; that says nothing about the code.

MS = 0.001


def test_a_deadline_is_due_at_its_time_and_not_before() -> None:
    deadlines = Deadlines[str]()
    deadlines.set("a", 10.0)
    assert deadlines.due(10.0 - MS) == []
    assert deadlines.due(10.0) == ["a"]


def test_a_deadline_is_due_one_millisecond_after_and_only_once() -> None:
    deadlines = Deadlines[str]()
    deadlines.set("a", 10.0)
    assert deadlines.due(10.0 + MS) == ["a"]
    assert deadlines.due(11.0) == []
    assert len(deadlines) == 0


def test_the_earliest_comes_first_and_ties_come_as_they_were_set() -> None:
    deadlines = Deadlines[str]()
    for key, at in (("late", 3.0), ("tie 1", 2.0), ("early", 1.0), ("tie 2", 2.0)):
        deadlines.set(key, at)
    assert deadlines.due(3.0) == ["early", "tie 1", "tie 2", "late"]


def test_a_moved_deadline_is_due_at_its_new_time_only() -> None:
    deadlines = Deadlines[str]()
    deadlines.set("later", 1.0)
    deadlines.set("later", 5.0)
    deadlines.set("sooner", 9.0)
    deadlines.set("sooner", 2.0)
    assert deadlines.due(2.0) == ["sooner"]
    assert deadlines.due(4.9) == []
    assert deadlines.due(9.0) == ["later"]


def test_a_cancelled_deadline_is_never_due() -> None:
    deadlines = Deadlines[str]()
    deadlines.set("a", 1.0)
    assert deadlines.cancel("a")
    assert not deadlines.cancel("a")
    assert deadlines.due(2.0) == []


def test_a_deadline_cancelled_and_set_again_is_due_once() -> None:
    deadlines = Deadlines[str]()
    deadlines.set("a", 1.0)
    deadlines.cancel("a")
    deadlines.set("a", 1.0)
    assert deadlines.due(1.0) == ["a"]


def test_keys_need_not_be_comparable() -> None:
    deadlines = Deadlines[object]()
    keys = [object(), "text", 7]
    for key in keys:
        deadlines.set(key, 1.0)
    assert deadlines.due(1.0) == keys


@pytest.mark.parametrize("step", [0.001, 1.0])
def test_nothing_is_kept_of_deadlines_that_were_moved(step: float) -> None:
    deadlines = Deadlines[str]()
    for turn in range(10_000):
        deadlines.set("a", turn * step)
    assert len(gc.get_referents(deadlines._buckets)) + len(deadlines._numbers) < 300
    assert deadlines.due(9_999.0) == ["a"]


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 8), st.integers(0, 60)),
        st.tuples(st.just("cancel"), st.integers(0, 8), st.just(0)),
        st.tuples(st.just("due"), st.integers(0, 3), st.integers(0, 60)),
    ),
    max_size=300,
)


@given(ACTIONS)
def test_it_does_what_a_sorted_list_would_do(actions: list[tuple[str, int, int]]) -> None:
    deadlines = Deadlines[int]()
    model: dict[int, tuple[int, int]] = {}
    for serial, (action, key, at) in enumerate(actions):
        if action == "set":
            deadlines.set(key, at / 16)
            model[key] = (at, serial)
        elif action == "cancel":
            assert deadlines.cancel(key) == (model.pop(key, None) is not None)
        else:
            expected = sorted((k for k in model if model[k][0] <= at), key=lambda k: model[k])[:key]
            assert deadlines.due(at / 16, at_most=key) == expected
            for k in expected:
                del model[k]
        assert len(deadlines) == len(model)

"""One command out, one answer owed."""

from __future__ import annotations

import pytest

from fsm.write_queue import WriteQueue


def filled(*commands: str) -> WriteQueue[str]:
    queue = WriteQueue[str]()
    queue.waiting.extend(commands)
    return queue


def test_commands_are_begun_in_the_order_they_came() -> None:
    queue = filled("a", "b")
    for command in ("a", "b"):
        assert queue.begin() == command
        queue.written()
        assert queue.answered() == (command, False)
    assert queue.free


def test_nothing_is_begun_while_a_command_is_in_the_slot() -> None:
    queue = filled("a", "b")
    queue.begin()
    with pytest.raises(ValueError, match="slot is free"):
        queue.begin()
    assert list(queue.waiting) == ["b"]


def test_leaving_before_the_answer_taints_until_the_late_answer() -> None:
    queue = filled("a", "b")
    queue.begin()
    queue.written()
    assert not queue.tainted
    queue.leave("a")
    assert queue.tainted
    assert not queue.free
    with pytest.raises(ValueError, match="owed"):
        queue.begin()
    assert queue.answered() == ("a", True)
    assert queue.free
    assert queue.begin() == "b"


def test_a_command_that_was_never_written_owes_nothing() -> None:
    queue = filled("a")
    queue.begin()
    queue.leave("a")
    assert queue.free
    assert queue.answered() is None


def test_an_uncommitted_command_is_first_in_the_queue_again() -> None:
    queue = filled("a", "b")
    queue.begin()
    queue.put_back()
    assert list(queue.waiting) == ["a", "b"]
    assert queue.free


def test_a_written_command_is_not_put_back() -> None:
    queue = filled("a")
    queue.begin()
    queue.written()
    queue.put_back()
    assert (queue.slot, list(queue.waiting)) == ("a", [])


def test_a_waiting_command_leaves_the_sent_one_alone() -> None:
    queue = filled("a", "b", "c")
    queue.begin()
    queue.written()
    queue.leave("b")
    queue.leave("unknown")
    assert (queue.slot, queue.owed, list(queue.waiting)) == ("a", "a", ["c"])


def test_an_answer_not_owed_belongs_to_no_command() -> None:
    assert filled("a").answered() is None

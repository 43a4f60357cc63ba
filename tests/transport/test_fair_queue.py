"""The order in which connections are read: by bytes, and first those that send less than their part."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.connection.fair_queue import SMALLEST, FairQueue

READ = 4096


def queue_of(*keys: str) -> FairQueue[str]:
    queue: FairQueue[str] = FairQueue()
    for key in keys:
        queue.add(key)
    return queue


def read(queue: FairQueue[str], size: int = READ) -> str:
    """Read the next key once; it has more to read."""
    key = queue.pop()
    queue.charge(key, size)
    queue.add(key)
    return key


def test_keys_that_have_as_much_to_read_come_in_turn() -> None:
    queue = queue_of("a", "b", "c")
    assert [read(queue) for _ in range(7)] == ["a", "b", "c", "a", "b", "c", "a"]


def test_a_key_that_sends_little_is_next_however_many_send_much() -> None:
    many = [f"bulk {number}" for number in range(1000)]
    queue = queue_of("small", *many)
    queue.charge(queue.pop(), 100)
    for _ in many:
        read(queue)
    for _ in range(20):
        read(queue)
        queue.add("small")
        assert queue.pop() == "small"
        queue.charge("small", 100)


def test_an_idle_key_saves_no_share() -> None:
    queue = queue_of("a", "b")
    for _ in range(100):
        read(queue)
    queue.add("c")
    counts = Counter(read(queue) for _ in range(31))
    assert counts["c"] - counts["a"] <= 2


@given(st.lists(st.integers(1, 8), min_size=2, max_size=6))
def test_keys_that_never_end_get_the_same_number_of_bytes(sizes: list[int]) -> None:
    length = {f"key {number}": size * SMALLEST for number, size in enumerate(sizes)}
    queue = queue_of(*length)
    bytes_read: Counter[str] = Counter(dict.fromkeys(length, 0))
    for _ in range(400):
        key = queue.pop()
        queue.charge(key, length[key])
        queue.add(key)
        bytes_read[key] += length[key]
    assert max(bytes_read.values()) - min(bytes_read.values()) <= READ + 2 * max(length.values())


def test_a_read_of_a_byte_counts_as_a_small_one() -> None:
    queue = queue_of("a", "b")
    queue.charge(queue.pop(), 1)
    queue.charge(queue.pop(), SMALLEST)
    queue.add("b")
    queue.add("a")
    assert queue.pop() == "b"


def test_a_key_that_waits_is_not_added_again() -> None:
    queue = queue_of("a", "a")
    assert (len(queue), queue.pop(), len(queue)) == (1, "a", 0)
    with pytest.raises(IndexError):
        queue.pop()


def test_removed_keys_are_forgotten() -> None:
    queue = queue_of("first")
    for number in range(1000):
        queue.add(str(number))
        queue.forget(str(number))
    assert (len(queue), "7" in queue, "first" in queue, len(queue._heap) < 300) == (1, False, True, True)
    assert queue.pop() == "first"

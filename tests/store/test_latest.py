"""The newest value of each key waits, and the oldest keys go first."""

from __future__ import annotations

from store.client.latest import Latest


def filled(*items: tuple[str, int], capacity: int = 10) -> Latest[int]:
    buffer: Latest[int] = Latest(2, capacity)
    for item in items:
        buffer.put(item)
    return buffer


def test_only_the_newest_value_of_a_key_is_taken() -> None:
    buffer = filled(("a", 1), ("b", 2), ("a", 3), ("c", 4))
    assert (buffer.take(), buffer.take(), len(buffer)) == ([("a", 3), ("b", 2)], [("c", 4)], 0)


def test_what_is_put_back_yields_to_what_came_since() -> None:
    buffer = filled(("a", 1), ("b", 2))
    batch = buffer.take()
    buffer.put(("b", 3))
    buffer.put_back(batch)
    assert list(buffer) == [("a", 1), ("b", 3)]


def test_a_newer_value_has_what_only_an_older_one_tells() -> None:
    buffer: Latest[str] = Latest(2, 10, merge=str.__add__)
    for item in (("a", "1"), ("b", "2"), ("a", "3")):
        buffer.put(item)
    batch = buffer.take()
    buffer.put(("b", "4"))
    buffer.put_back(batch)
    assert list(buffer) == [("a", "13"), ("b", "24")]


def test_beyond_the_capacity_the_oldest_are_dropped() -> None:
    buffer = filled(("a", 1), ("b", 2), ("c", 3), capacity=2)
    assert list(buffer) == [("b", 2), ("c", 3)]
    buffer.put_back([("a", 1)])
    assert list(buffer) == [("b", 2), ("c", 3)]


def test_a_value_is_removed_only_while_it_is_the_newest() -> None:
    one, other = ("a", 1000), ("a", 2000)
    buffer = filled(one, other)
    assert (buffer.remove(one), buffer.remove(other), len(buffer)) == (False, True, 0)

"""First in, first out: how large a batch may be, and what is dropped when too much waits."""

from __future__ import annotations

import pytest

from store.client.fifo import Fifo


def filled(items: str, fifo: Fifo[str]) -> Fifo[str]:
    for item in items:
        fifo.put(item)
    return fifo


def batches(fifo: Fifo[str]) -> list[str]:
    found = []
    while fifo:
        found.append("".join(fifo.take()))
    return found


def test_a_batch_has_so_many_items() -> None:
    assert batches(filled("abcdefg", Fifo(3))) == ["abc", "def", "g"]


@pytest.mark.parametrize(
    ("items", "taken"), [("1234", ["12", "3", "4"]), ("911", ["9", "11"]), ("191", ["1", "9", "1"])]
)
def test_a_batch_weighs_so_much_and_one_item_always_fits(items: str, taken: list[str]) -> None:
    assert batches(filled(items, Fifo(100, size=4, weigh=int))) == taken


def test_items_that_belong_together_are_in_one_batch() -> None:
    fifo: Fifo[str] = Fifo(2, joins=lambda before, item: before.lower() == item.lower())
    assert batches(filled("abBbcCd", fifo)) == ["abBb", "cC", "d"]


def test_what_is_put_back_comes_first_in_its_order() -> None:
    fifo = filled("abc", Fifo(2))
    taken = fifo.take()
    fifo.put("d")
    fifo.put_back(taken)
    assert (batches(fifo), len(fifo)) == (["ab", "cd"], 0)


def test_beyond_the_capacity_the_oldest_are_dropped() -> None:
    fifo = filled("abcde", Fifo(10, capacity=3))
    assert (list(fifo), fifo.dropped) == (["c", "d", "e"], 2)


def test_what_is_put_back_is_older_than_what_has_come_since() -> None:
    fifo = filled("ab", Fifo(2, capacity=3))
    taken = fifo.take()
    for item in "cd":
        fifo.put(item)
    fifo.put_back(taken)
    assert (list(fifo), fifo.dropped) == (["b", "c", "d"], 1)


def test_an_item_is_removed_wherever_it_waits_and_only_once() -> None:
    fifo = filled("abc", Fifo(10))
    assert [fifo.remove("b"), fifo.remove("b")] == [True, False]
    assert list(fifo) == ["a", "c"]

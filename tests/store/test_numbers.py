"""A number that somebody else wrote is a number, or none."""

from __future__ import annotations

import pytest

from store.client.numbers import whole
from store.diagnosis.log import read_id


@pytest.mark.parametrize("text", ["1767225600000", b"1767225600000", b"0001767225600000"])
def test_digits_are_a_number(text: str | bytes) -> None:
    assert whole(text, 7) == 1_767_225_600_000


@pytest.mark.parametrize("text", ["", "-1", "1.0", " 1", "²", "٣", "9" * 21, b"9" * 5000, b"\xff", b"1_0"])
def test_anything_else_is_none(text: str | bytes) -> None:
    assert whole(text, 7) == 7


@pytest.mark.parametrize("text", ["", "5", "5-", "-5", "a-b", f"{'9' * 5000}-0", f"0-{'9' * 5000}"])
def test_what_is_no_id_of_an_entry_lies_before_all_of_them(text: str) -> None:
    assert read_id(text) == (0, 0)


def test_the_id_of_an_entry_is_two_numbers() -> None:
    assert read_id("1767225600000-12") == (1_767_225_600_000, 12)

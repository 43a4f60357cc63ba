"""How much of an entry that is no command is kept."""

from __future__ import annotations

import pytest

from fsm.entries import BYTES_KEPT, raw_fields


def test_an_entry_that_fits_is_kept_whole() -> None:
    value = b"x" * (BYTES_KEPT - 4)
    assert raw_fields({b"junk": value}) == (("junk", value.decode()),)


def test_a_field_that_does_not_fit_is_cut_and_that_is_said() -> None:
    kept = raw_fields({b"a": b"b", b"junk": b"x" * 1_000_000, b"later": b"y"})
    assert kept == (("a", "b"), ("junk", "x" * (BYTES_KEPT - 6)), ("cut", "1"))


@pytest.mark.parametrize(
    "fields",
    [
        {b"junk": b"\xff" * 2_000_000},
        {b"n" * 2_000_000: b"v"},
        {b"%05d" % number: b"x" * 1000 for number in range(900)},
    ],
    ids=["a value", "a name", "many fields"],
)
def test_whatever_is_big_is_bounded(fields: dict[bytes, bytes]) -> None:
    kept = raw_fields(fields)
    assert kept[-1] == ("cut", "1")
    size = sum(len(text) // (2 if name.endswith("_hex") else 1) + len(name) for name, text in kept)
    assert size <= BYTES_KEPT + len("_hex") + len("cut1")

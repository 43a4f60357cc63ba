"""The layouts behind AVL records: shared, told apart, bounded."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any, TypeAlias

import pytest

from transport.teltonika import layout, layout_cache
from transport.teltonika.avl import Record, decode_avl, encode_avl
from transport.teltonika.frame import CODEC_8E
from transport.teltonika.layout_cache import LayoutCache

Io: TypeAlias = dict[int, tuple[int, int] | bytes]


def one_record(io: Io) -> bytes:
    return encode_avl(CODEC_8E, [Record.of(timestamp=0, io=io)])[8:-4]


def test_records_of_the_same_shape_share_one_layout() -> None:
    first, second = (decode_avl(one_record({9: (2, value)}))[0] for value in (1, 2))
    assert first.layout is second.layout
    assert first != second


def test_layouts_with_a_common_beginning_are_distinguished() -> None:
    cache = LayoutCache(CODEC_8E)
    bodies = [one_record({1: (1, 0), key: (1, 0)}) for key in range(2, 2 + 2 * layout_cache.CANDIDATES)]
    for _ in range(2):
        for key, body in enumerate(bodies, start=2):
            assert cache.find(body, 2, len(body) - 1).ids == (1, key)
    assert len(cache) == len(bodies)


def test_a_hostile_device_cannot_fill_the_memory_with_layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout_cache, "LAYOUT_LIMIT", 50)
    monkeypatch.setattr(layout_cache, "ID_LIMIT", 70)
    cache = LayoutCache(CODEC_8E)
    for key in range(1, 500):
        shapes: list[Io] = [{key: (1, 0)}, {key: (2, 0), key + 1: (2, 0), key + 2: (8, 0)}]
        for io in shapes:
            body = one_record(io)
            assert cache.find(body, 2, len(body) - 1).ids == tuple(io)
            assert len(cache) <= 50
            assert cache.id_count <= 70


def test_only_values_marked_by_their_bits_are_examined() -> None:
    cache = LayoutCache(CODEC_8E)
    for _ in range(2):
        for low, high, names in [(127, 2**53 - 1, []), (128, 2**53 - 1, ["1"]), (255, 2**53, ["1", "11"])]:
            body = one_record({1: (1, low), 11: (8, high)})
            found = cache.find(body, 2, len(body) - 1)
            assert [element.name for element in found.to_check] == names
            assert found.plain is not bool(names)


def test_a_hostile_device_cannot_fill_the_memory_with_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout_cache, "VARIANTS", 5)
    monkeypatch.setattr(layout_cache, "ID_LIMIT", 100)
    cache = LayoutCache(CODEC_8E)
    found: list[layout.Layout] = []
    for pattern in range(1, 256):
        signs = [bool(pattern >> bit & 1) for bit in range(8)]
        body = one_record({1000 + bit: (2, 32768 * sign) for bit, sign in enumerate(signs)})
        found.append(cache.find(body, 2, len(body) - 1))
        to_check = {element.name for element in found[-1].to_check}
        assert to_check >= {str(1000 + bit) for bit, sign in enumerate(signs) if sign}
        assert cache.id_count <= 100
    assert len({id(each) for each in found}) == 5 + 1


def calls_to_find(ids: int) -> int:
    """How many functions of Python are called to read a record of so many values, of a shape never seen."""
    cache = LayoutCache(CODEC_8E)
    body = one_record(dict.fromkeys(range(1, ids + 1), (1, 0)))
    calls = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        cache.find(body, 2, len(body) - 1)
    finally:
        sys.setprofile(before)
    return calls


def test_a_shape_that_is_new_costs_no_call_for_each_of_its_ids() -> None:
    assert calls_to_find(1200) == calls_to_find(12)


def test_an_id_that_does_not_fit_the_codec_has_no_layout() -> None:
    for ids in ((1, 256), (-1,)):
        with pytest.raises(OverflowError):
            layout.draw_layout(0x08, ids, (1,) * len(ids), 0)

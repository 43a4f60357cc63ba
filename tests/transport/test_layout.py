"""The layouts behind AVL records: shared, told apart, bounded."""

from __future__ import annotations

import gc
import json
import sys
from types import FrameType
from typing import Any, TypeAlias

import pytest

from transport.teltonika import avl, layout, layout_cache
from transport.teltonika.avl import Record, decode_avl, encode_avl
from transport.teltonika.frame import CODEC_8E
from transport.teltonika.layout_cache import LayoutCache
from transport.teltonika.record_json import plain_json, record_json

Io: TypeAlias = dict[int, tuple[int, int] | bytes]


def one_record(io: Io) -> bytes:
    return encode_avl(CODEC_8E, [Record.of(timestamp=0, io=io)])[8:-4]


def known(cache: LayoutCache, body: bytes) -> layout.Layout:
    """The layout of a record whose shape was seen often."""
    while (found := cache.find(body, 2, len(body) - 1)) is None:
        cache.read(body, 2, len(body) - 1)
    return found


def test_records_of_the_same_shape_share_one_layout() -> None:
    for value in range(layout_cache.SIGHTINGS):
        decode_avl(one_record({9: (2, value)}))
    first, second = (decode_avl(one_record({9: (2, value)}))[0] for value in (1, 2))
    assert first.layout is second.layout
    assert first != second


def test_a_layout_is_drawn_only_for_a_shape_that_is_repeated() -> None:
    cache = LayoutCache(CODEC_8E)
    for key in range(1, 1000):
        body = one_record({key: (1, 0)})
        for _ in range(layout_cache.SIGHTINGS - 1):
            cache.read(body, 2, len(body) - 1)
    assert (len(cache), cache.id_count) == (0, 0)
    assert known(cache, body).ids == (999,)
    assert (len(cache), cache.id_count) == (1, 1)


def test_shapes_that_are_not_repeated_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout_cache, "LAYOUT_LIMIT", 10)
    cache = LayoutCache(CODEC_8E)
    for key in range(1, 100):
        body = one_record({key: (1, 0)})
        cache.read(body, 2, len(body) - 1)
        assert len(cache._sighted) <= 10


PLAIN, SIGNED = {1: (1, 1), 300: (2, 2), 4: (4, 3), 5: (8, 4)}, {1: (1, 255), 2: (2, 40000), 9: (8, 2**63)}


@pytest.mark.parametrize("io", [{}, PLAIN, SIGNED, PLAIN | {7: b"ab"}, SIGNED | {8: b"", 10: b"x"}])
@pytest.mark.parametrize("timestamp", [0, 2**53])
def test_a_record_is_the_same_with_and_without_a_layout(io: Io, timestamp: int) -> None:
    frame = encode_avl(CODEC_8E, [Record.of(timestamp=timestamp, io=io)])
    avl._caches[CODEC_8E] = LayoutCache(CODEC_8E)
    first = decode_avl(frame[8:-4])[0]
    assert plain_json(first) == plain_json(later(frame))
    assert json.loads(record_json(first)) == json.loads(record_json(later(frame)))
    assert first == later(frame)
    assert (first.io, first.io_width) == (later(frame).io, later(frame).io_width)
    assert first.layout.size == later(frame).layout.size
    assert encode_avl(CODEC_8E, [first]) == frame


@pytest.mark.parametrize(("last", "signed"), [(0xFF, {"7": -1}), (1, {})])
def test_of_an_id_that_occurs_twice_the_last_value_counts(last: int, signed: dict[str, int]) -> None:
    """Once as an ordinary value, and once more with a variable length, which counts most."""
    twice = one_record({7: (1, 0xFE), 8: (1, last), 9: b"x"}).replace(b"\x00\x08", b"\x00\x07", 1)
    for _ in range(layout_cache.SIGHTINGS + 1):
        data = json.loads(record_json(decode_avl(twice)[0]))
        assert (data["io"], data.get("signed", {})) == ({"7": last, "9": "78"}, signed)
    thrice = twice.replace(b"\x00\x09\x00\x01x", b"\x00\x07\x00\x01x")
    for _ in range(layout_cache.SIGHTINGS + 1):
        data = json.loads(record_json(decode_avl(thrice)[0]))
        assert (data["io"], data.get("signed"), data["hex"]) == ({"7": "78"}, None, ["7"])


def later(frame: bytes) -> Record:
    """The record of a frame, read when its layout is drawn."""
    for _ in range(layout_cache.SIGHTINGS):
        decode_avl(frame[8:-4])
    [record] = decode_avl(frame[8:-4])
    assert record.layout.names or not record.layout.ids
    return record


def test_layouts_with_a_common_beginning_are_distinguished() -> None:
    cache = LayoutCache(CODEC_8E)
    bodies = [one_record({1: (1, 0), key: (1, 0)}) for key in range(2, 2 + 2 * layout_cache.CANDIDATES)]
    for _ in range(2):
        for key, body in enumerate(bodies, start=2):
            assert known(cache, body).ids == (1, key)
    assert len(cache) == len(bodies)


def test_a_hostile_device_cannot_fill_the_memory_with_layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout_cache, "LAYOUT_LIMIT", 50)
    monkeypatch.setattr(layout_cache, "ID_LIMIT", 70)
    cache = LayoutCache(CODEC_8E)
    for key in range(1, 500):
        shapes: list[Io] = [{key: (1, 0)}, {key: (2, 0), key + 1: (2, 0), key + 2: (8, 0)}]
        for io in shapes:
            body = one_record(io)
            assert known(cache, body).ids == tuple(io)
            assert len(cache) <= 50
            assert cache.id_count <= 70


def test_only_values_marked_by_their_bits_are_examined() -> None:
    cache = LayoutCache(CODEC_8E)
    for _ in range(2):
        for low, high, names in [(127, 2**53 - 1, []), (128, 2**53 - 1, ["1"]), (255, 2**53, ["1", "11"])]:
            body = one_record({1: (1, low), 11: (8, high)})
            found = known(cache, body)
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
        found.append(known(cache, body))
        to_check = {element.name for element in found[-1].to_check}
        assert to_check >= {str(1000 + bit) for bit, sign in enumerate(signs) if sign}
        assert cache.id_count <= 100
    assert len({id(each) for each in found}) == 5 + 1


def calls_to_read(ids: int) -> int:
    """How many functions of Python are called to read a record, and to draw its layout."""
    cache = LayoutCache(CODEC_8E)
    body = one_record(dict.fromkeys(range(1, ids + 1), (1, 0)))
    calls = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    gc.disable()  # a collection may call finalizers of other tests' objects
    sys.setprofile(count)
    try:
        known(cache, body)
    finally:
        sys.setprofile(before)
        gc.enable()
    return calls


def test_a_shape_that_is_new_costs_no_call_for_each_of_its_ids() -> None:
    assert calls_to_read(1023) == calls_to_read(15)


def test_an_id_that_does_not_fit_the_codec_has_no_layout() -> None:
    for ids in ((1, 256), (-1,)):
        with pytest.raises(OverflowError):
            layout.draw_layout(0x08, ids, (1,) * len(ids), 0)

"""The stream cut into frames: splits, glue, bad checksums, lost framing, bounds."""

from __future__ import annotations

import sys
from itertools import pairwise
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.teltonika.crc import crc16
from transport.teltonika.errors import FramingLost
from transport.teltonika.frame import (
    AVL_LIMIT,
    CODEC_8,
    CODEC_12,
    MESSAGE_LIMIT,
    MINIMUM,
    PREAMBLE,
    BadFrame,
    FrameReader,
    encode_frame,
)

GOOD = bytes.fromhex("000000000000000f0c010500000007676574696e666f0100004312")
BODY = GOOD[8:-4]
HOLD = MESSAGE_LIMIT + 12

bodies = st.binary(min_size=MINIMUM, max_size=80)
items = st.one_of(bodies.map(encode_frame), st.just(b"\xff"))


def header(length: int) -> bytes:
    return PREAMBLE + length.to_bytes(4, "big")


def in_chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def flipped(at: int, value: int) -> bytes:
    data = bytearray(GOOD)
    data[at] = value
    return bytes(data)


def held(reader: FrameReader) -> int:
    return len(reader._tail or b"")


def test_the_checksum_is_crc_16_arc() -> None:
    assert crc16(b"123456789") == 0xBB3D
    assert crc16(b"") == 0


def test_a_whole_frame_yields_its_body() -> None:
    reader = FrameReader()
    assert reader.feed(GOOD) == [BODY]
    assert (reader.pings, reader.partial, reader.fault) == (0, False, None)
    assert encode_frame(BODY) == GOOD


def test_no_bytes_yield_no_frame() -> None:
    reader = FrameReader()
    assert reader.feed(b"") == []
    assert reader.feed(GOOD[:5]) == []
    assert reader.feed(b"") == []
    assert reader.feed(GOOD[5:]) == [BODY]


def test_a_frame_byte_by_byte_is_partial_until_its_last_byte() -> None:
    reader = FrameReader()
    for byte in GOOD[:-1]:
        assert reader.feed(bytes((byte,))) == []
        assert reader.partial
    assert reader.feed(GOOD[-1:]) == [BODY]
    assert not reader.partial


def test_a_frame_may_span_two_reads() -> None:
    reader = FrameReader()
    assert reader.feed(GOOD + GOOD[:11]) == [BODY]
    assert reader.feed(GOOD[11:] + GOOD) == [BODY, BODY]
    assert not reader.partial


def test_pings_between_frames_are_counted_and_left_out() -> None:
    reader = FrameReader()
    assert reader.feed(b"\xff\xff" + GOOD + b"\xff" + GOOD + b"\xff") == [BODY, BODY]
    assert reader.feed(b"\xff") == []
    assert (reader.pings, reader.partial) == (5, False)


def test_0xff_within_a_frame_is_no_ping() -> None:
    body = b"\x0c\x01\x06\x00\x00\x00\x04\xff\xff\xff\xff\x01"
    reader = FrameReader()
    for byte in encode_frame(body):
        frames = reader.feed(bytes((byte,)))
    assert frames == [body]
    assert reader.pings == 0


@pytest.mark.parametrize("at", range(8, len(GOOD) - 4))
def test_a_flipped_byte_makes_a_bad_frame_and_framing_holds(at: int) -> None:
    reader = FrameReader()
    bad, good = reader.feed(flipped(at, GOOD[at] ^ 0x01) + GOOD)
    assert isinstance(bad, BadFrame)
    assert (bad.reason, bad.length, bad.declared) == ("crc", len(BODY), 0x4312)
    assert good == BODY


@pytest.mark.parametrize(
    ("at", "reason"), [(-4, "crc_padding"), (-3, "crc_padding"), (-2, "crc"), (-1, "crc")]
)
def test_a_flipped_byte_of_the_crc_field_is_named(at: int, reason: str) -> None:
    data = flipped(at, GOOD[at] ^ 0x80)
    (bad,) = FrameReader().feed(data)
    assert bad == BadFrame(reason, CODEC_12, len(BODY), int.from_bytes(data[-4:], "big"), 0x4312)


@pytest.mark.parametrize("length", [0, 1, 2, MESSAGE_LIMIT + 1, 2**31, 2**32 - 1])
def test_an_impossible_length_is_refused_before_its_body(length: int) -> None:
    reader = FrameReader()
    assert reader.feed(GOOD + header(length)) == [BODY]
    assert reader.fault is not None
    assert reader.fault.reason == "length"
    assert str(length) in reader.fault.detail
    assert not reader.partial


def test_a_length_is_checked_again_once_the_codec_is_known() -> None:
    reader = FrameReader()
    assert reader.feed(header(AVL_LIMIT + 1)) == []
    assert reader.fault is None
    assert reader.feed(bytes((CODEC_8,))) == []
    assert reader.fault is not None
    assert reader.fault.reason == "length"


@pytest.mark.parametrize(("codec", "length"), [(CODEC_8, AVL_LIMIT), (CODEC_12, MESSAGE_LIMIT)])
def test_the_largest_frame_passes_whole_and_in_pieces(codec: int, length: int) -> None:
    body = bytes((codec,)) * length
    data = encode_frame(body)
    assert FrameReader().feed(data) == [body]
    reader = FrameReader()
    pieces = [data[at : at + 1000] for at in range(0, len(data), 1000)]
    assert [frame for piece in pieces for frame in reader.feed(piece)] == [body]


def test_a_length_too_small_leaves_a_byte_that_is_no_preamble() -> None:
    reader = FrameReader()
    (bad,) = reader.feed(flipped(7, GOOD[7] - 1))
    assert isinstance(bad, BadFrame)
    assert reader.fault is not None
    assert reader.fault.reason == "preamble"


def test_a_length_too_large_costs_this_frame_and_the_next() -> None:
    # The next frame is read from its second byte on: four zeros, then its length shifted by one byte.
    reader = FrameReader()
    (bad,) = reader.feed(flipped(7, GOOD[7] + 1) + GOOD)
    assert isinstance(bad, BadFrame)
    shifted = int.from_bytes(GOOD[5:9], "big")
    (swallowed,) = reader.feed(bytes(shifted + 12 - len(GOOD) + 1))
    assert isinstance(swallowed, BadFrame)
    assert swallowed.length == shifted


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x16\x03\x01\x02\x00", "tls"),
        (b"\x00\x0f352093081452251", "handshake"),
        (b"GET / HTTP/1.1\r\n", "preamble"),
        (b"\x00\x00\x00\x01", "preamble"),
        (b"\x01", "preamble"),
    ],
)
def test_framing_is_lost_at_the_first_wrong_byte(data: bytes, reason: str) -> None:
    together, apart = FrameReader(), FrameReader()
    assert together.feed(GOOD + data) == [BODY]
    assert [frame for byte in GOOD + data for frame in apart.feed(bytes((byte,)))] == [BODY]
    for reader in (together, apart):
        assert isinstance(reader.fault, FramingLost)
        assert reader.fault.reason == reason
        assert str(reader.fault) == reader.fault.detail
        assert reader.fault.__traceback__ is None
        assert (reader.feed(GOOD), held(reader)) == ([], 0)


@given(st.lists(items, max_size=8), st.lists(st.integers(0, 1000), max_size=20))
def test_any_split_of_a_stream_gives_the_same_frames(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts)
    reader = FrameReader()
    frames = [frame for chunk in in_chunks(data, cuts) for frame in reader.feed(chunk)]
    assert frames == [part[8:-4] for part in parts if part != b"\xff"]
    assert reader.pings == parts.count(b"\xff")
    assert (reader.partial, reader.fault) == (False, None)


@given(st.lists(st.one_of(st.binary(max_size=40), items, st.integers(0, 2**32 - 1).map(header)), max_size=12))
def test_garbage_never_raises_and_never_buffers_beyond_one_frame(chunks: list[bytes]) -> None:
    reader, single = FrameReader(), FrameReader()
    frames = []
    for chunk in chunks:
        frames += reader.feed(chunk)
        assert held(reader) <= HOLD
        assert reader.fault is None or not reader.partial
    assert frames == [frame for byte in b"".join(chunks) for frame in single.feed(bytes((byte,)))]
    assert (single.fault and single.fault.reason) == (reader.fault and reader.fault.reason)


def test_a_body_is_never_kept_beyond_the_declared_length() -> None:
    reader = FrameReader()
    reader.feed(header(100) + bytes(50))
    for _ in range(1000):
        reader.feed(b"\x00" * 7)
        assert held(reader) <= 112


def test_a_whole_frame_costs_no_copy_but_its_body() -> None:
    data = encode_frame(bytes((CODEC_8,)) * AVL_LIMIT)
    reader = FrameReader()
    (body,) = reader.feed(data)
    assert sys.getsizeof(reader._tail) < 100
    assert isinstance(body, bytes)


def test_tiny_reads_cost_in_proportion_to_their_bytes() -> None:
    def cost(length: int) -> float:
        data = [bytes((byte,)) for byte in encode_frame(bytes((CODEC_12,)) * length)]
        reader = FrameReader()
        started = process_time()
        for byte in data:
            reader.feed(byte)
        return process_time() - started

    cost(1000)
    # 16 times the bytes: about 16 times the time if linear, 256 times if each read copied what came before.
    assert min(cost(64_000) for _ in range(3)) < 80 * min(cost(4_000) for _ in range(5))

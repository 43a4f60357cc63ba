"""AVL records: round trips, refusals, and their JSON."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import to_builtins

from store.streams.record_data import RecordData, read_record
from transport.teltonika import layout
from transport.teltonika.avl import Record, decode_avl, encode_ack, encode_avl
from transport.teltonika.errors import Undecodable
from transport.teltonika.frame import CODEC_8, CODEC_8E, CODEC_16
from transport.teltonika.record_json import record_data, record_json

Io: TypeAlias = dict[int, tuple[int, int] | bytes]

HEAD = 24
CODECS = [CODEC_8, CODEC_8E, CODEC_16]
BODIES = {
    CODEC_8: "08010000016b40d8ea30010000000000000000000000000000000105021503010101425e0f01f10000601a"
    "014e000000000000000001",
    CODEC_8E: "8e010000016b412cee000100000000000000000000000000000000010005000100010100010011001d0001"
    "0010015e2c880002000b000000003544c87a000e000000001dd7e06a000001",
}


def body_of(frame: bytes) -> bytes:
    return frame[8:-4]


def sample(codec: int) -> bytes:
    """Return the body of one record with 5 IO values: the wiki's own, or for codec 16 one like it."""
    if codec == CODEC_16:
        io: Io = {1: (1, 1), 3: (1, 0), 17: (2, 29), 16: (4, 9), 11: (8, 2**60)}
        return body_of(encode_avl(codec, [Record.of(timestamp=1, generation_type=5, io=io)]))
    return bytes.fromhex(BODIES[codec])


def unsigned(size: int) -> st.SearchStrategy[int]:
    return st.integers(0, 256**size - 1)


def io_values(codec: int) -> st.SearchStrategy[Io]:
    fixed = st.sampled_from([1, 2, 4, 8]).flatmap(lambda width: st.tuples(st.just(width), unsigned(width)))
    values = st.one_of(fixed, st.binary(max_size=40)) if codec == CODEC_8E else fixed
    return st.dictionaries(unsigned(1 if codec == CODEC_8 else 2), values, max_size=12)


def records(codec: int) -> st.SearchStrategy[Record]:
    return st.builds(
        Record.of,
        timestamp=unsigned(8),
        priority=unsigned(1),
        longitude=st.integers(-(2**31), 2**31 - 1).map(lambda raw: raw / 10**7),
        latitude=st.integers(-(2**31), 2**31 - 1).map(lambda raw: raw / 10**7),
        altitude=st.integers(-(2**15), 2**15 - 1),
        angle=unsigned(2),
        satellites=unsigned(1),
        speed=unsigned(2),
        event_id=unsigned(1 if codec == CODEC_8 else 2),
        generation_type=unsigned(1) if codec == CODEC_16 else st.none(),
        io=io_values(codec),
    )


frames = st.sampled_from(CODECS).flatmap(
    lambda codec: st.tuples(st.just(codec), st.lists(records(codec), min_size=1, max_size=5))
)


def refuse(body: bytes, *reasons: str) -> None:
    with pytest.raises(Undecodable) as caught:
        decode_avl(body)
    assert caught.value.reason in reasons
    assert str(caught.value) == caught.value.detail


@given(frames)
def test_records_decode_to_what_was_encoded(frame: tuple[int, list[Record]]) -> None:
    codec, sent = frame
    wire = encode_avl(codec, sent)
    received = decode_avl(body_of(wire))
    assert received == sent
    assert encode_avl(codec, received) == wire


@given(st.sampled_from(CODECS).flatmap(io_values))
def test_the_io_of_a_record_is_what_it_was_built_of(io: Io) -> None:
    record = Record.of(timestamp=0, io=io)
    assert record.io == {key: v if isinstance(v, bytes) else v[1] for key, v in io.items()}
    assert record.io_width == {key: len(v) if isinstance(v, bytes) else v[0] for key, v in io.items()}


def test_the_public_face_of_a_record() -> None:
    record = Record.of(
        timestamp=1_700_000_000_000,
        priority=3,
        longitude=-79.9212345,
        latitude=-33.9,
        altitude=-4,
        angle=359,
        satellites=248,
        speed=65535,
        event_id=240,
        generation_type=9,
        io={240: (1, 1), 256: (8, 2**64 - 1)},
    )
    (back,) = decode_avl(body_of(encode_avl(CODEC_16, [record])))
    assert (back.longitude_raw, back.latitude_raw) == (-799212345, -339000000)
    assert (back.longitude, back.latitude) == (-79.9212345, -33.9)
    assert (back.timestamp, back.priority, back.altitude, back.angle) == (1_700_000_000_000, 3, -4, 359)
    assert (back.satellites, back.speed, back.event_id, back.generation_type) == (248, 65535, 240, 9)
    assert (back.io, back.io_width) == ({240: 1, 256: 2**64 - 1}, {240: 1, 256: 8})


def test_of_a_repeated_io_id_the_last_value_wins() -> None:
    body = sample(CODEC_8)
    twice = body[: HEAD + 5] + b"\x15\x03\x15\x01" + body[HEAD + 9 :]
    (record,) = decode_avl(twice)
    assert record.io[0x15] == 1
    assert body_of(encode_avl(CODEC_8, [record])) == twice


def test_of_a_repeated_8_byte_id_the_last_one_is_published() -> None:
    group = b"\x02\x0b" + b"\xff" * 8 + b"\x0b" + bytes(7) + b"\x07"
    body = bytes.fromhex("0801") + bytes(HEAD) + b"\x00\x02\x00\x00\x00" + group + b"\x01"
    (record,) = decode_avl(body)
    assert record.io == {0x0B: 7}
    assert json.loads(record_json(record))["io"] == {"11": 7}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("at", "value"), [(1, 0), (1, 2), (1, 255), (-1, 0), (-1, 2)])
def test_record_counts_that_disagree_are_refused(codec: int, at: int, value: int) -> None:
    body = bytearray(sample(codec))
    body[at] = value
    refuse(bytes(body), "count")


@pytest.mark.parametrize("codec", CODECS)
def test_counts_that_agree_on_another_number_are_refused(codec: int) -> None:
    body = sample(codec)
    refuse(bytes((codec, 2)) + body[2:-1] + b"\x02", "truncated", "io_total")
    twice = body[2:-1] * 2
    refuse(bytes((codec, 1)) + twice + b"\x01", "trailing")


def test_a_frame_without_records_is_refused() -> None:
    for codec in CODECS:
        refuse(bytes((codec, 0, 0)), "count")


@pytest.mark.parametrize("codec", [0x07, 0x0C, 0x00, 0xFF])
def test_another_codec_is_refused(codec: int) -> None:
    refuse(bytes((codec,)) + sample(CODEC_8)[1:], "codec")


@pytest.mark.parametrize("warm", [False, True], ids=["unknown layout", "known layout"])
@pytest.mark.parametrize("codec", CODECS)
def test_a_body_cut_short_anywhere_is_refused(codec: int, warm: bool) -> None:
    body = sample(codec)
    if warm:
        decode_avl(body)
    for length in range(len(body) - 1):
        with pytest.raises(Undecodable):
            decode_avl(body[:length] + b"\x01")


@pytest.mark.parametrize("codec", CODECS)
def test_a_changed_io_total_is_refused_though_the_layout_is_known(codec: int) -> None:
    body = bytearray(sample(codec))
    decode_avl(bytes(body))
    at = 2 + layout.SHAPES[codec].total_at + layout.SHAPES[codec].count_size - 1
    assert body[at] == 5
    body[at] += 1
    refuse(bytes(body), "io_total")


@pytest.mark.parametrize("codec", CODECS)
def test_a_changed_byte_is_seen_though_the_old_layout_is_known(codec: int) -> None:
    body = bytearray(sample(codec))
    (before,) = decode_avl(bytes(body))
    for index in range(2 + layout.SHAPES[codec].total_at, len(body) - 1):
        changed = bytearray(body)
        changed[index] ^= 0x10
        with suppress(Undecodable):
            (after,) = decode_avl(bytes(changed))
            assert after != before
            assert body_of(encode_avl(codec, [after])) == changed


def test_a_variable_value_may_be_empty_and_ends_in_the_frame() -> None:
    record = Record.of(timestamp=0, io={331: b"", 256: b"VIN"})
    body = body_of(encode_avl(CODEC_8E, [record]))
    (back,) = decode_avl(body)
    assert back.io == {331: b"", 256: b"VIN"}
    longer = body[:-5] + b"\x04" + body[-4:]
    refuse(longer, "truncated")


@given(st.sampled_from([*CODECS, 7]), st.binary(max_size=120), st.booleans())
def test_garbage_raises_nothing_but_undecodable(codec: int, middle: bytes, sound: bool) -> None:
    body = bytes((codec, 1)) + middle + b"\x01" if sound else middle
    with suppress(Undecodable):
        assert body_of(encode_avl(codec, decode_avl(body))) == body


@given(frames, st.data())
def test_a_damaged_frame_is_refused_or_read_as_what_it_says(
    frame: tuple[int, list[Record]], data: st.DataObject
) -> None:
    body = bytearray(body_of(encode_avl(*frame)))
    decode_avl(bytes(body))
    body[data.draw(st.integers(1, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with suppress(Undecodable):
        assert body_of(encode_avl(frame[0], decode_avl(bytes(body)))) == body


def test_an_acknowledgement_is_four_bytes() -> None:
    assert [encode_ack(count).hex() for count in (0, 1, 255)] == ["00000000", "00000001", "000000ff"]


@pytest.mark.parametrize(
    ("codec", "record"),
    [
        (CODEC_8, Record.of(timestamp=0, io={256: (1, 0)})),
        (CODEC_8, Record.of(timestamp=0, io={1: b"text"})),
        (CODEC_8, Record.of(timestamp=0, event_id=256)),
        (CODEC_8, Record.of(timestamp=0, generation_type=1)),
        (CODEC_16, Record.of(timestamp=0)),
        (CODEC_16, Record.of(timestamp=0, generation_type=1, io={1: b"text"})),
        (CODEC_8E, Record.of(timestamp=-1)),
        (CODEC_8E, Record.of(timestamp=0, longitude=215.0)),
        (CODEC_8E, Record.of(timestamp=0, io={1: (1, 256)})),
        (0x0C, Record.of(timestamp=0)),
    ],
)
def test_what_a_codec_cannot_carry_is_not_encoded(codec: int, record: Record) -> None:
    with pytest.raises(ValueError, match=r"codec|Codec|fit"):
        encode_avl(codec, [record])


def test_a_frame_holds_1_to_255_records() -> None:
    record = Record.of(timestamp=0)
    for count in (0, 256):
        with pytest.raises(ValueError, match="1 to 255"):
            encode_avl(CODEC_8, [record] * count)
    assert len(decode_avl(body_of(encode_avl(CODEC_8, [record] * 255)))) == 255


def test_an_io_value_has_a_width_of_the_protocol() -> None:
    with pytest.raises(ValueError, match="1, 2, 4, 8 bytes"):
        Record.of(timestamp=0, io={1: (16, 0)})


@given(frames)
def test_msgspec_and_dataclasses_json_write_the_same_values(frame: tuple[int, list[Record]]) -> None:
    for record in frame[1]:
        text = record_json(record)
        assert json.loads(text) == json.loads(read_record(text).to_json())


@given(frames)
def test_the_json_of_a_record_reads_back(frame: tuple[int, list[Record]]) -> None:
    for record in frame[1]:
        text = record_json(record)
        assert read_record(text) == RecordData.from_json(text)
        assert to_builtins(read_record(text)) == to_builtins(record_data(record))


@pytest.mark.parametrize("text", [b"", b"{}", b'{"speed": "fast"}', b"\xff"])
def test_a_text_that_is_no_record_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON|missing|expected|Expected|utf|UTF|truncated"):
        read_record(text)

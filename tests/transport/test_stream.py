"""The stream of a device: bytes and time in, values out. No loop and no clock is needed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.teltonika.avl import Record, encode_avl
from transport.teltonika.command import encode_answer
from transport.teltonika.errors import BadHandshake, FramingLost
from transport.teltonika.frame import (
    AVL_LIMIT,
    CODEC_8,
    CODEC_12,
    MESSAGE_LIMIT,
    BadFrame,
    FrameReader,
    encode_frame,
)
from transport.teltonika.handshake import encode_handshake
from transport.teltonika.stream import (
    BAD_FRAMES_LIMIT,
    FRAME_DEADLINE,
    Awaited,
    DeviceStream,
    Identity,
    Item,
    MessagesFrame,
    RawFrame,
    RecordsFrame,
    StreamSettings,
)

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "data" / "vectors.json").read_text(encoding="utf-8")
)
WIRE = {vector["id"]: bytes.fromhex(vector["hex"]) for vector in VECTORS}
WHOLE = {name: data for name, data in WIRE.items() if FrameReader().feed(data)}

IMEI = "352093081452251"
HELLO = encode_handshake(IMEI)
RECORD = Record.of(timestamp=1_767_225_600_000, longitude=25.2797, latitude=54.6872, satellites=9)
FRAME = encode_avl(CODEC_8, [RECORD])
RECORDS = RecordsFrame(CODEC_8, [RECORD])
ANSWER = encode_answer(CODEC_12, IMEI, b"OK")
DAMAGED = FRAME[:-1] + bytes((FRAME[-1] ^ 1,))
SETTINGS = StreamSettings(handshake_timeout=10.0, ready_grace=5.0)
START = 1000.0


def fresh(settings: StreamSettings = SETTINGS) -> DeviceStream:
    """The stream of a connection that was accepted at `START`."""
    return DeviceStream(settings, START)


def started(settings: StreamSettings = SETTINGS, now: float = START) -> DeviceStream:
    """The stream of a device that has been answered `01` at `now`."""
    stream = fresh(settings)
    stream.feed(HELLO, now)
    stream.admit(now)
    stream.start()
    return stream


def ready() -> DeviceStream:
    """The stream of a device that has had a frame acknowledged."""
    stream = started()
    stream.open()
    return stream


def told(items: Iterable[Item]) -> list[object]:
    """Items so that equal ones compare equal: faults are exceptions, which do not."""
    return [
        (type(item).__name__, item.reason) if isinstance(item, BadHandshake | FramingLost) else item
        for item in items
    ]


def read(stream: DeviceStream, pieces: Iterable[bytes]) -> list[object]:
    """All items of `pieces`; a device that names itself is let in at once."""
    found: list[object] = []
    for piece in pieces:
        items = stream.feed(piece, START)
        if stream.held:
            stream.admit(START)
            stream.start()
            items = (*items, *stream.feed(b"", START))
        found += told(items)
    return found


def due(stream: DeviceStream) -> tuple[Awaited, float] | None:
    """What the stream waits for and until when, in seconds after `START`."""
    return None if stream.deadline is None else (stream.awaited, stream.deadline - START)


def outcome(stream: DeviceStream, pieces: Iterable[bytes]) -> tuple[object, ...]:
    """The items of `pieces`, and the state of the stream after them."""
    return read(stream, pieces), stream.partial, stream.expected, due(stream)


def kinds(items: Iterable[Item]) -> list[type]:
    return [type(item) for item in items]


# The same bytes are the same items, however they are cut


@pytest.mark.parametrize("name", WIRE)
def test_an_example_split_at_any_byte_gives_the_same_items(name: str) -> None:
    data = WIRE[name]
    for make, prefix in ((fresh, b""), (fresh, HELLO), (ready, FRAME)):
        whole = outcome(make(), [prefix, data])
        for at in range(1, len(data)):
            assert outcome(make(), [prefix, data[:at], data[at:]]) == whole
        assert outcome(make(), [prefix + data]) == whole


@pytest.mark.parametrize("name", WHOLE)
def test_an_example_byte_by_byte_gives_the_items_of_the_whole(name: str) -> None:
    data = WHOLE[name]
    assert read(ready(), [bytes((byte,)) for byte in data]) == read(ready(), [data])


pieces_of_a_stream = st.lists(st.sampled_from([*WHOLE.values(), FRAME, ANSWER, DAMAGED, b"\xff"]), max_size=6)


@given(pieces_of_a_stream, st.lists(st.integers(0, 4000), max_size=12))
def test_any_cut_of_a_connection_gives_the_same_items(parts: list[bytes], cuts: list[int]) -> None:
    data = HELLO + b"".join(parts)
    edges = [0, *sorted(cut % len(data) for cut in cuts), len(data)]
    assert read(fresh(), [data[a:b] for a, b in pairwise(edges)]) == read(fresh(), [data])


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_garbage_ends_in_one_fault_at_most_and_nothing_after_it(chunks: list[bytes]) -> None:
    for stream in (fresh(), ready()):
        found = read(stream, chunks)
        faults = [item for item in found if isinstance(item, tuple)]
        assert faults in ([], found[-1:])


@pytest.mark.parametrize("name", WIRE)
def test_whole_frame_without_time_is_the_item_of_feed(name: str) -> None:
    frame, items = ready().whole(WIRE[name]), list(ready().feed(WIRE[name], START))
    assert frame is None or items == [frame]


def test_read_is_no_whole_frame_unless_the_stream_is_between_frames() -> None:
    identified, arriving, keeping = fresh(), ready(), ready()
    identified.feed(HELLO, START)
    arriving.feed(FRAME[:5], START)
    keeping.keep(FRAME)
    assert [stream.whole(FRAME) for stream in (fresh(), identified, arriving, keeping)] == [None] * 4


def test_whole_frame_ends_a_row_of_wrong_checksums() -> None:
    stream = ready()
    for _ in range(2):
        stream.feed(DAMAGED * (BAD_FRAMES_LIMIT - 1), START)
        assert stream.whole(FRAME) == RECORDS


# What a frame is


@pytest.mark.parametrize(
    ("data", "items"),
    [
        (FRAME, [RECORDS]),
        (FRAME * 2 + b"\xff", [RECORDS, RECORDS]),
        (b"\xff", []),
        (encode_frame(FRAME[8:-5] + b"\x02"), [RawFrame(FRAME[8:-5] + b"\x02", "count")]),
        (encode_frame(b"\x77\x01\x01"), [RawFrame(b"\x77\x01\x01", "codec")]),
        (encode_frame(b"\x0c\x02\x01"), [RawFrame(b"\x0c\x02\x01", "truncated", owed=False)]),
    ],
    ids=["records", "two frames", "ping", "undecodable", "unknown codec", "bad message"],
)
def test_a_frame_is_decoded_or_kept_with_the_reason(data: bytes, items: list[Item]) -> None:
    assert list(ready().feed(data, START)) == items


def test_records_stay_raw_if_decoding_is_off() -> None:
    stream = started(StreamSettings(decode=False))
    [frame] = stream.feed(encode_avl(CODEC_8, [RECORD] * 3), START)
    assert isinstance(frame, RawFrame)
    assert (frame.reason, frame.owed, frame.count) == ("", True, 3)
    assert kinds(stream.feed(ANSWER, START)) == [MessagesFrame]


def test_a_message_comes_with_its_text() -> None:
    [frame] = ready().feed(ANSWER, START)
    assert isinstance(frame, MessagesFrame)
    assert [message.payload for message in frame.messages] == [b"OK"]


# Faults


def test_one_wrong_checksum_leaves_the_stream_in_step() -> None:
    assert kinds(ready().feed(DAMAGED + FRAME, START)) == [BadFrame, RecordsFrame]


@pytest.mark.parametrize("at_once", [True, False])
def test_bad_checksums_in_a_row_end_the_reading(at_once: bool) -> None:
    stream, found = ready(), []
    reads = [DAMAGED] * (BAD_FRAMES_LIMIT - 1) + [FRAME] + [DAMAGED] * BAD_FRAMES_LIMIT + [FRAME]
    for data in [b"".join(reads)] if at_once else reads:
        found += told(stream.feed(data, START))
    assert found[-1] == ("FramingLost", "checksum")
    assert found[:-1].count(RECORDS) == 1
    assert len(found) == 2 * BAD_FRAMES_LIMIT + 1


def test_what_is_no_frame_is_a_fault_behind_the_frames_before_it() -> None:
    stream = ready()
    assert told(stream.feed(FRAME + b"\x01" + FRAME, START)) == [RECORDS, ("FramingLost", "preamble")]
    assert (list(stream.feed(FRAME, START)), stream.partial) == ([], False)


def test_a_frame_that_is_too_long_is_a_fault_with_its_length() -> None:
    frame = encode_frame(bytes((CODEC_8, 1)) + bytes(AVL_LIMIT))
    [fault] = ready().feed(frame, START)
    assert isinstance(fault, FramingLost)
    assert (fault.reason, fault.length) == ("length", AVL_LIMIT + 2)


def test_a_bad_handshake_is_a_fault() -> None:
    assert told(fresh().feed(b"\x16\x03", START)) == [("BadHandshake", "tls")]


def test_the_header_gives_the_size_of_an_arriving_frame() -> None:
    stream, frame = ready(), encode_answer(CODEC_12, IMEI, bytes(MESSAGE_LIMIT - 8))
    sizes = []
    for at, end in pairwise([0, 7, 9, 5000, len(frame)]):
        stream.feed(frame[at:end], START)
        sizes.append(stream.expected)
    assert sizes == [0, len(frame), len(frame), 0]


# What comes early


@pytest.mark.parametrize("cut", [0, 1, len(FRAME) - 1, len(FRAME)])
def test_what_comes_with_the_handshake_is_read_after_the_start(cut: int) -> None:
    stream = fresh()
    assert list(stream.feed(HELLO + FRAME[:cut], START)) == [Identity(IMEI)]
    assert stream.held
    assert list(stream.feed(FRAME[cut:], START)) == []
    stream.admit(START)
    stream.start()
    assert (stream.held, stream.early) == (False, FRAME)
    assert list(stream.feed(b"", START)) == [RECORDS]


def test_bytes_of_a_handshake_that_were_kept_are_read_first() -> None:
    stream = fresh()
    stream.keep(HELLO[:5])
    assert list(stream.feed(HELLO[5:], START)) == [Identity(IMEI)]


@given(st.integers(0, 2 * len(FRAME)), st.integers(0, 2 * len(FRAME)))
def test_kept_bytes_keep_their_place_before_those_that_come_later(a: int, b: int) -> None:
    stream, data, (first, second) = ready(), FRAME * 2, sorted((a, b))
    stream.keep(data[:first])
    stream.keep(data[first:second])
    assert list(stream.feed(data[second:], START)) == [RECORDS, RECORDS]


def test_kept_bytes_are_given_back_once() -> None:
    stream = ready()
    stream.keep(FRAME)
    assert (stream.take_early(), stream.take_early()) == (FRAME, b"")
    assert list(stream.feed(FRAME, START)) == [RECORDS]


# Deadlines


def test_the_handshake_timeout_runs_from_accept_to_admission() -> None:
    stream = fresh()
    for at in range(len(HELLO)):
        stream.feed(HELLO[at : at + 1], START + at)
        assert due(stream) == (Awaited.HANDSHAKE, 10.0)
    stream.feed(FRAME, START + 9)
    assert due(stream) == (Awaited.HANDSHAKE, 10.0)
    stream.admit(START + 9)
    assert due(stream) == (Awaited.READY_GRACE, 14.0)


def test_the_grace_runs_on_while_whole_frames_come() -> None:
    stream = started()
    stream.feed(FRAME, START + 1)
    stream.feed(ANSWER + FRAME, START + 2)
    assert due(stream) == (Awaited.READY_GRACE, 5.0)


def test_a_frame_has_its_time_from_its_first_byte() -> None:
    stream = ready()
    assert due(stream) is None
    for at in range(len(FRAME) - 1):
        stream.feed(FRAME[at : at + 1], START + 3 + at)
        assert due(stream) == (Awaited.FRAME_END, 3 + FRAME_DEADLINE)
    stream.feed(FRAME[-1:], START + 200)
    assert due(stream) is None


def test_each_frame_has_a_time_of_its_own() -> None:
    stream = ready()
    stream.feed(FRAME[:20], START)
    stream.feed(FRAME[20:] + FRAME[:5], START + 7)
    assert due(stream) == (Awaited.FRAME_END, 7 + FRAME_DEADLINE)


def test_the_end_of_a_frame_restarts_the_ready_grace() -> None:
    stream = started()
    stream.feed(ANSWER[:5], START + 1)
    assert due(stream) == (Awaited.FRAME_END, 1 + FRAME_DEADLINE)
    stream.feed(ANSWER[5:], START + 3)
    assert due(stream) == (Awaited.READY_GRACE, 8.0)


def test_a_ready_device_has_only_the_frame_deadline() -> None:
    idle, busy = started(), started()
    busy.feed(FRAME[:5], START)
    for stream in (idle, busy):
        stream.open()
    assert (due(idle), due(busy)) == (None, (Awaited.FRAME_END, FRAME_DEADLINE))


def test_a_frame_that_was_not_read_gets_its_whole_time_again() -> None:
    stream = ready()
    stream.feed(FRAME[:5], START)
    stream.extend(START + 25)
    assert due(stream) == (Awaited.FRAME_END, 25 + FRAME_DEADLINE)

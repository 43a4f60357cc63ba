"""Frames that are longer than one read: no more of them arrive at once than there is room for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transport.connection_rig import ConnectionRig, FakeTransport
from transport.connection.backpressure import READ_SIZE
from transport.connection.long_frames import LIMIT, LongFrames
from transport.connection.protocol import DeviceConnection
from transport.teltonika.command import encode_answer
from transport.teltonika.frame import CODEC_12, MESSAGE_LIMIT
from transport.teltonika.stream import FRAME_DEADLINE

LONGEST = encode_answer(CODEC_12, "", bytes(MESSAGE_LIMIT - 8))
HEAD, REST = LONGEST[:9], LONGEST[9:]
AT_ONCE = LIMIT // len(LONGEST)


def begin(
    connections: ConnectionRig, count: int, begun: bytes = HEAD
) -> list[tuple[DeviceConnection, FakeTransport]]:
    """So many devices begin a frame."""
    devices = [connections.ready(f"3520930{len(connections.sessions.by_imei):08}") for _ in range(count)]
    for connection, _ in devices:
        connection.received(begun)
    return devices


def paused(devices: list[tuple[DeviceConnection, FakeTransport]]) -> list[bool]:
    """Of each device, whether it is not read."""
    return [transport.paused for _, transport in devices]


async def test_a_frame_for_which_there_is_no_room_is_not_read(connections: ConnectionRig) -> None:
    assert paused(begin(connections, AT_ONCE + 2)) == [False] * AT_ONCE + [True] * 2


async def test_a_frame_of_the_size_of_a_read_needs_no_room(connections: ConnectionRig) -> None:
    begin(connections, AT_ONCE)
    frame = encode_answer(CODEC_12, "", bytes(READ_SIZE - len(encode_answer(CODEC_12, "", b""))))
    assert (len(frame), paused(begin(connections, 1, frame[:-1]))) == (READ_SIZE, [False])


@pytest.mark.parametrize(
    "end",
    [
        lambda device: device.received(REST),
        lambda device: device.received(REST[:-1] + b"\1"),  # the checksum is wrong
        lambda device: device.received(REST + HEAD),  # a next frame begins, and waits behind the others
        lambda device: device.connection_lost(None),
    ],
)
async def test_the_end_of_a_long_frame_resumes_the_first_waiting(
    connections: ConnectionRig, end: Callable[[DeviceConnection], None]
) -> None:
    devices = begin(connections, AT_ONCE + 2)
    end(devices[0][0])
    assert paused(devices)[1:] == [False] * AT_ONCE + [True]


async def test_what_waits_for_room_is_not_read_for_any_other_reason(connections: ConnectionRig) -> None:
    begin(connections, AT_ONCE)
    [(device, transport)] = begin(connections, 1)
    connections.context.backpressure.hold_all()
    connections.context.backpressure.progress()
    device.resume()
    assert transport.paused


async def test_the_time_of_a_frame_does_not_run_while_it_waits_for_room(connections: ConnectionRig) -> None:
    devices = begin(connections, AT_ONCE)
    connections.at(FRAME_DEADLINE - 1)
    [(late, _)] = begin(connections, 1)
    for connection, _ in devices:
        connection.connection_lost(None)
    connections.at(2 * FRAME_DEADLINE - 2)
    assert not late.closed
    connections.at(2 * FRAME_DEADLINE)
    assert late.closed


STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(1, 60)), max_size=60)


@given(STEPS)
def test_room_for_long_frames_is_limited_and_in_order(
    steps: list[tuple[bool, int, int]],
) -> None:
    room: LongFrames[int] = LongFrames(100)
    sizes: dict[int, int] = {}
    for begins, key, size in steps:
        if begins:
            room.begin(key, sizes.setdefault(key, size))
        else:
            sizes.pop(key, None)
            room.end(key)
        waiting = [key for key in sizes if room.waits(key)]
        arriving = sum(sizes.values()) - sum(sizes[key] for key in waiting)
        assert arriving <= 100
        assert not waiting or arriving + sizes[waiting[0]] > 100

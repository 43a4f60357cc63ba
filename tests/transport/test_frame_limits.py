"""How long a frame may be does not depend on how the network cuts it."""

from __future__ import annotations

import pytest
from freezegun.api import FrozenDateTimeFactory
from structlog.testing import capture_logs

from fsm.reasons import PROTOCOL_ERROR
from tests.transport.command_rig import IMEI
from tests.transport.connection_rig import ConnectionRig
from transport.teltonika.frame import (
    AVL_LIMIT,
    CODEC_8,
    CODEC_12,
    MESSAGE_LIMIT,
    PACKET_LIMIT,
    FrameReader,
    encode_frame,
)


def feed(frame: bytes, size: int) -> tuple[int, bool]:
    """How many frames a reader finds in `frame`, cut to pieces of `size`; whether it has lost its place."""
    reader = FrameReader()
    found = sum(len(reader.feed(frame[at : at + size])) for at in range(0, len(frame), size))
    return found, reader.fault is not None


@pytest.mark.parametrize("size", [1 << 20, 1000, 9], ids=["whole", "in pieces", "in small pieces"])
@pytest.mark.parametrize(
    ("codec", "length", "frames"),
    [
        (CODEC_8, AVL_LIMIT, 1),
        (CODEC_8, AVL_LIMIT + 1, 0),
        (CODEC_12, AVL_LIMIT + 1, 1),
        (CODEC_12, MESSAGE_LIMIT, 1),
        (CODEC_12, MESSAGE_LIMIT + 1, 0),
    ],
)
def test_a_frame_is_as_long_as_its_codec_allows_however_it_comes(
    codec: int, length: int, frames: int, size: int
) -> None:
    frame = encode_frame(bytes((codec,)) + bytes(length - 1))
    assert feed(frame, size) == (frames, frames == 0)


@pytest.mark.parametrize("size", [1 << 20, 9], ids=["whole", "in small pieces"])
@pytest.mark.parametrize(("length", "taken"), [(PACKET_LIMIT, True), (PACKET_LIMIT + 1, False)])
async def test_an_operator_says_how_long_a_frame_of_records_may_be(
    frozen: FrozenDateTimeFactory, length: int, taken: bool, size: int
) -> None:
    connections = ConnectionRig(frozen, max_frame=PACKET_LIMIT, payload="raw")
    connection, _ = connections.ready()
    frame = encode_frame(bytes((CODEC_8, 1)) + bytes(length - 2))
    for at in range(0, len(frame), size):
        connection.received(frame[at : at + size])
    assert (len(connections.telemetry.batches), connection.closed) == (taken, not taken)


async def test_a_too_long_frame_is_logged_once_a_minute(
    frozen: FrozenDateTimeFactory,
) -> None:
    connections = ConnectionRig(frozen)
    with capture_logs() as logs:
        for imei in (IMEI, IMEI, IMEI[::-1]):
            connection, _ = connections.welcome(imei)
            connection.received(encode_frame(bytes((CODEC_8, 255)) + bytes(AVL_LIMIT)))
            assert connection.close_reason == PROTOCOL_ERROR
    told = [line for line in logs if line["event"] == "frame_too_long"]
    assert [line["imei"] for line in told] == [IMEI, IMEI[::-1]]
    assert {(line["log_level"], line["length"], line["limit"]) for line in told} == {
        ("warning", AVL_LIMIT + 2, AVL_LIMIT)
    }
    assert connections.commands.metrics.registry.get_sample_value("teltonika_frames_too_long_total") == 3

"""How long a frame may be does not depend on how the network cuts it."""

from __future__ import annotations

import pytest

from transport.teltonika.frame import (
    AVL_LIMIT,
    CODEC_8,
    CODEC_12,
    MESSAGE_LIMIT,
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

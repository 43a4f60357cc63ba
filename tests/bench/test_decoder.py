"""A frame of records: read from bytes, and written as JSON."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import pytest

from tests.bench.frames import CODECS, IMEI, SIZES, bodies, frames
from transport.teltonika.avl import decode_avl
from transport.teltonika.record_json import records_json
from transport.teltonika.stream import DeviceStream, RawFrame, RecordsFrame, StreamSettings

pytestmark = pytest.mark.parametrize("size", SIZES)


def device_stream(decode: bool) -> DeviceStream:
    """The stream of a device that has named itself and is admitted."""
    stream = DeviceStream(StreamSettings(decode=decode), 0.0)
    stream.feed(b"\0\x0f" + IMEI, 0.0)
    stream.admit(0.0)
    stream.start()
    return stream


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.benchmark(group="decode the records of a frame")
def test_decode(benchmark: Any, codec: str, size: int) -> None:
    each = cycle(bodies(codec, size))
    found = benchmark(lambda: decode_avl(next(each)))
    assert len(found) == size


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.benchmark(group="decode the records of a frame and encode them as JSON")
def test_decode_and_encode(benchmark: Any, codec: str, size: int) -> None:
    each = cycle(bodies(codec, size))
    found = benchmark(lambda: records_json(decode_avl(next(each))))
    assert len(found) == size


@pytest.mark.parametrize("kind", [RecordsFrame, RawFrame], ids=["decoded", "raw"])
@pytest.mark.benchmark(group="read a frame from the stream of a device")
def test_read(benchmark: Any, kind: type, size: int) -> None:
    stream, each = device_stream(kind is RecordsFrame), cycle(frames("8E", size))
    found = benchmark(lambda: stream.whole(next(each)))
    assert type(found) is kind

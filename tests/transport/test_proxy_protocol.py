"""PROXY headers of both versions: what they say, however they are split, and what is none."""

from __future__ import annotations

import pytest

from tests.transport.proxy_headers import BAD, GOOD
from transport.connection.proxy_protocol import HEADER_LIMIT, SIGNATURE, BadProxyHeader, Header, HeaderReader


def read(*pieces: bytes) -> tuple[Header | None, bytes, bool]:
    """What a reader makes of a stream in pieces: the header, what is behind it, and whether it came."""
    reader = HeaderReader()
    for number, piece in enumerate(pieces):
        header = reader.feed(piece)
        if header is not None:
            return header, reader.rest + b"".join(pieces[number + 1 :]), True
    return None, b"", False


@pytest.mark.parametrize(("data", "source"), GOOD.values(), ids=GOOD)
def test_a_header_says_whose_connection_it_is_wherever_it_is_split(
    data: bytes, source: tuple[str, int] | None
) -> None:
    behind = b"\0\x0f352093081452251"
    local = data[12:13] == b"\x20"
    ways = [(data[:at], data[at:] + behind) for at in range(len(data))]
    ways.append(tuple(bytes((byte,)) for byte in data + behind))
    for way in ways:
        assert read(*way) == (Header(source, local), behind, True)
    assert read(data) == (Header(source, local), b"", True)
    assert all(read(data[:at]) == (None, b"", False) for at in range(len(data)))
    assert len(data) <= HEADER_LIMIT


@pytest.mark.parametrize(("data", "reason"), BAD.values(), ids=BAD)
def test_a_bad_header_is_refused_wherever_it_is_split(data: bytes, reason: str) -> None:
    ways = [(data[:at], data[at:]) for at in range(len(data))]
    for way in (*ways, tuple(bytes((byte,)) for byte in data)):
        with pytest.raises(BadProxyHeader) as error:
            read(*way)
        assert error.value.reason == reason


@pytest.mark.parametrize(
    ("data", "decisive"),
    [(b"G", 1), (SIGNATURE + b"\x11", 13), (SIGNATURE + b"\x21\x11\x10\x01", 16), (b"\r\n\r\n\0\r\nX", 8)],
)
def test_the_first_byte_that_rules_a_header_out_is_enough(data: bytes, decisive: int) -> None:
    assert read(data[: decisive - 1]) == (None, b"", False)
    with pytest.raises(BadProxyHeader):
        read(data[:decisive])

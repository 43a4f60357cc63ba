"""The first message of a connection, and what is refused in its place."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.teltonika.errors import BadHandshake
from transport.teltonika.frame import encode_frame
from transport.teltonika.handshake import (
    ACCEPT,
    HANDSHAKE_SIZE,
    PING_LIMIT,
    REJECT,
    HandshakeReader,
    encode_handshake,
)

IMEI = "352093081452251"
HELLO = encode_handshake(IMEI)


def test_a_handshake_is_its_length_and_its_digits() -> None:
    assert HELLO.hex() == "000f" + IMEI.encode().hex()
    assert len(HELLO) == HANDSHAKE_SIZE
    assert (ACCEPT, REJECT) == (b"\x01", b"\x00")


def test_the_bytes_behind_a_handshake_are_kept() -> None:
    reader = HandshakeReader()
    assert reader.feed(HELLO + b"\x00\x00\x00") == IMEI
    assert reader.rest == b"\x00\x00\x00"


@given(st.lists(st.integers(0, 30), max_size=6), st.integers(0, 5), st.binary(max_size=8))
def test_any_split_gives_the_same_imei(cuts: list[int], pings: int, rest: bytes) -> None:
    data = b"\xff" * pings + HELLO
    edges = [0, *sorted(cut % len(data) for cut in cuts), len(data)]
    reader = HandshakeReader()
    for a, b in pairwise(edges[:-1]):
        assert reader.feed(data[a:b]) is None
    assert reader.feed(data[edges[-2] :] + rest) == IMEI
    assert (reader.pings, reader.rest) == (pings, rest)


def test_an_imei_whose_check_digit_is_wrong_is_an_imei() -> None:
    assert HandshakeReader().feed(encode_handshake("123456789012345")) == "123456789012345"


@pytest.mark.parametrize(
    ("data", "decided_at", "reason"),
    [
        (b"\x16\x03\x01", 1, "tls"),
        (b"GET / HTTP/1.1", 1, "garbage"),
        (b"\x01\x0f", 1, "garbage"),
        (encode_frame(b"\x08\x00\x00"), 2, "frame"),
        (encode_handshake("35209308145225"), 2, "imei_length"),
        (encode_handshake("3520930814522510"), 2, "imei_length"),
        (encode_handshake("35209308145225a"), 17, "imei_digits"),
        (encode_handshake("a52093081452251"), 3, "imei_digits"),
        (b"\x00\x0f3520930\xff", 10, "imei_digits"),
        (b"\x00\xff", 2, "imei_length"),
    ],
)
def test_what_is_no_handshake_is_refused_by_its_first_wrong_byte(
    data: bytes, decided_at: int, reason: str
) -> None:
    reader = HandshakeReader()
    for byte in data[: decided_at - 1]:
        assert reader.feed(bytes((byte,))) is None
    for fed, late in ((reader, data[decided_at - 1 : decided_at]), (HandshakeReader(), data)):
        with pytest.raises(BadHandshake) as caught:
            fed.feed(late)
        assert caught.value.reason == reason
        assert str(caught.value) == caught.value.detail


def test_pings_before_a_handshake_are_bounded() -> None:
    reader = HandshakeReader()
    assert reader.feed(b"\xff" * PING_LIMIT) is None
    with pytest.raises(BadHandshake) as caught:
        reader.feed(b"\xff" + HELLO)
    assert caught.value.reason == "pings"


@given(st.lists(st.binary(max_size=25), max_size=10))
def test_garbage_is_a_bad_handshake_and_is_not_kept(chunks: list[bytes]) -> None:
    reader = HandshakeReader()
    try:
        for chunk in chunks:
            if reader.feed(chunk) is not None:
                return
            assert len(reader._head) < HANDSHAKE_SIZE
    except BadHandshake:
        pass

"""PROXY headers against a second reading of the protocol, however they are split."""

from __future__ import annotations

import socket
from random import Random
from typing import Any

from tests.fuzz.check_wire import Met, pieces
from tests.fuzz.mutations import Pool, edge, mutate, some_bytes
from tests.fuzz.protocol import Refused
from tests.transport.proxy_headers import BAD, GOOD, V4, V6, v2
from transport.connection.proxy_protocol import HEADER_LIMIT, BadProxyHeader, HeaderReader

_MARK = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a"
_LINE, _BODY = 107, 4096
_ADDRESSES = {0x11: (4, 12), 0x21: (16, 36), 0x31: (0, 216)}


def corpus() -> list[bytes]:
    """Every header of the tests."""
    return [data for data, _ in (*GOOD.values(), *BAD.values())]


def smith(random: Random, data: bytes, pool: Pool) -> bytes:
    """A header of version 2 with some of it made up, or any header with some of it changed."""
    if random.random() < 0.5:
        return mutate(random, data, pool)
    family = random.choice((0x11, 0x11, 0x21, 0x31, 0x00, 0x12, random.randrange(256)))
    body = {0x11: V4, 0x21: V6, 0x31: bytes(216)}.get(family, b"")
    for _ in range(random.randrange(3)):
        value = some_bytes(random)
        body += bytes((random.choice((3, 4, 5, 0x20)),)) + len(value).to_bytes(2, "big") + value
    length = len(body) if random.random() < 0.8 else edge(random, 2) & 0xFFFF
    command = random.choice((0x21, 0x21, 0x20, random.randrange(256)))
    return v2(body, command=command, family=family, length=length) + some_bytes(random)


def header(data: bytes) -> Met:
    """However a header is split, it names its client or is refused for one reason; little is kept."""
    try:
        expected: Any = _expected(data)
    except Refused as refused:
        expected = refused.reason
    for way in ([data], pieces(data), [bytes((byte,)) for byte in data[: _LINE + HEADER_LIMIT]]):
        assert _read(way) == (expected[:2] if isinstance(expected, tuple) else expected)
    if isinstance(expected, str):
        return {f"refused: {expected}"}
    if expected is None:
        return {"unfinished"}
    source, local, size = expected
    reader = HeaderReader()
    assert reader.feed(data) is not None
    assert reader.rest == data[size:]
    return {"local" if local else "named" if source else "unnamed"}


def _read(way: list[bytes]) -> Any:
    reader = HeaderReader()
    for chunk in way:
        try:
            found = reader.feed(chunk)
        except BadProxyHeader as error:
            return error.reason
        if found is not None:
            return _packed(found.source), found.local
        assert len(reader._head) < HEADER_LIMIT
    return None


def _packed(source: tuple[str, int] | None) -> tuple[bytes, int] | None:
    if source is None:
        return None
    family = socket.AF_INET6 if ":" in source[0] else socket.AF_INET
    return socket.inet_pton(family, source[0]), source[1]


def _expected(data: bytes) -> Any:
    """What the protocol says: the client, whether the proxy speaks for itself, and the size; or None."""
    if data[:12] == _MARK[: len(data)]:
        return _binary(data)
    if data[:6] == b"PROXY "[: len(data)]:
        return _text(data)
    raise Refused("signature")


def _text(data: bytes) -> Any:
    line, end, _ = data[:_LINE].partition(b"\r\n")
    if not end:
        if len(data) >= _LINE:
            raise Refused("too_long")
        return None
    words = line.split(b" ")
    if b"\r" in line or b"\n" in line:
        raise Refused("line")
    if words[1] == b"UNKNOWN":
        return None, False, len(line) + 2
    family = {b"TCP4": socket.AF_INET, b"TCP6": socket.AF_INET6}.get(words[1])
    if family is None or len(words) != 6:
        raise Refused("line")
    try:
        packed = [socket.inet_pton(family, word.decode("ascii")) for word in words[2:4]]
    except (OSError, ValueError):
        raise Refused("line") from None
    for word in words[4:]:
        if word not in (b"%d" % number for number in range(65_536)):
            raise Refused("line")
    return (_unmapped(packed[0]), int(words[4])), False, len(line) + 2


def _unmapped(packed: bytes) -> bytes:
    return packed[12:] if packed[:-4] == bytes(10) + b"\xff\xff" else packed


def _binary(data: bytes) -> Any:
    if len(data) > 12:
        if data[12] >> 4 != 2:
            raise Refused("version")
        if data[12] & 15 > 1:
            raise Refused("command")
    if len(data) < 16:
        return None
    length = data[14] * 256 + data[15]
    if length > _BODY:
        raise Refused("too_long")
    body = data[16 : 16 + length]
    if len(body) < length:
        return None
    if data[12] == 0x20:
        return None, True, 16 + length
    if data[13] == 0:
        return None, False, 16 + length
    if data[13] not in _ADDRESSES:
        raise Refused("family")
    width, size = _ADDRESSES[data[13]]
    if length < size:
        raise Refused("length")
    _tlvs(data[: 16 + length], 16 + size)
    if not width:
        return None, False, 16 + length
    port = body[2 * width] * 256 + body[2 * width + 1]
    return (_unmapped(body[:width]), port), False, 16 + length


def _tlvs(whole: bytes, at: int) -> None:
    while at < len(whole):
        kind, size = whole[at], whole[at + 1 : at + 3]
        begin, end = at + 3, at + 3 + int.from_bytes(size, "big")
        if len(size) < 2 or end > len(whole):
            raise Refused("tlv")
        if kind == 3:
            told = whole[begin:end]
            if len(told) != 4 or int.from_bytes(told, "big") != _crc32c(
                whole[:begin] + bytes(4) + whole[end:]
            ):
                raise Refused("checksum")
        at = end


def _crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    return crc ^ 0xFFFFFFFF

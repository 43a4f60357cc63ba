"""A byte stream cut into frames, and frames made of bodies.

    preamble (4, zero) | data length (4) | body: codec id .. second quantity | CRC (4, upper half zero)

The length field counts the body alone. Between frames a device may send the one-byte network ping 0xFF.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from struct import Struct

from .crc import crc16
from .errors import FramingLost

CODEC_8 = 0x08
CODEC_8E = 0x8E
CODEC_16 = 0x10
CODEC_12 = 0x0C
CODEC_13 = 0x0D
CODEC_14 = 0x0E
CODEC_15 = 0x0F
AVL_CODECS = frozenset((CODEC_8, CODEC_8E, CODEC_16))
MESSAGE_CODECS = frozenset((CODEC_12, CODEC_13, CODEC_14, CODEC_15))

PREAMBLE = b"\x00\x00\x00\x00"
PING = 0xFF

AVL_LIMIT = 4096
"""Largest body of an AVL frame, in bytes, unless an operator says otherwise."""
PACKET_LIMIT = 1280
"""Largest AVL frame that a device sends, in bytes (Teltonika Data Sending Protocols, "AVL data packet")."""
MESSAGE_LIMIT = 65536
"""Largest body of any other frame, in bytes. Camera frames (codec 12, type 0x0D) of 2 KiB are known."""
MINIMUM = 3
"""Smallest body, in bytes: codec id, first quantity, second quantity."""

_HEADER = Struct(">II")
_CRC = Struct(">I")
_OVERHEAD = _HEADER.size + _CRC.size
_PINGS = re.compile(rb"\xff*")


@dataclass(slots=True)
class BadFrame:
    """A whole frame whose checksum does not match. It is consumed; the stream is still in step.

    ``reason`` is ``crc``, or ``crc_padding`` when the upper half of the CRC field is not zero. ``codec`` is
    the first byte of the body, ``length`` the body's size in bytes, ``declared`` the whole 32-bit CRC field
    and ``computed`` the CRC of the body as it arrived.
    """

    reason: str
    codec: int
    length: int
    declared: int
    computed: int


class FrameReader:
    """Cuts what a socket delivers, however split or glued, into frame bodies.

    ``pings`` counts the 0xFF bytes consumed. ``fault`` is set once the position in the stream is lost; from
    then on the reader keeps no bytes and returns nothing. At most one incomplete frame is ever buffered, and
    its declared length is judged before any of its body is kept.

    Args:
        limit: largest body of an AVL frame, in bytes; other frames may have `MESSAGE_LIMIT`.
    """

    __slots__ = ("_limit", "_needed", "_tail", "fault", "pings")

    def __init__(self, limit: int = AVL_LIMIT) -> None:
        self.pings = 0
        self._limit = limit
        self.fault: FramingLost | None = None
        self._tail: bytearray | None = None  # most connections are between frames most of the time
        self._needed = 0  # size the tail must reach before looking again; 0 while the header is incomplete

    @property
    def partial(self) -> bool:
        """Whether some bytes of the next frame have come, but not all."""
        return self._tail is not None

    @property
    def expected(self) -> int:
        """Size of the frame that has begun and not ended, as far as it is known; else 0."""
        return self._needed if self._tail is not None else 0

    def feed(self, data: bytes) -> list[bytes | BadFrame]:
        """Return, in order, the frames that ``data`` completes. Never raises on any input."""
        if self.fault is not None:
            return []
        if self._tail is None:
            return self._whole(data) or self._cut(data)
        self._tail += data
        if len(self._tail) < self._needed:
            return []
        return self._cut(bytes(self._tail))

    def _whole(self, data: bytes) -> list[bytes | BadFrame] | None:
        """Return the only frame in ``data`` if that is exactly what ``data`` is: the way of most reads."""
        size = len(data)
        if size < _OVERHEAD + MINIMUM:
            return None
        zeros, length = _HEADER.unpack_from(data)
        if zeros or length + _OVERHEAD != size or length > self._limit:
            return None
        return [_body(data, 0, length)]

    def _cut(self, data: bytes) -> list[bytes | BadFrame]:
        frames: list[bytes | BadFrame] = []
        at = size = 0
        try:
            while (at := self._skip_pings(data, at)) < len(data):
                size = wire_size(data, at, self._limit)
                if not size or at + size > len(data):
                    break
                frames.append(_body(data, at, size - _OVERHEAD))
                at += size
        except FramingLost as lost:
            # The traceback would keep this call's frame, and with it the whole read, alive.
            self.fault = lost.with_traceback(None)
            at = len(data)
        self._tail = bytearray(data[at:]) if at < len(data) else None
        self._needed = size
        return frames

    def _skip_pings(self, data: bytes, at: int) -> int:
        if at >= len(data) or data[at] != PING:
            return at
        match = _PINGS.match(data, at)
        assert match is not None  # the pattern matches the empty string
        self.pings += match.end() - at
        return match.end()


def wire_size(data: bytes, at: int, limit: int = AVL_LIMIT) -> int:
    """Return the size of the frame that begins at ``at``, preamble and CRC included; 0 if not known yet.

    ``limit`` is the largest body of an AVL frame, in bytes.

    Raises ``FramingLost`` as soon as the bytes present rule a frame out.
    """
    start = data[at : at + len(PREAMBLE)]
    if any(start):
        raise _not_a_frame(start)
    if len(data) < at + _HEADER.size:
        return 0
    length: int = _HEADER.unpack_from(data, at)[1]
    if length < MINIMUM:
        raise FramingLost("length", f"A frame declares {length} bytes; the least is {MINIMUM}.")
    if length > MESSAGE_LIMIT:
        raise _too_long(length, MESSAGE_LIMIT)
    if length <= limit:
        return length + _OVERHEAD
    if len(data) == at + _HEADER.size:
        return 0  # whether so much is allowed depends on the codec, which is the next byte
    codec = data[at + _HEADER.size]
    if codec not in MESSAGE_CODECS:
        raise _too_long(length, limit)
    return length + _OVERHEAD


def encode_frame(body: bytes) -> bytes:
    """Return the frame around ``body``, which reaches from codec id to second quantity."""
    return b"".join((_HEADER.pack(0, len(body)), body, _CRC.pack(crc16(body))))


def _body(data: bytes, at: int, length: int) -> bytes | BadFrame:
    start = at + _HEADER.size
    body = data[start : start + length]
    declared: int = _CRC.unpack_from(data, start + length)[0]
    computed = crc16(body)
    if declared == computed:
        return body
    # "The first two bytes are zeroes" (FM64 Protocols): a value above 16 bits cannot be a checksum.
    reason = "crc_padding" if declared > 0xFFFF else "crc"
    return BadFrame(reason, body[0], length, declared, computed)


def _too_long(length: int, limit: int) -> FramingLost:
    return FramingLost("length", f"A frame declares {length} bytes; the limit is {limit}.", length)


def _not_a_frame(start: bytes) -> FramingLost:
    """Name what stands where a preamble should, by the byte that decides it, so that splits do not matter."""
    if start[0] == 0x16:
        return FramingLost("tls", "A TLS record (0x16) stands where a frame should begin.")
    if start[0] == 0 and start[1] == 0x0F:
        return FramingLost("handshake", "A second handshake (0x000F) stands where a frame should begin.")
    at = next(index for index, byte in enumerate(start) if byte)
    return FramingLost("preamble", f"Byte {at} of a preamble is {start[at]:#04x} instead of 0.")

"""Cuts a byte stream into frames, and builds frames.

    preamble (4, zero) | data length (4) | body: codec id .. second quantity | CRC (4, upper half zero)

The length field counts only the body. Between frames a device may send network pings: one byte 0xFF.

The reader buffers one incomplete frame at most, and checks its declared length before it keeps any byte of
the body, so a hostile peer cannot make it grow. Most reads are exactly one frame, which is returned without a
copy into the buffer. An error in the checksum costs one frame; an error in the preamble or the length means
that no later frame can be found.
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
AVL_CODEC_NAMES = {CODEC_8: "8", CODEC_8E: "8E", CODEC_16: "16"}
MESSAGE_CODECS = frozenset((CODEC_12, CODEC_13, CODEC_14, CODEC_15))

PREAMBLE = b"\x00\x00\x00\x00"
PING = 0xFF

AVL_LIMIT = 4096
"""Default for the largest body of an AVL frame, in bytes."""
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
    """A complete frame whose checksum does not match. The reader skips it.

    ``reason`` is ``crc``, or ``crc_padding`` if the upper half of the CRC field is not zero. ``codec`` is the
    first byte of the body, ``length`` the size of the body in bytes, ``declared`` the whole 32-bit CRC field,
    and ``computed`` the CRC of the body.
    """

    reason: str
    codec: int
    length: int
    declared: int
    computed: int


class FrameReader:
    """Cuts a byte stream, in chunks of any size, into frame bodies.

    ``pings`` counts the 0xFF bytes that were skipped. ``fault`` is set once the start of the next frame is
    not known any more; from then on the reader keeps no bytes and returns nothing.

    Args:
        limit: largest body of an AVL frame, in bytes; other frames may have `MESSAGE_LIMIT`.
    """

    __slots__ = ("_limit", "_needed", "_tail", "fault", "pings")

    def __init__(self, limit: int = AVL_LIMIT) -> None:
        self.pings = 0
        self._limit = limit
        self.fault: FramingLost | None = None
        self._tail: bytearray | None = None  # None saves memory: most connections are between frames
        self._needed = 0  # bytes that the tail needs before the next attempt; 0 without a complete header

    @property
    def partial(self) -> bool:
        """Whether a part of the next frame has come."""
        return self._tail is not None

    @property
    def expected(self) -> int:
        """Size of the frame of which a part has come; 0 if there is none or its size is not known yet."""
        return self._needed if self._tail is not None else 0

    def feed(self, data: bytes) -> list[bytes | BadFrame]:
        """Return the frames that ``data`` completes, in order. No input makes it raise."""
        if self.fault is not None:
            return []
        if self._tail is None:
            body = whole_frame(data, self._limit)
            return self._cut(data) if body is None else [body]
        self._tail += data
        if len(self._tail) < self._needed:
            return []
        return self._cut(bytes(self._tail))

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
            # The traceback would keep the variables of this call, and with them `data`, in memory.
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


def whole_frame(data: bytes, limit: int = AVL_LIMIT) -> bytes | BadFrame | None:
    """Return the body of the only frame in ``data`` if ``data`` is exactly one frame, as most reads are.

    ``None`` says nothing about ``data`` but that a `FrameReader` has to look at it.
    """
    size = len(data)
    if size < _OVERHEAD + MINIMUM:
        return None
    zeros, length = _HEADER.unpack_from(data)
    if zeros or length + _OVERHEAD != size or length > limit:
        return None
    return _body(data, 0, length)


def wire_size(data: bytes, at: int, limit: int = AVL_LIMIT) -> int:
    """Return the size of the frame that begins at ``at``, preamble and CRC included; 0 if not known yet.

    ``limit`` is the largest body of an AVL frame, in bytes. Raises ``FramingLost`` as soon as the bytes
    cannot be the beginning of a frame.
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
        return 0  # the limit depends on the codec, which is the next byte
    codec = data[at + _HEADER.size]
    if codec not in MESSAGE_CODECS:
        raise _too_long(length, limit)
    return length + _OVERHEAD


def encode_frame(body: bytes) -> bytes:
    """Return the frame with ``body``, which begins with the codec id and ends with the second quantity."""
    return b"".join((_HEADER.pack(0, len(body)), body, _CRC.pack(crc16(body))))


def _body(data: bytes, at: int, length: int) -> bytes | BadFrame:
    start = at + _HEADER.size
    body = data[start : start + length]
    declared: int = _CRC.unpack_from(data, start + length)[0]
    computed = crc16(body)
    if declared == computed:
        return body
    # "The first two bytes are zeroes" (FM64 Protocols): a value of more than 16 bits is not a checksum.
    reason = "crc_padding" if declared > 0xFFFF else "crc"
    return BadFrame(reason, body[0], length, declared, computed)


def _too_long(length: int, limit: int) -> FramingLost:
    return FramingLost("length", f"A frame declares {length} bytes; the limit is {limit}.", length)


def _not_a_frame(start: bytes) -> FramingLost:
    """The error for bytes that are not a preamble. The first wrong byte decides it, whatever the chunks."""
    if start[0] == 0x16:
        return FramingLost("tls", "A TLS record (0x16) came instead of a frame.")
    if start[0] == 0 and start[1] == 0x0F:
        return FramingLost("handshake", "A second handshake (0x000F) came instead of a frame.")
    at = next(index for index, byte in enumerate(start) if byte)
    return FramingLost("preamble", f"Byte {at} of a preamble is {start[at]:#04x} instead of 0.")

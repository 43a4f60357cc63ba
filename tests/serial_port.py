"""What serial ports of trackers send up, byte by byte: frames as they were met in the field.

Source: Teltonika wiki, "FMx640 RS-232 / RS-485" (modes with and without a timestamp, packet merge).
"""

from __future__ import annotations

from tests.wire_format import frame

SENSOR = bytes.fromhex("00000000000000180c0106000000102453454e534f522c312c32332e340d0a010000eab0")
"""Codec 12, type 06: ``$SENSOR,1,23.4`` and a line break."""
SENSOR_TEXT = "$SENSOR,1,23.4\r\n"
BUFFERED = bytes.fromhex(
    "000000000000001e0d0106000000166553f1002453454e534f522c62756666657265640d0a0100002d9d"
)
"""Codec 13: ``$SENSOR,buffered`` and a line break, of 2023-11-14 22:13:20 UTC."""
BUFFERED_TEXT = "$SENSOR,buffered\r\n"
BUFFERED_AT = 1_700_000_000_000
MERGED = bytes.fromhex("00000000000000170c0206000000054141410d0a06000000054242420d0a0200008086")
"""Codec 12, two messages in one frame."""
MERGED_TEXTS = ["AAA\r\n", "BBB\r\n"]
WRONG_SIZE = bytes.fromhex("000000000000000f0c010600000004444f5554313a31010000ad4b")
"""Codec 12, a good checksum, and a size that is not that of its text."""


def spoken(codec: int, *texts: bytes, kind: int = 6, at: int = 1_700_000_000) -> bytes:
    """A frame of codec 12 or 13 with a message for each text; `at` in seconds, codec 13 only."""
    stamp = at.to_bytes(4, "big") if codec == 13 else b""
    parts = (bytes([kind]) + len(stamp + text).to_bytes(4, "big") + stamp + text for text in texts)
    count = bytes([len(texts)])
    return frame(bytes([codec]) + count + b"".join(parts) + count)

"""The checksum of a Teltonika frame.

CRC-16/IBM, also called CRC-16/ARC: polynomial 0x8005 reflected (0xA001), initial value 0, no final XOR. It
covers the codec id up to and including the second quantity; preamble, length and its own field are outside.
"""

from __future__ import annotations

from fastcrc import crc16 as _crc16


def crc16(data: bytes | memoryview) -> int:
    """Return the CRC-16/ARC of ``data``; that of ``b"123456789"`` is 0xBB3D."""
    return _crc16.arc(data if isinstance(data, bytes) else bytes(data))

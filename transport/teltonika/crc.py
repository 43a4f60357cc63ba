"""The checksum of a Teltonika frame.

CRC-16/IBM, also called CRC-16/ARC: polynomial 0x8005 reflected (0xA001), initial value 0, no final XOR. It
covers the body: from the codec id to the second quantity.
"""

from __future__ import annotations

from fastcrc import crc16 as _crc16


def crc16(data: bytes | memoryview) -> int:
    """Return the CRC-16/ARC of ``data``. For ``b"123456789"`` it is 0xBB3D."""
    return _crc16.arc(data if isinstance(data, bytes) else bytes(data))

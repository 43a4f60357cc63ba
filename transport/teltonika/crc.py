"""The checksum of a Teltonika frame.

CRC-16/IBM, also called CRC-16/ARC: polynomial 0x8005 reflected (0xA001), initial value 0, no final XOR. It
covers the body: from the codec id to the second quantity.
"""

from __future__ import annotations

from collections.abc import Callable

import fastcrc

crc16: Callable[[bytes], int] = fastcrc.crc16.arc
"""The CRC-16/ARC of some bytes. For ``b"123456789"`` it is 0xBB3D."""

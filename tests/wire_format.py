"""The bytes that devices and gateways exchange, written and read independently of the gateway's codecs.

Up: the handshake, AVL frames (codecs 8, 8 Extended and 16), answers (codecs 12 and 14). Down: ``01``, acks of
four bytes, commands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

PREAMBLE = bytes(4)
HELLO = 17
"""Bytes of a handshake."""
ANSWER, NACK, COMMAND = 6, 17, 5
CODECS = {"12": 12, "14": 14}
AVL_CODECS = {"8": 8, "8E": 0x8E, "16": 16}


def _shifted(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ 0xA001 if value & 1 else value >> 1
    return value


_TABLE = [_shifted(byte) for byte in range(256)]


@lru_cache(4096)  # every frame is read at both ends, and once more by the checker
def crc(data: bytes) -> int:
    """CRC-16/ARC."""
    value = 0
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value


def frame(body: bytes) -> bytes:
    """`body` between preamble, length and checksum."""
    return PREAMBLE + len(body).to_bytes(4, "big") + body + crc(body).to_bytes(4, "big")


def hello(imei: str) -> bytes:
    """The handshake of a device."""
    return b"\0\x0f" + imei.encode()


PLACE = bytes.fromhex("0f0ea85020a3ec5c0064005a0c0032")
ELEMENTS = {
    "8": "01 03  01 01 01  01 42 2fa8  01 43 0000ffff  00",
    "8E": "0001 0004  0001 0001 01  0001 0042 2fa8  0001 0043 0000ffff  0000  0001 0100 0003 616263",
    "16": "0001 05 02  01 0001 01  01 0042 2fa8  00  00",
}
"""The IO elements of a record: event, count; those of one, two, four and eight bytes, and of any length."""


def avl(timestamps: list[int], codec: str = "8") -> bytes:
    """A frame with a record per timestamp (epoch ms)."""
    rest = b"\0" + PLACE + bytes.fromhex(ELEMENTS[codec])
    records = b"".join(at.to_bytes(8, "big") + rest for at in timestamps)
    count = bytes([len(timestamps)])
    return frame(bytes([AVL_CODECS[codec]]) + count + records + count)


class _Cursor:
    """Reads numbers, one after the other."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data = data
        self.at = at

    def take(self, size: int) -> int:
        if self.at + size > len(self.data):
            raise ValueError(f"cut off after {len(self.data)} bytes: {self.data.hex()}")
        self.at += size
        return int.from_bytes(self.data[self.at - size : self.at], "big")


def read_timestamps(body: bytes) -> list[int]:
    """The times of the records in an AVL frame's body (epoch ms).

    Raises:
        ValueError: its records are not as the codec has them, or not as many as it says.
    """
    cursor, found = _Cursor(body, 2), []
    while cursor.at < len(body) - 1:
        found.append(cursor.take(8))
        cursor.take(1 + len(PLACE))
        _pass_elements(cursor, body[0])
    if not body[1] == body[-1] == len(found):
        raise ValueError(f"{len(found)} records, {body[1]} said: {body.hex()}")
    return found


def _pass_elements(cursor: _Cursor, codec: int) -> None:
    head, wide, name = {8: (2, 1, 1), 0x8E: (4, 2, 2), 16: (4, 1, 2)}[codec]
    cursor.take(head)
    for width in (1, 2, 4, 8):
        for _ in range(cursor.take(wide)):
            cursor.take(name + width)
    if codec == 0x8E:
        for _ in range(cursor.take(wide)):
            cursor.take(name)
            cursor.take(cursor.take(wide))


def message(codec: str, imei: str, kind: int, text: bytes) -> bytes:
    """A codec 12 or 14 frame."""
    content = (bytes.fromhex("0" + imei) if codec == "14" else b"") + text
    head = bytes([CODECS[codec], 1, kind]) + len(content).to_bytes(4, "big")
    return frame(head + content + b"\x01")


def serial(codec: str, *texts: bytes, seconds: int = 1) -> bytes:
    """What a serial port says: a codec 12 or 13 frame with a message for each text."""
    stamp = seconds.to_bytes(4, "big") if codec == "13" else b""
    parts = (bytes([ANSWER]) + len(stamp + text).to_bytes(4, "big") + stamp + text for text in texts)
    count = bytes([len(texts)])
    return frame(bytes([int(codec)]) + count + b"".join(parts) + count)


def read_serial(body: bytes) -> list[bytes]:
    """The texts of a frame of messages of type 06 on codec 12 or 13; none where it holds anything else."""
    if body[0] not in (12, 13):
        return []
    cursor, found, skipped = _Cursor(body, 2), [], 4 if body[0] == 13 else 0
    try:
        for _ in range(body[1]):
            if cursor.take(1) != ANSWER:
                return []
            size = cursor.take(4)
            found.append(body[cursor.at + skipped : cursor.at + size])
            cursor.take(size)
    except ValueError:
        return []
    return found


@dataclass(frozen=True)
class Message:
    """A codec 12 or 14 message; `imei` of codec 14 only."""

    codec: str
    kind: int
    text: bytes
    imei: str = ""


def read_message(body: bytes) -> Message | None:
    """The message in a frame's body; None when it holds none."""
    if not body or body[0] not in CODECS.values() or len(body) < 8:
        return None
    codec, content = str(body[0]), body[7:-1]
    if codec == "12":
        return Message(codec, body[2], content)
    return Message(codec, body[2], content[8:], content[:8].hex()[1:])


class Stream:
    """One direction of a connection: bytes in, items out.

    Items are bodies of frames (checksum right), ``int`` for an ack, and None for a frame that is broken.
    `lost` is set when what comes cannot be a frame.
    """

    def __init__(self, *, opening_size: int, acks: bool) -> None:
        self._opening_size = opening_size
        self._acks = acks
        self.buffer = b""
        self.opening = b""
        self.lost = False

    @property
    def partial(self) -> bool:
        """Whether an item has begun and not ended."""
        return bool(self.buffer)

    def feed(self, data: bytes) -> list[bytes | int | None]:
        """The items that `data` completes."""
        missing = self._opening_size - len(self.opening)
        self.opening += data[:missing]
        self.buffer += data[missing:]
        items: list[bytes | int | None] = []
        while not self.lost and (taken := self._item(items)):
            self.buffer = self.buffer[taken:]
        return items

    def _item(self, items: list[bytes | int | None]) -> int:
        """Bytes taken by the next item; 0 when it is not whole."""
        head = self.buffer[:4]
        if head[:1] == b"\xff" and not self._acks:  # between frames a device may ping
            return 1
        if head != PREAMBLE[: len(head)] and not (self._acks and len(head) < 4):
            return self._not_a_frame(head, items)
        if len(self.buffer) < 8:
            return 0
        length = int.from_bytes(self.buffer[4:8], "big")
        if not 3 <= length <= 65536:
            return self._lose()
        if len(self.buffer) < length + 12:
            return 0
        body, sum_ = self.buffer[8 : 8 + length], self.buffer[8 + length : 12 + length]
        items.append(body if int.from_bytes(sum_, "big") == crc(body) else None)
        return length + 12

    def _not_a_frame(self, head: bytes, items: list[bytes | int | None]) -> int:
        if self._acks:
            items.append(int.from_bytes(head, "big"))
            return 4
        return self._lose()

    def _lose(self) -> int:
        self.lost = True
        return 0


def from_device() -> Stream:
    """What a device sends."""
    return Stream(opening_size=HELLO, acks=False)


def from_gateway() -> Stream:
    """What a gateway sends."""
    return Stream(opening_size=1, acks=True)

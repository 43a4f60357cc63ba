"""What devices and gateways say to each other, in a page: written apart from the gateway's own codecs.

Up: the handshake, AVL frames (codec 8), answers (codecs 12 and 14). Down: ``01``, acks of four bytes,
commands.
"""

from __future__ import annotations

from dataclasses import dataclass

PREAMBLE = bytes(4)
ANSWER, NACK, COMMAND = 6, 17, 5
CODECS = {"12": 12, "14": 14}


def _shifted(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ 0xA001 if value & 1 else value >> 1
    return value


_TABLE = [_shifted(byte) for byte in range(256)]


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


def avl(timestamps: list[int]) -> bytes:
    """A codec 8 frame with a record per timestamp (epoch ms)."""
    place = bytes.fromhex("00 0f0ea850 20a3ec5c 0064 005a 0c 0032".replace(" ", ""))
    records = b"".join(at.to_bytes(8, "big") + place + b"\x01\x01\x01\x01\x01\0\0\0" for at in timestamps)
    count = bytes([len(timestamps)])
    return frame(b"\x08" + count + records + count)


def message(codec: str, imei: str, kind: int, text: bytes) -> bytes:
    """A codec 12 or 14 frame."""
    content = (bytes.fromhex("0" + imei) if codec == "14" else b"") + text
    head = bytes([CODECS[codec], 1, kind]) + len(content).to_bytes(4, "big")
    return frame(head + content + b"\x01")


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

    def __init__(self, *, greeting: int, acks: bool) -> None:
        self._greeting = greeting
        self._acks = acks
        self.buffer = b""
        self.greeted = b""
        self.lost = False

    @property
    def partial(self) -> bool:
        """Whether an item has begun and not ended."""
        return bool(self.buffer)

    def feed(self, data: bytes) -> list[bytes | int | None]:
        """The items that `data` completes."""
        missing = self._greeting - len(self.greeted)
        self.greeted += data[:missing]
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
    return Stream(greeting=17, acks=False)


def from_gateway() -> Stream:
    """What a gateway sends."""
    return Stream(greeting=1, acks=True)

"""The protocol read slowly: byte after byte, no shapes, no caches, nothing kept from one frame to the next.

Written from the protocol alone, to check the gateway's readers. What both must refuse, both must call by the
same name, so that `Refused.reason` is compared too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.wire_format import crc

AVL = {0x08: "8", 0x8E: "8E", 0x10: "16"}
MESSAGES = {0x0C, 0x0D, 0x0E, 0x0F}
ANSWER = 0x06
AVL_LIMIT, MESSAGE_LIMIT, PING_LIMIT = 4096, 65536, 64
SAFE = 2**53 - 1


class Refused(Exception):
    """The bytes are not what the protocol allows."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


# The stream


@dataclass
class Frames:
    """What a stream of frames holds: bodies, and the reason in place of a body whose checksum is wrong."""

    items: list[bytes | str] = field(default_factory=list)
    spans: list[bytes] = field(default_factory=list)
    pings: int = 0
    fault: str = ""
    rest: bytes = b""


def read_frames(data: bytes) -> Frames:
    """Cut a stream into frames; `fault` tells why nobody knows where the next one begins."""
    found, at = Frames(), 0
    while at < len(data):
        if data[at] == 0xFF:
            found.pings += 1
            at += 1
            continue
        try:
            size = _size(data[at : at + 9])
        except Refused as refused:
            found.fault = refused.reason
            return found
        if not size or at + size > len(data):
            found.rest = data[at:]
            return found
        found.spans.append(data[at : at + size])
        found.items.append(_checked(found.spans[-1]))
        at += size
    return found


def _size(head: bytes) -> int:
    """Bytes of a frame that begins with `head`; 0 while that cannot be known."""
    if head[0] == 0x16:
        raise Refused("tls")
    if head[:2] == b"\x00\x0f":
        raise Refused("handshake")
    if any(head[:4]):
        raise Refused("preamble")
    if len(head) < 8:
        return 0
    length = int.from_bytes(head[4:8], "big")
    if length < 3 or length > MESSAGE_LIMIT:
        raise Refused("length")
    if length > AVL_LIMIT:
        if len(head) < 9:
            return 0
        if head[8] not in MESSAGES:
            raise Refused("length")
    return 12 + length


def _checked(span: bytes) -> bytes | str:
    body, field = span[8:-4], span[-4:]
    if field == crc(body).to_bytes(4, "big"):
        return body
    return "crc" if field[:2] == b"\0\0" else "crc_padding"


def read_hello(data: bytes) -> tuple[str | None, int, bytes]:
    """The IMEI (None while bytes are missing), the pings in front, and what follows it."""
    pings = len(data) - len(data.lstrip(b"\xff"))
    if pings > PING_LIMIT:
        raise Refused("pings")
    head, rest = data[pings : pings + 17], data[pings + 17 :]
    for at, byte in enumerate(head):
        if at == 0 and byte != 0:
            raise Refused("tls" if byte == 0x16 else "garbage")
        if at == 1 and byte != 15:
            raise Refused("imei_length" if byte else "frame")
        if at > 1 and byte not in b"0123456789":
            raise Refused("imei_digits")
    return (head[2:].decode("ascii") if len(head) == 17 else None), pings, rest


# Telemetry


@dataclass
class Record:
    """One AVL record: numbers by name, and the IO values as (id, width, number) or (id, bytes), as sent."""

    numbers: dict[str, int] = field(default_factory=dict)
    io: list[tuple[int, int, int]] = field(default_factory=list)
    variable: list[tuple[int, bytes]] = field(default_factory=list)


class _Cursor:
    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data, self.at, self.end = data, at, end

    def take(self, count: int) -> bytes:
        if self.at + count > self.end:
            raise Refused("truncated")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def signed(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big", signed=True)


def read_avl(body: bytes) -> list[Record]:
    """The records of a body, from codec id to the second count."""
    if len(body) < 3:
        raise Refused("truncated")
    if body[0] not in AVL:
        raise Refused("codec")
    if body[1] == 0 or body[1] != body[-1]:
        raise Refused("count")
    cursor = _Cursor(body, 2, len(body) - 1)
    records = [_record(AVL[body[0]], cursor) for _ in range(body[1])]
    if cursor.at != cursor.end:
        raise Refused("trailing")
    return records


def _record(codec: str, cursor: _Cursor) -> Record:
    wide = 1 if codec == "8" else 2  # of an id
    count = 2 if codec == "8E" else 1
    record = Record()
    numbers = record.numbers
    numbers["timestamp"] = cursor.number(8)
    numbers["priority"] = cursor.number(1)
    numbers["longitude"] = cursor.signed(4)
    numbers["latitude"] = cursor.signed(4)
    numbers["altitude"] = cursor.signed(2)
    numbers["angle"] = cursor.number(2)
    numbers["satellites"] = cursor.number(1)
    numbers["speed"] = cursor.number(2)
    numbers["event_id"] = cursor.number(wide)
    if codec == "16":
        numbers["generation_type"] = cursor.number(1)
    total = cursor.number(count)
    for width in (1, 2, 4, 8):
        for _ in range(cursor.number(count)):
            record.io.append((cursor.number(wide), width, cursor.number(width)))
    lengths = cursor.number(count) if codec == "8E" else 0
    if total != len(record.io) + lengths:
        raise Refused("io_total")
    for _ in range(lengths):
        number = cursor.number(2)
        record.variable.append((number, cursor.take(cursor.number(2))))
    return record


def published(record: Record) -> dict[str, Any]:
    """The JSON of a record as docs/contract.md has it; coordinates in units of 1e-7 degree."""
    io: dict[str, Any] = {}
    signed: dict[str, Any] = {}
    for number, width, value in record.io:
        io[str(number)] = _json_number(value)
        signed.pop(str(number), None)
        read = int.from_bytes(value.to_bytes(width, "big"), "big", signed=True)
        if read < 0:
            signed[str(number)] = _json_number(read)
    for number, content in record.variable:
        io[str(number)] = "".join(f"{byte:02x}" for byte in content)
        signed.pop(str(number), None)
    texts = [str(number) for number, _ in record.variable]
    some = {"signed": signed, "hex": list(dict.fromkeys(texts))}
    time = {"timestamp": _json_number(record.numbers["timestamp"])}
    return record.numbers | time | {"io": io} | {name: value for name, value in some.items() if value}


def _json_number(value: int) -> int | str:
    return str(value) if abs(value) > SAFE else value


def spell_avl(codec: int, records: list[Record]) -> bytes:
    """The body of a frame of `records`, without its checks: numbers are cut to their fields."""
    count = bytes([len(records) % 256])
    return bytes([codec]) + count + b"".join(_spell(AVL[codec], record) for record in records) + count


def _spell(codec: str, record: Record) -> bytes:
    wide, count = (1 if codec == "8" else 2), (2 if codec == "8E" else 1)
    sizes = (8, 1, 4, 4, 2, 2, 1, 2, wide, *([1] if codec == "16" else []))
    values = [*record.numbers.values(), *([0] * 10)]
    text = b"".join(_number(value, size) for value, size in zip(values, sizes, strict=False))
    variable = record.variable if codec == "8E" else []
    text += _number(len(record.io) + len(variable), count)
    for width in (1, 2, 4, 8):
        group = [(number, value) for number, size, value in record.io if size == width]
        text += _number(len(group), count)
        text += b"".join(_number(number, wide) + _number(value, width) for number, value in group)
    if codec == "8E":
        text += _number(len(variable), 2)
        text += b"".join(_number(n, 2) + _number(len(content), 2) + content for n, content in variable)
    return text


def _number(value: int, size: int) -> bytes:
    return (value % 256**size).to_bytes(size, "big")


# Messages


@dataclass
class Message:
    """A codec 12 to 15 message."""

    codec: int
    type: int
    text: bytes
    imei: str | None = None
    timestamp: int | None = None


def read_messages(body: bytes) -> list[Message]:
    """The messages of a body, from codec id to the second quantity."""
    if body and body[0] not in MESSAGES:
        raise Refused("codec")
    if len(body) < 8:
        raise Refused("truncated")
    codec, first, rest, second = body[0], body[1], body[2:-1], body[-1]
    if not first or (second != first and (codec, rest[0]) != (0x0C, ANSWER)):
        raise Refused("quantity")
    found = []
    while rest and len(found) < first:
        size = int.from_bytes(rest[1:5], "big")
        if len(rest) < 5 + size or len(rest) < 5:
            raise Refused("size")
        found.append(_message(codec, rest[0], rest[5 : 5 + size]))
        rest = rest[5 + size :]
    if rest or len(found) < first:
        raise Refused("size")
    return found


def _message(codec: int, kind: int, content: bytes) -> Message:
    message = Message(codec, kind, content)
    if len(content) < (4 if codec in (0x0D, 0x0F) else 0) + (8 if codec in (0x0E, 0x0F) else 0):
        raise Refused("size")
    if codec in (0x0D, 0x0F):
        message.timestamp, message.text = int.from_bytes(message.text[:4], "big"), message.text[4:]
    if codec in (0x0E, 0x0F):
        digits, message.text = message.text[:8].hex(), message.text[8:]
        message.imei = digits[1:] if digits[:1] == "0" else digits
    return message


def spell_message(codec: int, kind: int, content: bytes) -> bytes:
    """The body of a frame with one message whose sizes are right."""
    return bytes([codec, 1, kind]) + len(content).to_bytes(4, "big") + content + b"\x01"


def spell_messages(codec: int, *messages: tuple[int, bytes]) -> bytes:
    """The body of a frame with several messages, each a type and a content."""
    parts = (bytes([kind]) + _number(len(content), 4) + content for kind, content in messages)
    count = bytes([len(messages) % 256])
    return bytes([codec]) + count + b"".join(parts) + count

"""The bytes of a device in words: its handshake, its frames, and what was written to it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from fsm.trace import SENT
from transport.teltonika.avl import Record, decode_avl
from transport.teltonika.command import TYPE_COMMAND, Message, decode_messages
from transport.teltonika.errors import BadHandshake, Undecodable
from transport.teltonika.frame import AVL_CODEC_NAMES, AVL_CODECS, MESSAGE_LIMIT, BadFrame, FrameReader
from transport.teltonika.handshake import ACCEPT, REJECT, HandshakeReader
from transport.teltonika.message_json import CODEC_NAMES, as_text

_ACK_SIZE = 4
_BODY_AT = 8
_TAIL = 4


class Traffic:
    """Explains the bytes of one connection, chunk by chunk.

    A watcher may come at any time, so the first bytes may be the middle of a frame. After bytes that are no
    frame the next chunk is read as the beginning of one.
    """

    def __init__(self) -> None:
        self._reader = FrameReader(MESSAGE_LIMIT)

    def explain(self, direction: str, data: bytes) -> list[str]:
        """What a chunk completes, a sentence for each thing."""
        if direction == SENT:
            return [_written(data)]
        return list(self._read(data))

    def _read(self, data: bytes) -> Iterator[str]:
        if not self._reader.partial:
            imei, data = _handshake(data)
            if imei:
                yield f"handshake, IMEI {imei}"
        if not data:
            return
        pings = self._reader.pings
        bodies = self._reader.feed(data)
        if self._reader.pings > pings:
            yield _counted(self._reader.pings - pings, "network ping")
        yield from map(_body, bodies)
        if self._reader.fault is not None:
            yield f"not a frame: {self._reader.fault}"
            self._reader = FrameReader(MESSAGE_LIMIT)
        elif self._reader.partial and not bodies:
            yield "part of a frame"


def _handshake(data: bytes) -> tuple[str, bytes]:
    """The IMEI of a handshake and what comes behind it; the data itself if it does not begin with one."""
    if data[:1] != b"\0" or data[:4] == b"\0\0\0\0":
        return "", data
    reader = HandshakeReader()
    try:
        imei = reader.feed(data)
    except BadHandshake:
        return "", data
    return (imei, reader.rest) if imei else ("", data)


def _body(body: bytes | BadFrame) -> str:
    if isinstance(body, BadFrame):
        return f"frame with a wrong checksum ({body.reason}), {body.length} bytes"
    try:
        if body[0] in AVL_CODECS:
            return _records(body[0], decode_avl(body))
        if body[0] in CODEC_NAMES:
            return "; ".join(_message(message) for message in decode_messages(body))
    except Undecodable as error:
        return f"frame of codec {body[0]:#04x} that cannot be decoded: {error}"
    return f"frame of an unknown codec {body[0]:#04x}, {len(body)} bytes"


def _records(codec: int, records: list[Record]) -> str:
    last = records[-1]
    try:
        at = f"{datetime.fromtimestamp(last.timestamp / 1000, UTC):%Y-%m-%d %H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        at = str(last.timestamp)
    place = f"{last.latitude:.6f} {last.longitude:.6f}, {last.speed} km/h, {last.satellites} satellites"
    return f"codec {AVL_CODEC_NAMES[codec]}, {_counted(len(records), 'record')}; the last: {at}, {place}"


def _message(message: Message) -> str:
    codec = f"codec {CODEC_NAMES[message.codec]}"
    if message.type == TYPE_COMMAND:
        return f"{codec} command, text of {len(message.payload)} bytes not shown"
    text = as_text(message.payload)
    said = f'"{text}"' if text is not None else f"hex {message.payload.hex()}"
    return f"{codec} message of type {message.type:02x}: {said}"


def _written(data: bytes) -> str:
    if data in (ACCEPT, REJECT):
        return "handshake accepted" if data == ACCEPT else "handshake rejected"
    if len(data) == _ACK_SIZE:
        return f"acknowledgement of {_counted(int.from_bytes(data, 'big'), 'record')}"
    try:
        # The text is masked, so the checksum cannot be compared.
        return "; ".join(_message(message) for message in decode_messages(data[_BODY_AT:-_TAIL]))
    except Undecodable:
        return f"{len(data)} bytes"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"

"""Messages: commands to a device, its answers, and serial-port data that it forwards (codecs 12 to 15).

    codec | quantity 1 | message ... | quantity 2
    message = type | size (4) | [timestamp (4)] | [IMEI (8)] | text

``size`` counts the bytes after it in its message. Codecs 13 and 15 have a timestamp, 14 and 15 have an IMEI
(wiki, "Codec for communication over GPRS messages"). The text is plain ASCII without a terminator. A command
and its answer are one message each. A device that merges serial-port packets sends several messages in one
frame (FMB630 and FMx640, "Codec 12/13 packet merge"), each with its own type and size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct

from .errors import Undecodable
from .frame import CODEC_12, CODEC_13, CODEC_14, CODEC_15, encode_frame

TYPE_COMMAND = 0x05
TYPE_ANSWER = 0x06
TYPE_NACK = 0x11

_HEAD = Struct(">BBBI")
_MESSAGE = Struct(">BI")
_BEFORE_FIRST = 2  # codec and quantity 1
_TIMESTAMP_SIZE = 4
_IMEI_SIZE = 8
_QUANTITY = 1
_DIGITS = 15

_WITH_TIMESTAMP = frozenset((CODEC_13, CODEC_15))
_WITH_IMEI = frozenset((CODEC_14, CODEC_15))
_CODECS = _WITH_TIMESTAMP | _WITH_IMEI | {CODEC_12}


@dataclass(slots=True, frozen=True)
class Message:
    """One message of a device.

    ``payload`` is only the text, as raw bytes: it may be binary. ``imei`` is set in codecs 14 and 15,
    ``timestamp`` (seconds since 1970) in codecs 13 and 15. ``quantity`` is the number of messages in its
    frame.
    """

    codec: int
    type: int
    payload: bytes
    imei: str | None = None
    timestamp: int | None = None
    quantity: int = _QUANTITY

    @property
    def serial(self) -> bool:
        """Whether it can be serial-port data: in codecs 12, 13 and 15. Codec 14 carries only answers."""
        return self.codec != CODEC_14

    @property
    def ping(self) -> bool:
        """Whether it is the "empty codec 12" network ping of the FM63 family."""
        alone = self.codec == CODEC_12 and self.quantity == 1
        return alone and self.type == TYPE_ANSWER and not self.payload


def encode_command(codec: int, imei: str, text: bytes) -> bytes:
    """Return the frame of a command ``text`` in codec 12 or 14. Codec 12 has no IMEI.

    Raises ``ValueError`` for another codec, or an IMEI that is not 15 digits in codec 14.
    """
    return _encode(codec, TYPE_COMMAND, imei, text)


def encode_answer(codec: int, imei: str, text: bytes) -> bytes:
    """Return the frame with which a device answers, in codec 12 or 14. Raises as ``encode_command`` does."""
    return _encode(codec, TYPE_ANSWER, imei, text)


def encode_nack(imei: str) -> bytes:
    """Return the codec 14 frame with which a device refuses a command for another IMEI."""
    return _encode(CODEC_14, TYPE_NACK, imei, b"")


def encode_serial(codec: int, texts: Sequence[bytes], timestamp: int) -> bytes:
    """Return the frame in which a device forwards 1 to 255 serial-port packets, merged if there are several.

    ``timestamp``, in seconds since 1970, is used by codec 13 only. Raises ``ValueError`` for another codec.
    """
    if codec not in (CODEC_12, CODEC_13):
        raise ValueError(f"Serial-port data are sent in codec 12 or 13, not {codec}.")
    stamp = timestamp.to_bytes(_TIMESTAMP_SIZE, "big") if codec == CODEC_13 else b""
    messages = [_MESSAGE.pack(TYPE_ANSWER, len(stamp) + len(text)) + stamp + text for text in texts]
    count = bytes((len(texts),))
    return encode_frame(bytes((codec,)) + count + b"".join(messages) + count)


def decode_message(body: bytes) -> Message:
    """Return the only message in ``body``. Raises as ``decode_messages`` does, and if there are several."""
    _check_frame(body)
    if body[1] != _QUANTITY:
        raise Undecodable("quantity", f"A frame that must have one message has {body[1]}.")
    return decode_messages(body)[0]


def decode_messages(body: bytes) -> list[Message]:
    """Return the messages in ``body`` (codec id to second quantity, CRC already checked), in their order.

    The timestamp of codec 13 has 4 bytes, as in today's wiki. Older revisions had 8, and no flag
    distinguishes them. A message may have an empty text. Raises ``Undecodable`` if the codec is not one of
    these, or if sizes, quantities and body do not match.
    """
    codec, quantity = _check_frame(body)
    messages: list[Message] = []
    at, end = _BEFORE_FIRST, len(body) - 1
    for _ in range(quantity):
        if at + _MESSAGE.size > end:
            raise Undecodable("size", f"A frame of {quantity} messages ends after {len(messages)}.")
        kind, size = _MESSAGE.unpack_from(body, at)
        at += _MESSAGE.size
        _check_size(codec, size, end - at, last=len(messages) + 1 == quantity)
        messages.append(_read_message(codec, kind, body[at : at + size], quantity))
        at += size
    return messages


def _read_message(codec: int, kind: int, content: bytes, quantity: int) -> Message:
    at = 0
    timestamp = imei = None
    if codec in _WITH_TIMESTAMP:
        timestamp = int.from_bytes(content[:_TIMESTAMP_SIZE], "big")
        at += _TIMESTAMP_SIZE
    if codec in _WITH_IMEI:
        imei = _unpack_imei(content[at : at + _IMEI_SIZE])
        at += _IMEI_SIZE
    return Message(codec, kind, content[at:], imei, timestamp, quantity)


def _check_frame(body: bytes) -> tuple[int, int]:
    """Return the codec and the quantity of ``body``, if it can be a frame of messages."""
    if body[:1] and body[0] not in _CODECS:
        raise Undecodable("codec", f"Codec {body[0]:#04x} is not one of the message codecs 12 to 15.")
    if len(body) < _HEAD.size + 1:
        raise Undecodable(
            "truncated", f"A message has at least {_HEAD.size + 1} bytes; this one has {len(body)}."
        )
    codec, quantity, kind, _ = _HEAD.unpack_from(body)
    if not quantity:
        raise Undecodable("quantity", "A frame of messages declares 0 messages.")
    # In codec 12 the second quantity is not compared: the wiki only recommends that it equals the first.
    if body[-1] != quantity and (codec, kind) != (CODEC_12, TYPE_ANSWER):
        raise Undecodable("quantity", f"The quantity is {quantity} at the start and {body[-1]} at the end.")
    return codec, quantity


def _check_size(codec: int, declared: int, present: int, *, last: bool) -> None:
    """Compare the size that a message declares with the bytes that its frame has left."""
    if declared > present or (last and declared != present):
        raise Undecodable("size", f"A message declares {declared} bytes; its frame has {present} left.")
    fixed = _TIMESTAMP_SIZE * (codec in _WITH_TIMESTAMP) + _IMEI_SIZE * (codec in _WITH_IMEI)
    if declared < fixed:
        raise Undecodable(
            "size", f"A message of codec {codec} declares {declared} bytes; the least is {fixed}."
        )


def _encode(codec: int, kind: int, imei: str, text: bytes) -> bytes:
    if codec not in (CODEC_12, CODEC_14):
        raise ValueError(f"Commands and answers are sent in codec 12 or 14, not {codec}.")
    payload = _pack_imei(imei) + text if codec == CODEC_14 else text
    return encode_frame(_HEAD.pack(codec, _QUANTITY, kind, len(payload)) + payload + bytes((_QUANTITY,)))


def _pack_imei(imei: str) -> bytes:
    """Return ``imei`` as 8 bytes with two decimal digits each: one leading zero and 15 digits."""
    if len(imei) != _DIGITS or not (imei.isascii() and imei.isdigit()):
        raise ValueError(f"An IMEI has {_DIGITS} digits.")
    return bytes.fromhex("0" + imei)


def _unpack_imei(field: bytes) -> str:
    """Return the IMEI in ``field`` without its one leading zero. The IMEI itself may begin with 0, too."""
    return field.hex().removeprefix("0")

"""A message of a device as the fields of an entry of ``telemetry:messages``."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from .command import Message
from .frame import CODEC_12, CODEC_13, CODEC_14, CODEC_15

CODEC_NAMES = {CODEC_12: "12", CODEC_13: "13", CODEC_14: "14", CODEC_15: "15"}

_encode = msgspec.json.Encoder().encode


def as_text(data: bytes) -> str | None:
    """`data` as text if it is printable ASCII, tabs and line breaks; else None."""
    if all(32 <= byte < 127 or byte in (9, 10, 13) for byte in data):
        return data.decode("ascii")
    return None


def message_fields(message: Message) -> list[str]:
    """Names and values in turn: ``at`` (epoch ms; codecs 13 and 15), ``type`` (two hex digits), and ``text``.

    Data that are not text are in ``hex`` instead.
    """
    text = as_text(message.payload)
    fields = ["type", f"{message.type:02X}"]
    fields += ["hex", message.payload.hex()] if text is None else ["text", text]
    return fields if message.timestamp is None else ["at", str(message.timestamp * 1000), *fields]


def message_bodies(messages: Iterable[Message]) -> list[bytes]:
    """`messages` as bodies of entries, for a batch."""
    return [_encode(message_fields(message)) for message in messages]

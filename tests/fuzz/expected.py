"""What must become of the bytes that a device sends on one connection."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.fuzz import protocol
from tests.fuzz.protocol import Refused

BAD_FRAMES = 8
"""Bad checksums in a row by which a connection ends."""


@dataclass
class Stored:
    """A frame as it is to be stored: its records, or its bytes; and the count it is acknowledged with."""

    kind: str
    codec: str
    count: int
    reason: str = ""
    records: list[dict[str, Any]] = field(default_factory=list)
    body: bytes = b""


@dataclass
class Expected:
    """What the bytes so far amount to; `lost` when the connection has to be closed because of them.

    ``stored`` is acknowledged. ``messages`` are not: of each frame what it carries, all of which is stored
    but answers and pings, or the frame itself when it cannot be read.
    """

    imei: str = ""
    stored: list[Stored] = field(default_factory=list)
    messages: list[Stored | list[protocol.Message]] = field(default_factory=list)
    lost: bool = False
    partial: bool = False


def expect(sent: bytes, *, raw: bool) -> Expected:
    """What follows from all bytes of a connection; `raw`: frames are stored as they come."""
    try:
        imei, _, rest = protocol.read_hello(sent)
    except Refused:
        return Expected(lost=True)
    if imei is None:
        return Expected()
    found, bad = Expected(imei), 0
    frames = protocol.read_frames(rest)
    for item in frames.items:
        bad = bad + 1 if isinstance(item, str) else 0
        if bad == BAD_FRAMES:
            found.lost = True
            return found
        if isinstance(item, bytes):
            _take(found, item, raw)
    found.lost, found.partial = bool(frames.fault), bool(frames.rest)
    return found


def _take(found: Expected, body: bytes, raw: bool) -> None:
    codec, count = body[0], body[1]
    if codec in protocol.MESSAGES:
        try:
            found.messages.append(protocol.read_messages(body))
        except Refused as refused:
            found.messages.append(Stored("undecodable", str(codec), 0, refused.reason, body=body))
        return
    name = protocol.AVL.get(codec, f"{codec:02X}")
    if codec in protocol.AVL and raw:
        found.stored.append(Stored("frame", name, count, body=body))
        return
    try:
        records = [protocol.published(record) for record in protocol.read_avl(body)]
    except Refused as refused:
        found.stored.append(Stored("undecodable", name, count, refused.reason, body=body))
    else:
        found.stored.append(Stored("record", name, count, records=records))

"""What a device and a gateway write to each other, for people who watch one device."""

from __future__ import annotations

from dataclasses import dataclass

RECEIVED, SENT = "in", "out"


@dataclass(slots=True, frozen=True)
class Chunk:
    """The bytes of one read, or of one write.

    Attributes:
        number: counts the chunks of the device, from 1, so that a reader notices one that was left out.
        at: epoch ms by the clock of Redis.
        direction: `RECEIVED` from the device or `SENT` to it.
        masked: the text of a command was replaced.
    """

    imei: str
    session_id: str
    number: int
    at: int
    direction: str
    data: bytes
    masked: bool = False

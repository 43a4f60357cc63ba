"""What travels from a connection to the telemetry streams, as values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

RECORD = "record"
FRAME = "frame"
UNDECODABLE = "undecodable"
MESSAGE = "message"
SERIAL = "serial"
MESSAGES = frozenset((MESSAGE, SERIAL))
"""The kinds of frames whose bodies are messages."""


OVERHEAD = 400
"""Bytes that a waiting frame takes besides its bodies."""
BODY_OVERHEAD = 100
"""Bytes that each of its bodies takes besides its text: as an object, in lists, in the call that carries it.
An entry takes Redis some time however small it is, so this also bounds the time that a full backlog takes."""


@dataclass(slots=True, eq=False)
class PendingFrame:
    """One frame on its way to the store: acknowledged to the device only when it is stored whole.

    Attributes:
        codec: ``8``, ``8E`` or ``16``, of messages ``12`` to ``15``; for a codec that is not known its byte,
            in hex.
        received_at: epoch ms.
        bodies: the records as JSON, the frame's bytes alone, or of each message a JSON array of the names and
            values of its own fields in turn.
        kind: ``record`` or ``message`` (an entry per body), ``frame`` (the validated bytes), ``undecodable``,
            or ``serial``: messages by which a device shows that its serial port speaks.
        done: called once, when every entry of the frame is stored.
        owed: the device waits for an acknowledgement, and keeps the frame until it has come. What is not
            owed the device never sends again.
        cancelled: the connection is closed and the device has kept the frame: it may be dropped.
        size: bytes of all bodies, as the store has counted them.
    """

    imei: bytes
    codec: bytes
    received_at: int
    bodies: list[bytes]
    done: Callable[[], None]
    kind: str = RECORD
    reason: bytes = b""
    owed: bool = True
    cancelled: bool = False
    size: int = 0

    @property
    def weight(self) -> int:
        """Bytes that the frame takes while it waits, however small its bodies are; `size` is counted."""
        return OVERHEAD + BODY_OVERHEAD * len(self.bodies) + self.size

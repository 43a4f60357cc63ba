"""Frames between a connection and the telemetry streams, as values."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

RECORD = "record"
FRAME = "frame"
UNDECODABLE = "undecodable"
MESSAGE = "message"
SERIAL = "serial"
MESSAGES = frozenset((MESSAGE, SERIAL))
"""The kinds of frames whose bodies are messages."""


OVERHEAD = 400
"""Bytes of memory that a waiting frame takes besides its bodies."""
BODY_OVERHEAD = 100
"""Bytes of memory that each body takes besides its content: the object, list items, its part of the call.
Even a small entry takes Redis some time, so this also limits the time to store a full backlog."""


class PendingFrame(Struct, eq=False):
    """One frame that waits to be stored. It is acknowledged to the device after it is stored completely.

    Attributes:
        codec: ``8``, ``8E`` or ``16``; for messages ``12`` to ``15``; for an unknown codec its byte in hex.
        received_at: epoch ms.
        bodies: the records as JSON; or the bytes of the frame; or for each message a JSON array with names
            and values of its fields in turn.
        kind: ``record`` or ``message`` (one entry per body), ``frame`` (the validated bytes),
            ``undecodable``, or ``serial``: messages which show that the device sends serial-port data.
        done: called once, when every entry of the frame is stored.
        owed: the device waits for an acknowledgement and sends the frame again without one. Frames that are
            not owed are never sent again.
        cancelled: the connection is closed and the device still has the frame: it may be dropped.
        size: bytes of all bodies.
        session_id: the connection that it came on.
        weight: bytes of memory that the frame takes while it waits, with the overhead of its bodies.
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
    session_id: bytes = b""
    weight: int = 0

    def weigh(self) -> None:
        """Set `size` and `weight`, when the frame begins to wait."""
        self.size = sum(map(len, self.bodies))
        self.weight = OVERHEAD + BODY_OVERHEAD * len(self.bodies) + self.size

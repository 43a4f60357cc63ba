"""What travels from a connection to the telemetry stream, as values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

RECORD = "record"
FRAME = "frame"
UNDECODABLE = "undecodable"


@dataclass(slots=True, eq=False)
class Batch:
    """One frame on its way to the store: acknowledged to the device only when it is stored whole.

    Attributes:
        codec: ``8``, ``8E`` or ``16``; for an undecodable frame whatever its first byte is, in hex.
        received_at: epoch ms.
        bodies: the records as JSON, or the frame's bytes alone.
        kind: ``record`` (an entry per body), ``frame`` (the validated bytes) or ``undecodable``.
        done: called once, when every entry of the batch is stored.
        cancelled: the device is gone; the batch may be dropped while the store cannot be reached.
    """

    imei: bytes
    codec: bytes
    received_at: int
    bodies: list[bytes]
    done: Callable[[], None]
    kind: str = RECORD
    reason: bytes = b""
    cancelled: bool = False

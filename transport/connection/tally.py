"""What was acknowledged on one session, counted on the read path, and what was told of the session."""

from __future__ import annotations

from dataclasses import dataclass

from fsm.device_status import LastRecord
from fsm.record_data import read_record
from fsm.telemetry import FRAME, RECORD, PendingFrame
from transport.teltonika.avl import decode_avl
from transport.teltonika.errors import Undecodable
from transport.teltonika.record_json import record_data


@dataclass(slots=True, eq=False)
class Tally:
    """The counts of one session, and what was told of it.

    A frame costs two additions and a reference to its last record, which is read only when somebody asks, and
    not kept.

    Attributes:
        connected_at: when the device was identified, epoch ms.
        frames, records: that were acknowledged.
        published: whether an event of the session was published.
        told: `last_read` of the connection when its status was last told.
    """

    connected_at: int = 0
    frames: int = 0
    records: int = 0
    published: bool = False
    told: float = -1.0
    _frame: tuple[str, bytes] | None = None  # kind and last body, until it is read

    def add(self, count: int, frame: PendingFrame) -> None:
        """A frame of `count` records is stored and acknowledged."""
        self.frames += 1
        self.records += count
        self._frame = frame.kind, frame.bodies[-1]

    @property
    def fresh(self) -> bool:
        """Whether a frame was added since the last record was read."""
        return self._frame is not None

    def take_last(self) -> LastRecord | None:
        """The last record of the frame that was added last, if it can be decoded and was not taken."""
        frame, self._frame = self._frame, None
        return None if frame is None else _last_record(*frame)


def _last_record(kind: str, body: bytes) -> LastRecord | None:
    try:
        if kind == RECORD:
            data = read_record(body)
        elif kind == FRAME:
            data = record_data(decode_avl(body)[-1])
        else:
            return None
    except Undecodable:  # frames that are stored as they come are not decoded before
        return None
    return LastRecord(
        timestamp=data.timestamp,
        latitude=data.latitude,
        longitude=data.longitude,
        speed=data.speed,
        satellites=data.satellites,
    )

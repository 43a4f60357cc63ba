"""What is known of a device, for people: where it is connected, when it was last heard, where it was.

No decision reads it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, frozen=True, kw_only=True)
class LastRecord:
    """Of the last record that was stored: epoch ms by the device's clock, degrees, km/h.

    With 0 satellites the position is the last one known. A time above 2^53 - 1 is decimal text.
    """

    timestamp: int | str
    latitude: float
    longitude: float
    speed: int
    satellites: int


@dataclass(slots=True, frozen=True, kw_only=True)
class DeviceStatus:
    """The newest session of a device, as it was last told.

    Attributes:
        instance_id: the gateway of the session.
        state: of the session; ``closed`` after its end, for `reason`.
        peer: the device's address.
        auth: how it has proved who it is, as in `fsm.events.Origin`.
        connected_at, disconnected_at, last_seen_at: epoch ms by the clock of Redis. A session whose gateway
            died has no end here.
        frames, records: that were acknowledged on this session.
        serial: whether the device is known to send data of a serial port.
        last: of this session or an earlier one; None for a device that has never reported.
    """

    instance_id: str
    session_id: str
    state: str
    peer: str = ""
    auth: str = ""
    connected_at: int = 0
    disconnected_at: int | None = None
    reason: str = ""
    last_seen_at: int = 0
    frames: int = 0
    records: int = 0
    serial: bool = False
    last: LastRecord | None = None

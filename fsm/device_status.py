"""What is known of a device, for people: where it is connected, when it was last heard, where it was.

Gateways read it only at their start, to know which devices have reported for some time.
"""

from __future__ import annotations

from dataclasses import dataclass

from fsm.takeover import Claimant, Hold


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
class HoldStatus:
    """Why a connected device gets no commands: it has changed hands, see `fsm.takeover`.

    Attributes:
        disputed: it has changed hands again within the hold: its commands end.
        since, until: epoch ms; `since` is the first change that is remembered.
        changes: how often it has changed hands.
        before, before_auth: address and authentication of the peer that had the device before.
        before_instance: the gateway of that peer, if it was connected until then.
    """

    disputed: bool
    since: int
    until: int
    changes: int
    before: str
    before_auth: str
    before_instance: str = ""

    @classmethod
    def of(cls, hold: Hold, before: Claimant, instance_id: str) -> HoldStatus:
        """A hold as people are told of it; `before` had the device before, at `instance_id`."""
        return cls(
            disputed=hold.disputed,
            since=hold.since,
            until=hold.until,
            changes=hold.changes,
            before=before.host,
            before_auth=before.auth,
            before_instance=instance_id,
        )


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
        first_reported_at: epoch ms, kept by Redis from one session to the next; None for a device that has
            never reported.
        serial: whether the device is known to send data of a serial port.
        hold: while commands are held back after a take-over.
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
    first_reported_at: int | None = None
    serial: bool = False
    hold: HoldStatus | None = None
    last: LastRecord | None = None

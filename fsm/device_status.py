"""What is known of a device, for people: where it is connected, when it was last heard, where it was.

Gateways read it only at their start, to know which devices have reported for some time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fsm.quick_values import quick
from fsm.session import CLOSED
from fsm.takeover import Claimant, Hold

Span = tuple[int, int]
"""A time from one moment to another, both included, epoch ms."""
FOREVER = 1 << 60
"""Milliseconds, more than any."""

SLACK = 5_000
"""Milliseconds by which the clock of a gateway may differ from that of Redis."""
UNTOLD = 7_200_000
"""Milliseconds within which a connected device that has reported is told of: the longest heartbeat interval,
twice."""
UNTOLD_AT_END = 60_000
"""Milliseconds within which what a device has reported is stored, after the end of its session was told."""


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


@quick
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
        last: of this session or an earlier one; None for a device that has never reported. A gateway tells it
            once, Redis keeps it.
        told_at: epoch ms: when this was told.
        reported: epoch seconds, in pairs, the oldest first: between the two of each pair records were stored,
            and since the first pair at no other time. Kept by Redis from one session to the next.
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
    told_at: int = 0
    reported: tuple[int, ...] = ()

    def may_have_records(self, since: int, session_id: str = "") -> list[Span]:
        """The times from `since` (epoch ms) on at which records may have been stored, the newest first.

        They are apart from each other. What is not known counts as time with records.

        Args:
            session_id: of the session on which the device is connected by the registry, if it is.
        """
        if not self.told_at:
            return [(since, FOREVER)]
        spans = [
            (start * 1000 - SLACK, end * 1000 + SLACK)
            for start, end in zip(self.reported[::2], self.reported[1::2], strict=False)
        ]
        first = self.reported[0] * 1000 if self.reported else self.told_at
        if self.first_reported_at is not None and self.first_reported_at < first - SLACK:
            spans.append((since, first))
        spans.append((self.told_at - SLACK, self.told_at + self._untold(session_id)))
        return _joined((max(start, since), end) for start, end in spans)[::-1]

    def _untold(self, session_id: str) -> int:
        """For how many ms nobody may have told what the device has reported."""
        if session_id and session_id != self.session_id:
            return FOREVER
        return UNTOLD_AT_END if self.state == CLOSED else UNTOLD


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Spans in their order, without empty ones, those that touch each other as one."""
    joined: list[Span] = []
    for start, end in sorted((start, end) for start, end in spans if start <= end):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((start, end))
    return joined

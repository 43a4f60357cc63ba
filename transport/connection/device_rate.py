"""How much a second a device may send: beyond that it is read later, and nothing of it is dropped.

It is counted in bytes, and each entry that follows from them, a record or a message, counts `ENTRY` bytes
more: that is about what it takes in Redis beside its own. Otherwise the smallest records of one device would
fill a stream that is capped by entries.

The rule is the generic cell rate algorithm (ITU-T I.371): each byte moves the time at which all that the
device has sent is paid for. That time may be `AHEAD` seconds ahead of now. Beyond that the connection is
not read until it is not ahead any more; meanwhile TCP makes the device wait. So a device may send what it
has saved up in a day without coverage, and one that sends without end gets its rate and no more.

The time of a device outlives its connection, or whoever connects again would begin anew.
"""

from __future__ import annotations

from collections import OrderedDict

import structlog

from fsm.deadlines import Deadlines
from transport.connection.ports import Readable, SessionConnection
from transport.log_throttle import CountingThrottle
from transport.metrics import Metrics

log = structlog.get_logger("telgw.sessions")

AHEAD = 60.0
ENTRY = 200
REMEMBERED = 100_000
"""Devices that have left and had sent much; they are forgotten when it is paid for."""


class DeviceRate:
    """Who sends too fast.

    Args:
        rate: bytes a second; 0 for no limit.

    Attributes:
        interval: seconds that pay for a byte.
    """

    def __init__(self, rate: int, metrics: Metrics) -> None:
        self.interval = 1 / rate if rate else 0.0
        self._rate = rate
        self._metrics = metrics
        self._slowed: Deadlines[Readable] = Deadlines()
        self._left: OrderedDict[str, float] = OrderedDict()  # imei -> when all that it sent is paid for
        self._told: CountingThrottle[str] = CountingThrottle()

    def holds(self, connection: Readable) -> bool:
        """Whether the connection is not to be read for now."""
        return connection in self._slowed

    def slow(self, connection: Readable) -> None:
        """The connection is too far ahead: it is not read for a while."""
        connection.pause()
        self._slowed.set(connection, connection.place.paid_at - AHEAD)
        self._metrics.devices_slowed.inc()
        if self._told.add(connection.imei, connection.last_read):
            self._log(connection.imei, 1)

    def due(self, now: float) -> list[Readable]:
        """The connections that may be read again at `now`, monotonic seconds."""
        for imei, count in self._told.due(now):
            self._log(imei, count)
        return self._slowed.due(now)

    def begin(self, connection: SessionConnection) -> None:
        """A device has connected: what it sent before counts."""
        connection.place.paid_at = self._left.pop(connection.imei, 0.0)

    def end(self, connection: SessionConnection, now: float) -> None:
        """A device has left."""
        self._slowed.cancel(connection)
        while self._left and (len(self._left) >= REMEMBERED or next(iter(self._left.values())) <= now):
            self._left.popitem(last=False)
        if connection.place.paid_at > now:
            self._left[connection.imei] = connection.place.paid_at

    def _log(self, imei: str, count: int) -> None:
        log.warning(
            "over_rate",
            imei=imei,
            allowed=self._rate,
            count=count,
            advice="raise --device-rate if the device is yours and needs more",
        )

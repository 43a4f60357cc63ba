"""Log lines that peers can cause. They are throttled, because any peer may connect."""

from __future__ import annotations

import structlog

from fsm.telemetry import PendingFrame
from transport.connection.ports import SessionConnection
from transport.log_throttle import LogThrottle
from transport.metrics import Metrics
from transport.teltonika.errors import FramingLost

log = structlog.get_logger("telgw.sessions")

UNPROVED = "certificate_missing"
"""The reason of a refusal: the device had a certificate before, and shows none."""


class PeerLog:
    """Counts each event, and logs it once a minute for each device, or for each address and reason."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._refusals = LogThrottle()
        self._too_long = LogThrottle()
        self._plain_refused = LogThrottle()
        self._unproved = LogThrottle()

    def handshake_refused(self, connection: SessionConnection, reason: str, now: float) -> None:
        """The handshake of a peer failed."""
        if self._refusals.allow((connection.host, reason), now):
            log.info("handshake_refused", peer=connection.peer, reason=reason)

    def framing_lost(self, connection: SessionConnection, fault: FramingLost, limit: int, now: float) -> None:
        """A device sent bytes that are not a frame, or a frame of more bytes than `limit`."""
        reason = fault.reason
        if fault.length:
            self._frame_too_long(connection, fault.length, limit, now)
        elif self._refusals.allow((connection.host, "framing", reason), now):
            log.info("framing_lost", imei=connection.imei, peer=connection.peer, reason=reason)

    def _frame_too_long(self, connection: SessionConnection, length: int, limit: int, now: float) -> None:
        """The device will repeat the frame without end."""
        self._metrics.frames_too_long.inc()
        if self._too_long.allow(connection.imei, now):
            log.warning(
                "frame_too_long",
                imei=connection.imei,
                peer=connection.peer,
                length=length,
                limit=limit,
                advice="raise --max-frame if the device sends such frames of records",
            )

    def plain_refused(self, imei: str, peer: str, holder: str, now: float) -> None:
        """A connection without TLS named a device that is connected with TLS: one of them is not the device.

        `holder` is the address of the session with TLS, or the instance that has it.
        """
        self._metrics.plain_refused.inc()
        if self._plain_refused.allow(imei, now):
            log.warning(
                "plain_refused",
                imei=imei,
                peer=peer,
                held_by=holder,
                meaning="the device is connected with TLS, so a connection without TLS is refused",
            )

    def certificate_missing(self, connection: SessionConnection, now: float) -> None:
        """A connection without a certificate named a device that had one before."""
        imei, peer = connection.imei, connection.peer
        self._metrics.refused.labels(UNPROVED).inc()
        if self._unproved.allow(imei, now):
            log.warning("device_refused", imei=imei, peer=peer, reason=UNPROVED)

    def messages_refused(self, frame: PendingFrame, now: float) -> None:
        """Redis refuses messages for good. No device sends them again, so they are lost."""
        self._metrics.messages_lost.inc(len(frame.bodies))
        if self._refusals.allow(("lost", frame.kind), now):
            log.error("messages_refused", imei=frame.imei.decode("ascii"), kind=frame.kind)

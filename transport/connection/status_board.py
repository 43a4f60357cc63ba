"""What people want to know of each device, counted while it is connected and told when it changes.

A frame costs two counters and a reference (`Tally`). A status is made of them when a session begins, changes
or ends, and with each heartbeat for the devices that were heard since (`StatusBoard`).
"""

from __future__ import annotations

from collections.abc import Iterable

from fsm.device_status import DeviceStatus
from fsm.session import CLOSED
from transport.clock import Clock
from transport.connection.ports import SessionConnection
from transport.ports import DeviceStatusPort


class StatusBoard:
    """Tells the status of devices.

    Args:
        instance_id: of this gateway.
        port: takes them; nothing waits for it.
    """

    def __init__(self, instance_id: str, clock: Clock, port: DeviceStatusPort) -> None:
        self._instance_id = instance_id
        self._clock = clock
        self._port = port

    def connected(self, connection: SessionConnection) -> None:
        """A device was identified on `connection`."""
        connection.tally.connected_at = self._clock.now_ms()
        self.changed(connection)

    def changed(self, connection: SessionConnection) -> None:
        """The session of the device has another state."""
        self._tell(connection, connection.state)

    def left(self, connection: SessionConnection, reason: str) -> None:
        """The session of the device is over, and it has no other one here."""
        self._tell(connection, CLOSED, reason)

    def refresh(self, connections: Iterable[SessionConnection]) -> None:
        """Tell the status of those that were heard, or acknowledged something, since it was told last."""
        for connection in connections:
            if connection.last_read > connection.tally.told or connection.tally.fresh:
                self.changed(connection)

    def _tell(self, connection: SessionConnection, state: str, reason: str = "") -> None:
        tally, now_ms = connection.tally, self._clock.now_ms()
        tally.told = connection.last_read
        ago = max(0.0, self._clock.monotonic() - connection.last_read)
        status = DeviceStatus(
            instance_id=self._instance_id,
            session_id=connection.session_id,
            state=state,
            peer=connection.peer,
            auth=connection.auth,
            connected_at=tally.connected_at,
            disconnected_at=now_ms if state == CLOSED else None,
            reason=reason,
            last_seen_at=now_ms - round(ago * 1000),
            frames=tally.frames,
            records=tally.records,
            serial=connection.speaks,
            hold=connection.hold if state != CLOSED else None,
            last=tally.take_last(),
            told_at=now_ms,
        )
        self._port.put(connection.imei, status)

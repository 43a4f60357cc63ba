"""What is read from and written to the devices that somebody watches.

`Tap` is a dictionary of these devices, so that a connection finds out in one look-up that nobody watches it.
The text of a command may hold a password: it is replaced before anything leaves this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from fsm.trace import RECEIVED, SENT, Chunk
from transport.clock import Clock
from transport.ports import TracePort
from transport.teltonika.command import TYPE_COMMAND
from transport.teltonika.frame import CODEC_12, CODEC_14

_CODEC_AT, _TYPE_AT, _TEXT_AT = 8, 10, {CODEC_12: 15, CODEC_14: 23}
_TAIL = 5
"""Bytes after the text of a command: the second quantity and the checksum."""
_CHECKSUM = 4
MASK = b"*"


class Watched(Protocol):
    """A connection as its tap sees it."""

    imei: str
    session_id: str


class Tap(dict[str, int]):
    """The watched devices, and how many chunks of each were published."""

    def __init__(self, clock: Clock, port: TracePort) -> None:
        super().__init__()
        self._clock = clock
        self._port = port

    def watch(self, imeis: Iterable[str]) -> None:
        """Watch these devices, and no others."""
        numbers = {imei: self.get(imei, 0) for imei in imeis}
        self.clear()
        self.update(numbers)

    def received(self, connection: Watched, data: bytes) -> None:
        """The watched device has sent `data`."""
        self._publish(connection, RECEIVED, data, masked=False)

    def sent(self, connection: Watched, data: bytes) -> None:
        """`data` was written to the watched device."""
        masked = mask(data)
        self._publish(connection, SENT, masked, masked=masked is not data)

    def _publish(self, connection: Watched, direction: str, data: bytes, *, masked: bool) -> None:
        self[connection.imei] = number = self[connection.imei] + 1
        at = self._clock.now_ms()
        chunk = Chunk(connection.imei, connection.session_id, number, at, direction, data, masked)
        self._port.put(chunk)


def mask(data: bytes) -> bytes:
    """The frame of a command with its text and its checksum replaced; anything else as it is.

    With the checksum a short text could be found by trying.
    """
    begin = _TEXT_AT.get(data[_CODEC_AT]) if len(data) > _TYPE_AT else None
    if begin is None or data[_TYPE_AT] != TYPE_COMMAND:
        return data
    return data[:begin] + MASK * (len(data) - begin - _TAIL) + data[-_TAIL:-_CHECKSUM] + bytes(_CHECKSUM)

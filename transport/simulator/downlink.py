"""Reads what a gateway sends after the handshake: acknowledgements and commands in one byte stream.

An acknowledgement is a count of 4 bytes and never zero. A command is a frame, which begins with 4 zeros.
"""

from __future__ import annotations

from transport.teltonika.command import Message, decode_message
from transport.teltonika.frame import PREAMBLE, BadFrame, FrameReader, wire_size


class DownlinkFault(Exception):
    """A gateway sent bytes that a device cannot read."""


class Downlink:
    """Cuts the byte stream, in chunks of any size, into acknowledged counts and commands."""

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, data: bytes) -> list[int | tuple[Message, bytes]]:
        """The counts and the commands (each with its frame) that `data` completes, in order.

        Raises:
            DownlinkFault, WireFault: a frame is damaged, or the bytes are not a frame.
        """
        self._tail += data
        items: list[int | tuple[Message, bytes]] = []
        while (size := self._size()) and size <= len(self._tail):
            whole, self._tail = self._tail[:size], self._tail[size:]
            items.append(int.from_bytes(whole, "big") if size == 4 else (_message(whole), whole))
        return items

    def _size(self) -> int:
        """Bytes of the next item; 0 if not known yet."""
        if len(self._tail) < 4:
            return 0
        return wire_size(self._tail, 0) if self._tail.startswith(PREAMBLE) else 4


def _message(frame: bytes) -> Message:
    for body in FrameReader().feed(frame):
        if isinstance(body, BadFrame):
            raise DownlinkFault(f"The checksum of a command is wrong ({body.reason}).")
        return decode_message(body)
    raise DownlinkFault("A command is not a frame.")

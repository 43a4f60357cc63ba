"""What a gateway sends to a device after the handshake: acknowledgements and commands in one byte stream.

An acknowledgement is a count of 4 bytes, never zero; a command is a frame, and a frame begins with 4 zeros.
"""

from __future__ import annotations

from transport.teltonika.command import Message, decode_message
from transport.teltonika.frame import PREAMBLE, BadFrame, FrameReader, wire_size


class DownlinkFault(Exception):
    """A gateway sent what no device can read."""


class Downlink:
    """Cuts what a socket delivers, however split or glued, into acknowledged counts and commands."""

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, data: bytes) -> list[int | tuple[Message, bytes]]:
        """In order, the counts and the commands (each with its bytes on the wire) that `data` completes.

        Raises:
            DownlinkFault, WireFault: a frame that is damaged, or no frame at all.
        """
        self._tail += data
        items: list[int | tuple[Message, bytes]] = []
        while (size := self._size()) and size <= len(self._tail):
            whole, self._tail = self._tail[:size], self._tail[size:]
            items.append(int.from_bytes(whole, "big") if size == 4 else (_message(whole), whole))
        return items

    def _size(self) -> int:
        """Bytes of the next item; 0 while that is not known."""
        if len(self._tail) < 4:
            return 0
        return wire_size(self._tail, 0) if self._tail.startswith(PREAMBLE) else 4


def _message(frame: bytes) -> Message:
    for body in FrameReader().feed(frame):
        if isinstance(body, BadFrame):
            raise DownlinkFault(f"A command's checksum is wrong ({body.reason}).")
        return decode_message(body)
    raise DownlinkFault("A command is no frame.")

"""The first message of a connection: the IMEI of the device.

    000F | 15 ASCII digits        answered by one byte, 01 accept or 00 refuse

The last digit of an IMEI is a Luhn check digit. It is not checked, because documented examples and real
devices violate it.
"""

from __future__ import annotations

from .errors import BadHandshake

ACCEPT = b"\x01"
REJECT = b"\x00"
IMEI_LENGTH = 15
HANDSHAKE_SIZE = 2 + IMEI_LENGTH
PING_LIMIT = 64
"""Network pings (0xFF) that are allowed before a handshake. Some real devices send one."""


def encode_handshake(imei: str) -> bytes:
    """Return the handshake of ``imei``, which is not checked: simulators send wrong ones, too."""
    text = imei.encode("ascii")
    return len(text).to_bytes(2, "big") + text


class HandshakeReader:
    """Reads one handshake from chunks of any size.

    ``pings`` counts the 0xFF bytes before it; ``rest`` holds the bytes after it, once it is complete. A
    reader is used once: do not feed it again after it returned an IMEI or raised.
    """

    __slots__ = ("_head", "pings", "rest")

    def __init__(self) -> None:
        self.pings = 0
        self.rest = b""
        self._head = b""

    @property
    def complete(self) -> bool:
        """Whether the handshake has been read."""
        return len(self._head) == HANDSHAKE_SIZE

    def feed(self, data: bytes) -> str | None:
        """Return the IMEI, 15 digits, once it is complete; ``None`` if more bytes are needed.

        Raises ``BadHandshake`` at the first byte that cannot be part of a handshake.
        """
        if not self._head:
            data = self._without_pings(data)
        wanted = HANDSHAKE_SIZE - len(self._head)
        self._head += data[:wanted]
        _check(self._head)
        if len(self._head) < HANDSHAKE_SIZE:
            return None
        self.rest = data[wanted:]
        return self._head[2:].decode("ascii")

    def _without_pings(self, data: bytes) -> bytes:
        stripped = data.lstrip(b"\xff")
        self.pings += len(data) - len(stripped)
        if self.pings > PING_LIMIT:
            raise BadHandshake(
                "pings", f"{self.pings} pings came before the handshake; the limit is {PING_LIMIT}."
            )
        return stripped


def _check(head: bytes) -> None:
    """Raise ``BadHandshake`` if ``head`` cannot be the beginning of a handshake."""
    if head and head[0] != 0:
        raise _stranger(head[0])
    if len(head) > 1 and head[1] == 0:
        raise BadHandshake("frame", "A frame (or an IMEI of length 0) came before the handshake.")
    if len(head) > 1 and head[1] != IMEI_LENGTH:
        raise BadHandshake(
            "imei_length", f"The handshake declares an IMEI of {head[1]} characters instead of {IMEI_LENGTH}."
        )
    if head[2:] and not head[2:].isdigit():
        at = next(index for index, byte in enumerate(head[2:]) if not 0x30 <= byte <= 0x39)
        raise BadHandshake(
            "imei_digits", f"Character {at} of the IMEI is the byte {head[2 + at]:#04x}, not a digit."
        )


def _stranger(first: int) -> BadHandshake:
    if first == 0x16:
        return BadHandshake(
            "tls", "A TLS record (0x16) came instead of a handshake: this port speaks plain TCP."
        )
    return BadHandshake("garbage", f"The first byte is {first:#04x}; a handshake begins with 0.")

"""Errors in what a device sends."""

from __future__ import annotations

from fsm.errors import DeviceFault

UNDECODABLE_REASONS = ("codec", "truncated", "count", "io_total", "trailing", "quantity", "size")
"""Why the content of a frame cannot be read; each is published on ``telemetry:undecodable``."""


class WireFault(DeviceFault):
    """The bytes violate the protocol.

    ``reason`` is a short stable word for a metric label; ``detail`` is a sentence, which ``str`` returns.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class FramingLost(WireFault):
    """The start of the next frame is not known any more: the connection has to be closed.

    Reasons: ``preamble``, ``handshake``, ``tls``, ``length``, ``checksum``. ``length`` is the declared size,
    in bytes, of a body that is too long; for any other error it is 0.
    """

    def __init__(self, reason: str, detail: str, length: int = 0) -> None:
        super().__init__(reason, detail)
        self.length = length


class BadHandshake(WireFault):
    """A connection did not begin with an IMEI.

    Reasons: ``garbage``, ``tls``, ``frame``, ``imei_length``, ``imei_digits``, ``pings``.
    """


class Undecodable(WireFault):
    """The checksum of a frame is right, but its content is not. The next frame can still be found.

    ``reason`` is one of `UNDECODABLE_REASONS`.
    """

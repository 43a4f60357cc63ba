"""What a device can send that this package refuses."""

from __future__ import annotations

from fsm.errors import DeviceFault


class WireFault(DeviceFault):
    """Bytes that are not what the protocol allows.

    ``reason`` is a short stable slug, fit for a metric label; ``detail`` is the sentence that ``str`` gives.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class FramingLost(WireFault):
    """Nobody knows any more where the next frame begins: the connection has to be closed.

    Reasons: ``preamble``, ``handshake``, ``tls``, ``length``. ``length`` is the size in bytes of a body that
    is too long, as the frame declares it; of any other fault it is 0.
    """

    def __init__(self, reason: str, detail: str, length: int = 0) -> None:
        super().__init__(reason, detail)
        self.length = length


class BadHandshake(WireFault):
    """A connection did not begin with an IMEI.

    Reasons: ``garbage``, ``tls``, ``frame``, ``imei_length``, ``imei_digits``, ``pings``.
    """


class Undecodable(WireFault):
    """A frame whose checksum is right has a content that is not. The stream is still in step.

    Reasons: ``codec``, ``truncated``, ``count``, ``io_total``, ``trailing``, ``quantity``, ``size``.
    """

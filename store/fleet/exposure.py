"""What a gateway says of its own exposure: `telgw check` may run on another host and sees neither its options
nor its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LATEST_MS = 253_402_300_799_000  # the end of the year 9999
"""No moment in Redis is taken for a later one: any client may have written it."""


@dataclass(slots=True, frozen=True)
class Exposure:
    """What of a gateway is open to others, and until when its certificates are valid.

    Attributes:
        open_to_all: listeners at which any peer may connect and say any IMEI, separated by commas.
        exposed_key: the file of a key that other users of the host may read; empty if they may not.
        certificate_until_ms: when the certificate of the gateway expires, epoch ms; 0 without one.
        authority_until_ms: when the CA of devices expires, epoch ms; 0 without one.
    """

    open_to_all: str = ""
    exposed_key: str = ""
    certificate_until_ms: int = 0
    authority_until_ms: int = 0

    def fields(self) -> list[str]:
        """Names and values for the hash of the holder in Redis."""
        return [
            *("open_to_all", self.open_to_all, "exposed_key", self.exposed_key),
            *("certificate_until", str(self.certificate_until_ms)),
            *("authority_until", str(self.authority_until_ms)),
        ]

    @classmethod
    def read(cls, text: Mapping[str, str]) -> Exposure:
        """What such a hash says; what is missing or no number is 0."""
        return cls(
            text.get("open_to_all", ""),
            text.get("exposed_key", ""),
            _moment(text.get("certificate_until", "")),
            _moment(text.get("authority_until", "")),
        )


UNEXPOSED = Exposure()


def _moment(text: str) -> int:
    return min(int(text), LATEST_MS) if text.isascii() and text.isdigit() and len(text) < 20 else 0

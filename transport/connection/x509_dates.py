"""The validity periods of certificates and revocation lists, read from their DER (RFC 5280, 4.1 and 5.1).

The standard library gives the dates of a certificate only after a handshake, and those of a revocation list
never. But a file of the operator has to be checked before it replaces one that works. Only dates are read
here; OpenSSL has checked the rest.

    certificate  SEQUENCE { SEQUENCE { ... SEQUENCE { Time, Time } ... } ... }    notBefore, notAfter
    list         SEQUENCE { SEQUENCE { ... Time, Time OPTIONAL ... } ... }        thisUpdate, nextUpdate
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

CERTIFICATE = "(?:TRUSTED |X509 )?CERTIFICATE"
REVOCATION_LIST = "X509 CRL"

_SEQUENCE = 0x30
_FORMATS = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}
"""UTCTime and GeneralizedTime."""


class Validity(NamedTuple):
    """The first and the last moment. The last is None if a list does not say when the next one comes."""

    since: datetime
    until: datetime | None

    def fault(self, now: datetime) -> str:
        """What is wrong with it at `now`, as the end of a sentence; empty if it is valid."""
        if now < self.since:
            return f"is not valid before {self.since:%Y-%m-%d %H:%M} UTC"
        if self.until is not None and now > self.until:
            return f"expired at {self.until:%Y-%m-%d %H:%M} UTC"
        return ""


def validities(pem: bytes, kind: str) -> list[Validity]:
    """The validity of each `kind` (``CERTIFICATE`` or ``REVOCATION_LIST``) in a PEM file, in order.

    Raises:
        ValueError: there is none, or one cannot be read.
    """
    found = blocks(pem, kind)
    if not found:
        raise ValueError("The file holds none.")
    try:
        return [_validity(der) for der in found]
    except (IndexError, StopIteration) as error:
        raise ValueError("The dates cannot be read.") from error


def blocks(pem: bytes, kind: str) -> list[bytes]:
    """The DER of each `kind` (``CERTIFICATE`` or ``REVOCATION_LIST``) in a PEM file, in order.

    Raises:
        ValueError: one cannot be read.
    """
    found = re.findall(rf"-----BEGIN {kind}-----(.*?)-----END {kind}-----".encode(), pem, re.DOTALL)
    return [binascii.a2b_base64(block) for block in found]  # its error is a ValueError


def _validity(der: bytes) -> Validity:
    _, whole = next(_elements(der))
    _, signed_part = next(_elements(whole))
    dates: list[datetime] = []
    for tag, content in _elements(signed_part):
        if tag in _FORMATS:
            dates.append(_moment(tag, content))
        elif tag == _SEQUENCE and content[:1] and content[0] in _FORMATS:
            dates += [_moment(*element) for element in _elements(content)]
    return Validity(dates[0], dates[1] if len(dates) > 1 else None)


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The tag and content of each element in `data`."""
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[at : at + size], "big")
            at += size
        yield tag, data[at : at + length]
        at += length


def _moment(tag: int, content: bytes) -> datetime:
    moment = datetime.strptime(content.decode("ascii"), _FORMATS[tag]).replace(tzinfo=UTC)
    # RFC 5280, 4.1.2.5.1: a year of two digits is in 1950 to 2049; Python reads it as 1969 to 2068.
    return moment.replace(year=moment.year - 100) if tag == 0x17 and moment.year >= 2050 else moment

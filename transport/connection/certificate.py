"""Whether the certificate of a device names its IMEI.

In the mode ``cn`` the common name of the subject is the IMEI. In the mode ``san`` a subject alternative name
is the IMEI: a dNSName of its 15 digits, or the URI ``urn:imei:`` and the digits. A certificate may have
several alternative names; it then names several devices.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Certificate = Mapping[str, Any]
"""As `ssl.SSLSocket.getpeercert` returns it."""

OFF: Final = "off"
CN: Final = "cn"
SAN: Final = "san"
MODES = (SAN, CN, OFF)


def names(certificate: Certificate, imei: str, mode: str) -> bool:
    """Whether the certificate names the device; always with the mode ``off``."""
    if mode == CN:
        subject = certificate.get("subject", ())
        return any(item == ("commonName", imei) for part in subject for item in part)
    alternatives = certificate.get("subjectAltName", ())
    return mode == OFF or any(name in (("DNS", imei), ("URI", f"urn:imei:{imei}")) for name in alternatives)

"""How a device has proved who it is: not at all, with TLS only, or with a certificate."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

from fsm.takeover import CERTIFICATE

PLAIN: Final = "plain"
TLS: Final = "tls"


def authentication(transport: asyncio.Transport) -> str:
    """``plain``, ``tls``, or ``cert:`` and the SHA-256 of the device's certificate in DER, in hex.

    A listener asks for a certificate only if it verifies it, so there is none that is not trusted.
    """
    ssl_object = transport.get_extra_info("ssl_object")
    if ssl_object is None:
        return PLAIN
    der = ssl_object.getpeercert(binary_form=True)
    return auth_of(der) if der else TLS


def auth_of(der: bytes) -> str:
    """``cert:`` and the SHA-256 of a certificate in DER, in hex."""
    return f"{CERTIFICATE}{hashlib.sha256(der).hexdigest()}"

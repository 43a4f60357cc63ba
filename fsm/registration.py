"""Results of the registration of a device for a session, and of its end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

SECURE = "-tls"
"""The end of the ids of sessions with TLS. The id is also the token of the holder in Redis, so a reader of
the
token knows whether the holder has TLS."""


def is_secure(session_id: str) -> bool:
    """Whether a session has TLS."""
    return session_id.endswith(SECURE)


class Registered(StrEnum):
    """The result of a registration; the last two, of its end.

    ``INSECURE``: a live session with TLS on another instance holds the device, and this session has no TLS.
    """

    REGISTERED = "REGISTERED"
    SUPERSEDED = "SUPERSEDED"
    FAILED = "FAILED"
    FENCED = "FENCED"
    INSECURE = "INSECURE"
    REMOVED = "REMOVED"
    KEPT = "KEPT"


@dataclass(slots=True, frozen=True)
class RegisterResult:
    """The result of a registration, with what the script found.

    ``holder`` is the instance that held the device before, or that holds it instead of this one; or empty.
    ``speaks``: whether the device is known to send serial-port data.
    """

    status: Registered
    holder: str = ""
    speaks: bool = False

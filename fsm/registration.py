"""What the registry answers when a session asks to be the holder of its device, or to be it no longer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

SECURE = "-tls"
"""How the ids of sessions with TLS end. The id is the token of the holder beside the registry: who reads it
knows whether the holder has TLS."""


def is_secure(session_id: str) -> bool:
    """Whether a session speaks TLS."""
    return session_id.endswith(SECURE)


class Registered(StrEnum):
    """What became of a registration; the last two, of its end.

    ``INSECURE``: a live session with TLS on another instance holds the device, and this one has none.
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
    """The registry's answer.

    ``holder`` is the instance that held the device before, or that holds it instead of us; or empty.
    ``speaks``: the device is known to speak by itself.
    """

    status: Registered
    holder: str = ""
    speaks: bool = False

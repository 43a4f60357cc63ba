"""Results of the registration of a device for a session, and of its end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fsm.takeover import Claim, Claimant

SECURE = "-tls"
"""The end of the ids of sessions with TLS. The id is also the token of the holder in Redis, so a reader of
the token knows whether the holder has TLS."""


def is_secure(session_id: str) -> bool:
    """Whether a session has TLS."""
    return session_id.endswith(SECURE)


def value_of(session_id: str, claimant: Claimant) -> str:
    """What the registry keeps of the session that holds a device: its token, address and authentication.

    A value of a session with TLS ends as its token does: gateways of earlier versions look there.
    """
    return f"{session_id} {claimant}{f' {SECURE}' if is_secure(session_id) else ''}"


def token_of(value: str) -> str:
    """The token in such a value; gateways of earlier versions write nothing else."""
    return value.partition(" ")[0]


class Registered(StrEnum):
    """The result of a registration; ``REMOVED`` and ``KEPT``: of its end.

    ``INSECURE``: a live session with TLS on another instance holds the device, and this session has no TLS.
    ``UNPROVED``: the device was seen with a certificate before, and this session has none.
    """

    REGISTERED = "REGISTERED"
    SUPERSEDED = "SUPERSEDED"
    FAILED = "FAILED"
    FENCED = "FENCED"
    INSECURE = "INSECURE"
    UNPROVED = "UNPROVED"
    REMOVED = "REMOVED"
    KEPT = "KEPT"
    SETTLED = "SETTLED"


@dataclass(slots=True, frozen=True)
class RegisterResult:
    """The result of a registration, with what the script found.

    Attributes:
        holder: the instance that held the device before, or that holds it instead of this one; or empty.
        speaks: whether the device is known to send serial-port data.
        former: the peer of the session that held the device until now, if that session was open; or that
            holds it instead.
        claims: the peers that have said to be the device, the newest first, if it has changed hands lately.
        parked: whether commands are parked for the device.
    """

    status: Registered
    holder: str = ""
    speaks: bool = False
    former: Claimant | None = None
    claims: tuple[Claim, ...] = ()
    parked: bool = False

"""What the registry answers when a session asks to be the holder of its device, or to be it no longer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Registered(StrEnum):
    """What became of a registration; the last two, of its end."""

    REGISTERED = "REGISTERED"
    SUPERSEDED = "SUPERSEDED"
    FAILED = "FAILED"
    FENCED = "FENCED"
    REMOVED = "REMOVED"
    KEPT = "KEPT"


@dataclass(slots=True, frozen=True)
class RegisterResult:
    """``holder`` is the instance that held the device before, or that holds it instead of us; or empty."""

    status: Registered
    holder: str = ""

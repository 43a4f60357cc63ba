"""Take-overs: a device connects while another session of it is registered. Is it the same device?

An IMEI proves nothing: whoever sends it is the device. So the newest connection gets the records
acknowledged, and what must not go to the wrong peer, the commands, is held back while it is doubtful who the
device is.

A *claim* is one peer that says to be the device: its address, and how it has proved who it is. A claim with
the same certificate as the one before, or from the same address with no weaker authentication, is of the same
device. A take-over by the same device begins no hold, and neither does one whose older session is known to be
dead: its gateway has ended, or its TCP does not answer. After any other one no command is written for the
time of the hold, which runs from the take-over. If the device changes hands again within the hold, two peers
claim it by turns: it is disputed, and commands end as `identity_disputed` until the hold of the last change
is over. Each further change doubles the hold, up to `LONGEST` times the first; after `MEMORY` times without a
change all is forgotten.

The claims of a device are kept in Redis for that time (`store/scripts/registry.lua`), whatever becomes of its
sessions and of the gateways. So it makes no difference which gateway they come to, and a peer that closes its
connection and comes back has not cleared itself. Times are epoch ms of Redis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

CERTIFICATE: Final = "cert:"
"""The beginning of the authentication of a device with a certificate; its SHA-256 follows."""

TakeoverPolicy = Literal["newest", "alive", "hold"]
"""``newest``: no hold. ``alive``: an older session whose TCP answers is kept, and the newer one is refused.
``hold``: as above."""

LONGEST: Final = 16
"""The longest hold, in times of the first one."""
MEMORY: Final = 20
"""How long claims are remembered after a change, in times of the first hold."""
KEPT: Final = 8
"""The most claims of a device that are remembered, ..."""
FIRST: Final = 2
"""... of which so many are the first ones, which tell since when it changes hands; the rest are the last."""

_CERTIFIED = 2
"""The strength of an authentication with a certificate; that of ``tls`` is 1, that of ``plain`` 0."""


@dataclass(slots=True, frozen=True)
class Claimant:
    """A peer that says to be a device.

    Attributes:
        host: the address, without the port.
        auth: ``plain``, ``tls`` or ``cert:...``, as in `fsm.events.Origin`.
    """

    host: str
    auth: str

    def follows(self, older: Claimant) -> bool:
        """Whether this is the device that `older` was, as far as can be known.

        It is with the same certificate, or from the same address with no weaker authentication.
        """
        if self._strength == older._strength == _CERTIFIED:
            return self.auth == older.auth
        return self.host == older.host and self._strength >= older._strength

    @property
    def _strength(self) -> int:
        return _CERTIFIED if self.auth.startswith(CERTIFICATE) else int(self.auth != "plain")

    def __str__(self) -> str:
        return f"{self.host} {self.auth}"


@dataclass(slots=True, frozen=True)
class Claim:
    """A peer said to be a device, at a time in epoch ms."""

    at: int
    claimant: Claimant


@dataclass(slots=True, frozen=True)
class Hold:
    """Until when no command is written to the present holder of a device.

    Attributes:
        since, until: epoch ms; `since` is the first change of hands that is remembered.
        disputed: the device has changed hands within the hold before: commands end.
        changes: how often it has changed hands, as far as is remembered.
    """

    until: int
    disputed: bool
    changes: int
    since: int


def hold_of(claims: Sequence[Claim], hold_ms: int) -> Hold | None:
    """The hold that follows from the claims of a device, the newest first; None if there was no change.

    Args:
        hold_ms: the first hold.
    """
    hold: Hold | None = None
    held_by: Claimant | None = None
    changed_at = 0
    for number, claim in enumerate(reversed(claims)):
        if held_by is not None and not claim.claimant.follows(held_by):
            # Before this one others may have been left out: how long it was quiet is not known.
            unknown = number == FIRST and len(claims) >= KEPT
            quiet = claim.at - changed_at >= MEMORY * hold_ms and not unknown
            hold = _next(None if quiet else hold, claim.at, hold_ms)
            changed_at = claim.at
        held_by = claim.claimant
    return hold


def changes_of(claims: Sequence[Claim]) -> list[tuple[Claim, Claim]]:
    """By which claims of a device it has changed hands, each with the claim before it; the newest first."""
    return [(newer, older) for newer, older in pairwise(claims) if not newer.claimant.follows(older.claimant)]


def _next(before: Hold | None, at: int, hold_ms: int) -> Hold:
    """The hold after one more change at `at`."""
    if before is None:
        return Hold(at + hold_ms, disputed=False, changes=1, since=at)
    times = min(2**before.changes, LONGEST)
    return Hold(at + times * hold_ms, at < before.until, before.changes + 1, before.since)

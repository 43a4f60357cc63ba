"""Who has said to be a device, as Redis keeps it: a line for each peer, the newest first (`fsm.takeover`)."""

from __future__ import annotations

from fsm.takeover import Claim, Claimant


def read_claims(text: str) -> tuple[Claim, ...]:
    """The claims in such a text.

    Raises:
        ValueError: a line is none.
    """
    return tuple(_read_claim(line) for line in text.splitlines())


def _read_claim(line: str) -> Claim:
    at, host, auth = line.split(" ")
    return Claim(int(at), Claimant(host, auth))

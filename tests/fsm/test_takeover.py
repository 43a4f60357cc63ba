"""Take-overs: which peers are one device, and how long no command goes to a device that has changed hands."""

from __future__ import annotations

import pytest

from fsm.takeover import FIRST, KEPT, LONGEST, MEMORY, Claim, Claimant, Hold, changes_of, hold_of

HOLD = 60_000
A = Claimant("10.0.0.1", "plain")
B = Claimant("10.0.0.2", "plain")
CERT, OTHER_CERT = "cert:aa", "cert:bb"


def held(*claims: tuple[int, Claimant]) -> Hold | None:
    """The hold after claims, the oldest first; times are in seconds."""
    return hold_of([Claim(1000 * at, claimant) for at, claimant in reversed(claims)], HOLD)


@pytest.mark.parametrize(
    ("newer", "older", "follows"),
    [
        (A, A, True),
        (A, B, False),
        (Claimant(A.host, "tls"), A, True),
        (Claimant(A.host, CERT), A, True),
        (Claimant(B.host, CERT), A, False),
        (A, Claimant(A.host, "tls"), False),
        (Claimant(A.host, "tls"), Claimant(A.host, CERT), False),
        (Claimant(A.host, CERT), Claimant(B.host, CERT), True),
        (Claimant(A.host, CERT), Claimant(A.host, OTHER_CERT), False),
        (Claimant(A.host, "tls"), Claimant(B.host, "tls"), False),
    ],
)
def test_one_certificate_or_one_address_is_one_device(
    newer: Claimant, older: Claimant, follows: bool
) -> None:
    assert newer.follows(older) is follows


def test_no_change_is_no_hold() -> None:
    moved = [(at, Claimant(f"10.0.0.{at}", CERT)) for at in range(5)]
    assert (held(), held((5, A)), held(*moved)) == (None, None, None)


def test_a_change_holds_commands_from_its_time_on() -> None:
    assert held((0, A), (100, B)) == Hold(160_000, disputed=False, changes=1, since=100_000)


def test_the_same_peer_again_makes_the_hold_no_longer() -> None:
    assert held((0, A), (100, B), (130, B)) == held((0, A), (100, B))


@pytest.mark.parametrize(("back_at", "disputed"), [(159.9, True), (160, False), (500, False)])
def test_a_change_within_the_hold_is_a_dispute_and_each_doubles_the_hold(
    back_at: float, disputed: bool
) -> None:
    at = round(back_at * 1000)
    claims = [Claim(at, A), Claim(100_000, B), Claim(0, A)]
    assert hold_of(claims, HOLD) == Hold(at + 2 * HOLD, disputed, changes=2, since=100_000)


def test_the_hold_has_a_limit() -> None:
    hold = held(*((at, (A, B)[at % 2]) for at in range(9)))
    assert hold == Hold(8000 + LONGEST * HOLD, disputed=True, changes=8, since=1000)


def test_after_a_quiet_time_a_change_is_the_first_again() -> None:
    quiet = 100 + MEMORY * HOLD // 1000
    expected = Hold(1000 * quiet + HOLD, disputed=False, changes=1, since=1000 * quiet)
    assert held((0, A), (90, B), (100, A), (quiet, B)) == expected


def test_a_dispute_that_lasts_is_told_since_its_first_change() -> None:
    later = 10 * MEMORY * HOLD // 1000
    turns = [(later + at, (A, B)[at % 2]) for at in range(KEPT - FIRST)]
    hold = held((0, A), (100, B), *turns)
    assert hold is not None
    assert (hold.disputed, hold.since) == (True, 100_000)


def test_only_a_claim_of_another_device_is_a_change() -> None:
    claims = [Claim(3, A), Claim(2, B), Claim(1, Claimant(A.host, "tls")), Claim(0, A)]
    assert changes_of(claims) == [(claims[0], claims[1]), (claims[1], claims[2])]

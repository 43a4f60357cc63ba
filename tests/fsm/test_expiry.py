"""``expires_at``: which texts are a time, which are not, and how far ahead it may lie."""

from __future__ import annotations

import pytest

from fsm.command import CommandRequest
from fsm.errors import InvalidCommand
from fsm.outbound import Limits, parse_entry

ENTRY_MS = 1_900_000_000_000
DAY_MS = 86_400_000
GOOD = {b"command_id": b"c-1", b"imei": b"352093081452251", b"payload": b"getinfo"}


def expiry(text: bytes, outbound_id: str = f"{ENTRY_MS}-0", **more: bytes) -> int:
    request = parse_entry(
        GOOD | {b"expires_at": text} | {name.encode(): value for name, value in more.items()},
        instance_id="gw-1",
        outbound_id=outbound_id,
        now_ms=ENTRY_MS,
        limits=Limits(),
    )
    assert isinstance(request, CommandRequest)
    return request.expires_at


def problem(text: bytes) -> str:
    with pytest.raises(InvalidCommand) as caught:
        expiry(text)
    assert caught.value.field == "expires_at"
    return caught.value.problem


@pytest.mark.parametrize(
    ("text", "epoch_ms"),
    [
        (b"2030-03-17T17:46:40Z", 1_900_000_000_000),
        (b"2030-03-17t17:46:40z", 1_900_000_000_000),
        (b"2030-03-17 17:46:40Z", 1_900_000_000_000),
        (b"2030-03-17T17:46:40.5Z", 1_900_000_000_500),
        (b"2030-03-17T17:46:40.123Z", 1_900_000_000_123),
        (b"2030-03-17T17:46:40.123456789Z", 1_900_000_000_123),
        (b"2030-03-17T19:46:40+02:00", 1_900_000_000_000),
        (b"2030-03-17T12:16:40-05:30", 1_900_000_000_000),
        (b"1900000000000", 1_900_000_000_000),
        (b"1000000000000", 1_000_000_000_000),
        (b"0001-01-01T00:00:00Z", -62_135_596_800_000),
    ],
)
def test_an_expiry_is_rfc_3339_or_epoch_milliseconds(text: bytes, epoch_ms: int) -> None:
    assert expiry(text) == epoch_ms


@pytest.mark.parametrize(
    "text",
    [
        b"999999999999",
        b"1900000000",
        b"0",
        b"-1900000000000",
        b"1900000000000.0",
        b"1.9e12",
        b"9" * 17,
        b"9" * 5000,
        b"2030-03-17T17:46:40",
        b"2030-03-17",
        b"2030-03-17T17:46Z",
        b"2030-02-30T00:00:00Z",
        b"2030-03-17T24:00:01Z",
        b"2030-03-17T24:00:00Z",
        b"2030-03-17T17:60:00Z",
        b"2030-03-17T17:46:60Z",
        b"2030-03-17T17:46:40+99:99",
        b"2030-03-17T17:46:40+05:60",
        b"2030-03-17T17:46:40-24:00",
        b"20300317T174640Z",
        b"2030-W11-7T17:46:40Z",
        b" 2030-03-17T17:46:40Z",
        b"tomorrow",
        "٢٠٣٠-03-17T17:46:40Z".encode(),
        "١٩٠٠٠٠٠٠٠٠٠٠٠".encode(),
        b"\xff",
    ],
)
def test_anything_else_is_no_expiry(text: bytes) -> None:
    assert problem(text)


def test_an_expiry_is_at_most_a_day_ahead_of_the_entry() -> None:
    limit = ENTRY_MS + DAY_MS
    assert expiry(str(limit).encode()) == limit
    assert "24 h" in problem(str(limit + 1).encode())
    assert "24 h" in problem(b"9999-12-31T23:59:59.999Z")


def test_an_expiry_in_the_past_is_read_and_left_to_the_table() -> None:
    assert expiry(str(ENTRY_MS - 1).encode()) == ENTRY_MS - 1


@pytest.mark.parametrize("entry_ms", [2**64 - 1, ENTRY_MS + DAY_MS + 1])
def test_an_entry_of_the_far_future_expires_as_one_of_now(entry_ms: int) -> None:
    """A producer may choose the id of its entry."""
    assert expiry(b"", f"{entry_ms}-0") == ENTRY_MS + 300_000
    with pytest.raises(InvalidCommand):
        expiry(str(ENTRY_MS + DAY_MS + 1).encode(), f"{entry_ms}-0")
    assert expiry(b"", f"{ENTRY_MS + DAY_MS}-0") == ENTRY_MS + DAY_MS + 300_000  # a clock may be wrong


def test_a_command_that_waits_for_its_device_may_expire_in_thirty_days() -> None:
    limit = ENTRY_MS + 30 * DAY_MS
    assert expiry(str(limit).encode(), offline=b"wait") == limit
    for text, offline in ((limit + 1, b"wait"), (limit, b"fail"), (limit, b"undefined")):
        with pytest.raises(InvalidCommand, match="expires_at"):
            expiry(str(text).encode(), offline=offline)


def test_what_to_do_without_a_device_is_one_of_two_words() -> None:
    with pytest.raises(InvalidCommand, match="offline: is not one of fail, wait"):
        expiry(b"2030-03-17T17:46:41Z", offline=b"Wait")

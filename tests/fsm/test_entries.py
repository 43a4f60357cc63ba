"""What a dead letter tells of an entry: enough to find who wrote it, and no text of a command."""

from __future__ import annotations

import pytest

from fsm.entries import FIELDS_KEPT, VALUE_KEPT, letter_fields

IMEI = "352093081452251"
TEXT = b"setparam 2004:S3cret"


def test_dead_letters_keep_fields_and_only_the_payload_length() -> None:
    raw = {b"command_id": b"no good", b"imei": IMEI.encode(), b"payload": TEXT, b"requested_by": b"me"}
    assert letter_fields(raw) == (
        ("command_id", "no good"),
        ("imei", IMEI),
        ("payload_length", str(len(TEXT))),
        ("requested_by", "me"),
    )


@pytest.mark.parametrize("name", [b"paylod", b"Payload", b"text", b"_payload", b"pay load", TEXT, b"\xff"])
def test_dead_letters_keep_no_text_of_unknown_fields(name: bytes) -> None:
    kept = letter_fields({name: TEXT})
    assert "S3cret" not in str(kept)
    assert kept in (((f"{name.decode(errors='replace')}_length", str(len(TEXT))),), (("cut", "1"),))


def test_binary_values_are_kept_in_hex() -> None:
    assert letter_fields({b"command_id": b"\xff\xfe"}) == (("command_id_hex", "fffe"),)


@pytest.mark.parametrize(
    "fields",
    [
        {b"command_id": b"\xff" * 2_000_000},
        {b"n" * 2_000_000: b"v"},
        {b"n%05d" % number: b"x" * 1000 for number in range(900)},
    ],
    ids=["a value", "a name", "many fields"],
)
def test_whatever_is_big_is_bounded(fields: dict[bytes, bytes]) -> None:
    kept = letter_fields(fields)
    assert kept[-1] == ("cut", "1")
    assert len(kept) <= FIELDS_KEPT + 1
    assert all(len(name) < 80 and len(value) <= 2 * VALUE_KEPT for name, value in kept)

"""The oracles: the slow reader reads the public examples, the validator has the limits of the contract."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fuzz import contract, corpus, protocol
from tests.fuzz.contract import ENTRY_MS, validate
from tests.fuzz.expected import expect
from tests.fuzz.protocol import Refused
from tests.wire_format import hello

Vector = dict[str, Any]

IMEI = "352093081452251"
GOOD = {b"command_id": b"c-1", b"imei": IMEI.encode(), b"payload": b"getinfo"}


def vectors(kind: str, *, valid: bool) -> list[Any]:
    found = [v for v in corpus.vectors() if v["kind"].startswith(kind) and v["valid"] == valid]
    assert found
    return [pytest.param(vector, id=vector["id"]) for vector in found]


def only_body(vector: Vector) -> bytes:
    (body,) = protocol.read_frames(bytes.fromhex(vector["hex"])).items
    assert isinstance(body, bytes)
    return body


@pytest.mark.parametrize("vector", vectors("avl", valid=True))
def test_the_slow_reader_reads_an_example_of_telemetry(vector: Vector) -> None:
    body, told = only_body(vector), vector["expect"]
    records = protocol.read_avl(body)
    first, wanted = records[0], told["first_record"]
    assert [record.numbers["timestamp"] for record in records] == told["timestamps_ms"]
    numbers = first.numbers
    assert (numbers["longitude"], numbers["latitude"]) == (wanted["lon_raw"], wanted["lat_raw"])
    for name in ("priority", "altitude", "angle", "satellites", "speed", "event_id"):
        assert numbers[name] == wanted[name]
    assert numbers.get("generation_type") == wanted.get("generation_type")
    published = protocol.published(first)["io"]
    assert {name: str(value) for name, value in published.items()} == {
        name: str(value) for name, value in wanted["io"].items()
    }
    assert protocol.spell_avl(body[0], records) == body


@pytest.mark.parametrize("vector", vectors("codec", valid=True))
def test_the_slow_reader_reads_an_example_of_a_message(vector: Vector) -> None:
    (wanted,) = vector["expect"]["messages"]
    [message] = protocol.read_messages(only_body(vector))
    assert (message.type, message.text.hex()) == (wanted["type"], wanted["payload_hex"])
    assert (message.imei, message.timestamp) == (wanted.get("imei"), wanted.get("timestamp_s"))


@pytest.mark.parametrize("vector", vectors("avl", valid=False))
def test_the_slow_reader_refuses_a_bad_example(vector: Vector) -> None:
    frames = protocol.read_frames(bytes.fromhex(vector["hex"]))
    bodies = [item for item in frames.items if isinstance(item, bytes)]
    assert len(bodies) <= 1
    for body in bodies:
        with pytest.raises(Refused):
            protocol.read_avl(body)


def test_eight_bad_checksums_in_a_row_end_a_connection() -> None:
    bad = bytes(4) + b"\0\0\0\x03\x08\0\0" + b"\0\0\0\x01"
    good = bytes.fromhex("000000000000000f0c010500000007676574696e666f0100004312")
    assert not expect(hello(IMEI) + bad * 7 + good + bad * 7, raw=False).lost
    assert expect(hello(IMEI) + bad * 8, raw=False).lost


@pytest.mark.parametrize(
    ("field", "right", "wrong"),
    [
        ("command_id", b"a" * 64, b"a" * 65),
        ("imei", b"0" * 15, b"0" * 14),
        ("payload", b"~" * 512, b"~" * 513),
        ("payload", b" x", b"\tx"),
        ("codec", b"14", b"13"),
        ("type", b"command", b"Command"),
        ("expires_at", b"%d" % (ENTRY_MS + contract.DAY_MS), b"%d" % (ENTRY_MS + contract.DAY_MS + 1)),
        ("expires_at", b"1000000000000", b"999999999999"),
        ("expires_at", b"2030-03-17T17:46:40+05:59", b"2030-03-17T17:46:40+05:60"),
        ("expires_at", b"2028-02-29T00:00:00Z", b"2029-02-29T00:00:00Z"),
        ("expires_at", b"2030-03-17T23:59:59.9Z", b"2030-03-17T24:00:00Z"),
        ("response_timeout", b"0.1", b"0.099999"),
        ("response_timeout", b"3600", b"3600.000001"),
        ("expect_response", b"0", b"no"),
        ("expect_response", b"false", b"False"),
        ("confirm", b"true", b"yes"),
        ("confirmed_by", "Zoë O'Neil".encode(), b"a\nb"),
        ("confirmed_by", b"x" * 256, b"x" * 257),
    ],
)
def test_the_oracle_of_entries_knows_right_from_wrong(field: str, right: bytes, wrong: bytes) -> None:
    assert isinstance(validate(GOOD | {field.encode(): right}), dict)
    assert validate(GOOD | {field.encode(): wrong}) == {field}


def test_the_validator_of_entries_knows_the_defaults_and_the_time() -> None:
    plain = validate(GOOD | {b"codec": b"undefined", b"expires_at": b"null"})
    assert isinstance(plain, dict)
    assert (plain["codec"], plain["expires_at"], plain["response_timeout"]) == (
        "",
        ENTRY_MS + 300_000,
        30.0,
    )
    late = validate(GOOD | {b"expires_at": b"2030-03-17T19:46:40.5+02:00"})
    assert isinstance(late, dict)
    assert late["expires_at"] == ENTRY_MS + 500
    assert validate({}) == {"command_id", "imei", "payload"}


@settings(max_examples=40)
@example([{b"a": b"--"}, {b"--": b"\n--\n"}])
@given(st.lists(st.dictionaries(st.binary(max_size=20), st.binary(max_size=40), min_size=1), max_size=4))
def test_any_entries_can_be_written_as_text_and_read_again(entries: list[dict[bytes, bytes]]) -> None:
    assert contract.read_log(contract.spell_log(entries)) == entries

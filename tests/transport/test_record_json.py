"""The JSON of a record, as consumers of the telemetry stream read it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsm.record_data import SAFE_INTEGER
from transport.teltonika import record_encoder
from transport.teltonika.avl import Record, decode_avl, encode_avl
from transport.teltonika.frame import CODEC_8, CODEC_8E, CODEC_16
from transport.teltonika.layout_cache import SIGHTINGS
from transport.teltonika.record_encoder import FREQUENT
from transport.teltonika.record_json import record_json, records_json


@given(st.integers(-(2**31), 2**31 - 1))
def test_coordinates_are_exact_to_seven_decimals(raw: int) -> None:
    record = Record.of(timestamp=0, longitude=raw / 10**7)
    assert record.longitude_raw == raw
    assert record.longitude == round(raw / 1e7, 7)
    assert json.loads(record_json(record))["longitude"] == round(raw / 1e7, 7)


def test_the_json_of_a_record_has_exactly_these_keys() -> None:
    io: dict[int, tuple[int, int] | bytes] = {
        1: (1, 255),
        11: (8, SAFE_INTEGER),
        12: (8, SAFE_INTEGER + 1),
        331: b"",
        256: b"\xde\xad",
    }
    fields: dict[str, Any] = {
        "timestamp": 5,
        "priority": 1,
        "longitude": 25.2797001,
        "latitude": -0.0000001,
        "altitude": -6,
        "angle": 10,
        "satellites": 11,
        "speed": 12,
        "event_id": 1,
    }
    numbers = {"io": {"1": 255, "11": 9007199254740991, "12": "9007199254740992", "331": "", "256": "dead"}}
    notes = {"signed": {"1": -1}, "hex": ["331", "256"]}
    assert json.loads(record_json(Record.of(**fields, io=io))) == fields | numbers | notes
    with_type = json.loads(record_json(Record.of(**fields, generation_type=7)))
    assert with_type == fields | {"generation_type": 7, "io": {}}


def read_back(codec: int, record: Record) -> dict[str, Any]:
    """The JSON of a record that came over the wire often: its layout is known, its encoder compiled."""
    body = encode_avl(codec, [record] * (SIGHTINGS + FREQUENT + 2))[8:-4]
    records = decode_avl(body)
    first, *others = records_json(records)
    assert set(others) == {first}
    assert record.variable or records[-1].layout.encoding.encode
    found: dict[str, Any] = json.loads(first)
    assert found == json.loads(record_json(record))
    return found


WIDTHS = st.sampled_from([1, 2, 4, 8])
CODECS = st.sampled_from([CODEC_8, CODEC_8E, CODEC_16])
VALUES = WIDTHS.flatmap(
    lambda width: st.tuples(
        st.just(width),
        st.one_of(
            st.integers(0, 256**width - 1),
            st.sampled_from([0, 256**width // 2 - 1, 256**width // 2, 256**width - 1]),
        ),
    )
)


@given(CODECS, st.dictionaries(st.integers(0, 255), VALUES, max_size=8))
def test_a_value_with_its_sign_bit_set_is_also_signed(codec: int, io: dict[int, tuple[int, int]]) -> None:
    record = Record.of(timestamp=5, generation_type=7 if codec == CODEC_16 else None, io=io)
    data = read_back(codec, record)
    for number, (width, value) in io.items():
        assert int(data["io"][str(number)]) == value
        read = int.from_bytes(value.to_bytes(width, "big"), "big", signed=True)
        assert int(data.get("signed", {}).get(str(number), value)) == read
    assert len(data.get("signed", {})) == sum(value >= 256**width // 2 for width, value in io.values())
    assert data.get("signed") != {}
    for number in (*data["io"].values(), *data.get("signed", {}).values()):
        assert isinstance(number, str) is (abs(int(number)) > SAFE_INTEGER)


def test_the_width_distinguishes_minus_two_from_65534() -> None:
    assert read_back(CODEC_8, Record.of(timestamp=0, io={72: (2, 65534)}))["signed"] == {"72": -2}
    assert "signed" not in read_back(CODEC_8, Record.of(timestamp=0, io={72: (4, 65534)}))


def test_a_number_that_javascript_would_round_is_text() -> None:
    io: dict[int, tuple[int, int] | bytes] = {1: (8, 2**64 - 1), 2: (8, 2**63), 3: (8, 2**53), 4: (8, 5)}
    data = read_back(CODEC_8E, Record.of(timestamp=2**64 - 1, io=io))
    assert data["timestamp"] == "18446744073709551615"
    assert data["io"] == {"1": str(2**64 - 1), "2": str(2**63), "3": str(2**53), "4": 5}
    assert data["signed"] == {"1": -1, "2": str(-(2**63))}
    assert read_back(CODEC_8E, Record.of(timestamp=SAFE_INTEGER))["timestamp"] == SAFE_INTEGER


def test_hex_text_and_digits_are_distinguished() -> None:
    io: dict[int, tuple[int, int] | bytes] = {78: (8, 2**60), 256: b"\x11\x52\x92"}
    data = read_back(CODEC_8E, Record.of(timestamp=0, io=io))
    assert data["io"] == {"78": str(2**60), "256": "115292"}
    assert data["hex"] == ["256"]
    assert "hex" not in read_back(CODEC_8E, Record.of(timestamp=0, io={78: (8, 2**60)}))


@pytest.mark.parametrize(
    ("groups", "signed"),
    [
        ("0002 0001 0007 ff 0001 0007 0001 0000 0000 0000", None),  # -1 in one byte, then 1 in two
        ("0002 0001 0007 01 0001 0007 fffe 0000 0000 0000", {"7": -2}),  # 1 in one byte, then -2 in two
        ("0002 0001 0007 ff 0000 0000 0000 0001 0007 0001 aa", None),  # -1 in one byte, then hex text
    ],
)
def test_of_a_repeated_id_the_last_value_says_whether_it_is_signed(
    groups: str, signed: dict[str, int] | None
) -> None:
    [record] = decode_avl(bytes.fromhex("8e01" + "00" * 26 + groups + "01"))
    assert json.loads(record_json(record)).get("signed") == signed


def test_values_are_examined_only_if_bits_require_it() -> None:
    bodies = [
        encode_avl(CODEC_8E, [Record.of(timestamp=0, io={1: (1, low), 11: (8, high)})])[8:-4]
        for low, high in [(127, SAFE_INTEGER), (128, 0), (0, SAFE_INTEGER + 1)]
    ]
    for _ in range(2):
        assert [decode_avl(body)[0].layout.plain for body in bodies] == [True, False, False]


def test_an_encoder_is_made_for_frequent_layouts_only() -> None:
    record = Record.of(timestamp=1, io={9001: (1, 1)})
    for _ in range(SIGHTINGS + 1):
        [read] = decode_avl(encode_avl(CODEC_8E, [record])[8:-4])
    for _ in range(FREQUENT - 1):
        record_json(read)
    assert read.layout.encoding.encode is None
    record_json(read)
    assert read.layout.encoding.encode is not None


def test_a_value_of_eight_bytes_has_a_sign_and_is_text_as_its_bits_say() -> None:
    """Values of one id whose high bits differ, so that each needs an encoder of its own."""
    for value in (0, 2**53, 2**62, 2**63, 2**64 - 2**53, 2**64 - 1):
        data = read_back(CODEC_8E, Record.of(timestamp=3, io={9002: (8, value), 9003: (1, 200)}))
        assert int(data["io"]["9002"]) == value
        assert int(data["signed"].get("9002", value)) == (value - 2**64 if value >= 2**63 else value)


def test_a_shape_of_very_many_ids_gets_no_encoder() -> None:
    many: dict[int, tuple[int, int]] = dict.fromkeys(range(record_encoder.IDS + 1), (1, 1))
    record = Record.of(timestamp=1, io=many)
    for _ in range(FREQUENT + 1):
        record_json(record)
    assert record.layout.encoding.encode is None


def test_ever_new_shapes_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_encoder, "FREQUENT", 1)
    monkeypatch.setattr(record_encoder, "IDS_LIMIT", 6)
    monkeypatch.setattr(record_encoder, "_compiled", compiled := [])
    records = [Record.of(timestamp=1, io={number: (1, 1)}) for number in range(9100, 9110)]
    for record in records:
        plain = record_json(record)
        assert record_json(record) == plain
        assert len(compiled) <= 3
    with_encoder = [record for record in records if record.layout.encoding.encode]
    assert [record.layout for record in with_encoder] == compiled

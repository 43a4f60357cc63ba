"""The JSON of a record, as consumers of the telemetry stream read it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from transport.teltonika.avl import Record
from transport.teltonika.record_json import SAFE_INTEGER, record_json


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
    wanted: dict[str, Any] = {
        "timestamp": 5,
        "priority": 1,
        "longitude": 25.2797001,
        "latitude": -0.0000001,
        "altitude": -6,
        "angle": 10,
        "satellites": 11,
        "speed": 12,
        "event_id": 1,
        "io": {"1": 255, "11": 9007199254740991, "12": "9007199254740992", "331": "", "256": "dead"},
    }
    fields = {key: value for key, value in wanted.items() if key != "io"}
    assert json.loads(record_json(Record.of(**fields, io=io))) == wanted
    with_type = json.loads(record_json(Record.of(**fields, generation_type=7)))
    assert with_type == {**wanted, "generation_type": 7, "io": {}}

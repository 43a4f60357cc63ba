"""A record as JSON, for the consumers of the telemetry stream."""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from fsm.record_data import SAFE_INTEGER, Number, RecordData

from .avl import DEGREE, Record

_encode = msgspec.json.Encoder().encode


def record_data(record: Record) -> RecordData:
    """Return the published form of ``record``."""
    layout = record.layout
    values = record.values
    time, priority, longitude, latitude, altitude, angle, satellites, speed, event = values[:9]
    io: dict[str, Number] = dict(zip(layout.names, values[layout.first :]))  # noqa: B905 (strict: 20 %)
    generation = values[9] if layout.generation else UNSET
    # A raw coordinate has ten digits at most, so the quotient is the double nearest to its seven decimals.
    x, y = longitude / DEGREE, latitude / DEGREE
    data = RecordData(time, priority, x, y, altitude, angle, satellites, speed, event, generation, io)
    if not layout.plain:
        data.signed = _signed(record, io) or UNSET
        if time > SAFE_INTEGER:
            data.timestamp = str(time)
    if record.variable:
        _add_variable(record, data)
    return data


def _signed(record: Record, io: dict[str, Number]) -> dict[str, Number]:
    """Return values with their sign bit set as two's complement; turn large numbers in ``io`` into text."""
    values = record.values
    signed: dict[str, Number] = {}
    for name, at, limit, modulus in record.layout.to_check:
        value = values[at]
        if value >= limit:
            if value > SAFE_INTEGER:
                io[name] = str(value)
            if 2 * value >= modulus:
                below = value - modulus
                signed[name] = below if below >= -SAFE_INTEGER else str(below)
    return signed


def _add_variable(record: Record, data: RecordData) -> None:
    """Add the variable-length values. If an id is also that of a number, it replaces the number."""
    texts = {str(number): value.hex() for number, value in record.variable}
    data.io.update(texts)
    data.hex = list(texts)
    if data.signed:
        data.signed = {name: value for name, value in data.signed.items() if name not in texts} or UNSET


def record_json(record: Record) -> bytes:
    """Return the JSON of ``record_data(record)``, without blanks."""
    return _encode(record_data(record))

"""A record as JSON, for the consumers of the telemetry stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec
from dataclasses_json import DataClassJsonMixin, config
from msgspec import UNSET, UnsetType

from .avl import DEGREE, Record
from .layout import SAFE_INTEGER

Number: TypeAlias = int | str
"""An integer, or its decimal text if it is above `SAFE_INTEGER` or below -`SAFE_INTEGER`."""


def _is_unset(value: object) -> bool:
    return value is UNSET


def _as_it_is(value: Any) -> Any:
    return value


_OPTIONAL = config(exclude=_is_unset, decoder=_as_it_is)  # dataclasses-json reads no union of containers


@dataclass(slots=True)
class RecordData(DataClassJsonMixin):
    """The ``data`` of one telemetry entry.

    ``timestamp`` is in milliseconds since 1970, coordinates are in degrees, ``altitude`` in metres, ``angle``
    in degrees, ``speed`` in km/h. Only codec 16 has ``generation_type``. ``io`` maps an IO id to an unsigned
    integer, or to the lower-case hex text of a variable-length value. ``signed`` maps the ids whose value has
    its sign bit set to that value as two's complement; the AVL ID list of the device says whether the value
    is signed. ``hex`` lists the ids of variable-length values. ``signed`` and ``hex`` are absent if empty.
    """

    timestamp: Number
    priority: int
    longitude: float
    latitude: float
    altitude: int
    angle: int
    satellites: int
    speed: int
    event_id: int
    generation_type: int | UnsetType = field(default=UNSET, metadata=config(exclude=_is_unset))
    io: dict[str, Number] = field(default_factory=dict)
    signed: dict[str, Number] | UnsetType = field(default=UNSET, metadata=_OPTIONAL)
    hex: list[str] | UnsetType = field(default=UNSET, metadata=_OPTIONAL)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(RecordData).decode


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


def read_record(text: bytes | str) -> RecordData:
    """Return the ``data`` of a telemetry entry, validated.

    Raises:
        ValueError: it is no JSON, or a field is missing or has a wrong type.
    """
    return _decode(text)


def record_json(record: Record) -> bytes:
    """Return the JSON of ``record_data(record)``, without blanks."""
    return _encode(record_data(record))

"""A record as the JSON that consumers of the telemetry stream read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec
from dataclasses_json import DataClassJsonMixin, config
from msgspec import UNSET, UnsetType

from .avl import DEGREE, Record
from .layout import SAFE_INTEGER

Number: TypeAlias = int | str
"""An integer; beyond `SAFE_INTEGER` on either side of zero its decimal text."""


def _is_unset(value: object) -> bool:
    return value is UNSET


def _as_it_is(value: Any) -> Any:
    return value


_OPTIONAL = config(exclude=_is_unset, decoder=_as_it_is)  # dataclasses-json reads no union of containers


@dataclass(slots=True)
class RecordData(DataClassJsonMixin):
    """The ``data`` of one telemetry entry.

    ``timestamp`` is in milliseconds since 1970, coordinates are in degrees, ``altitude`` in metres, ``angle``
    in degrees, ``speed`` in km/h. ``generation_type`` exists in codec 16 alone. ``io`` maps an IO id to an
    unsigned integer, or to the lower-case hex text of a variable-length value. ``signed`` maps the ids whose
    value has its sign bit set to that value as two's complement; whether it is meant so, the device's list of
    AVL ids says. ``hex`` names the ids of variable-length values. Either is absent when it would be empty.
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


def record_data(record: Record) -> RecordData:
    """Return what is published of ``record``."""
    layout = record.layout
    values = record.values
    time, priority, longitude, latitude, altitude, angle, satellites, speed, event = values[:9]
    io: dict[str, Number] = dict(zip(layout.names, values[layout.first :]))  # noqa: B905 (strict: 20 %)
    generation = values[9] if layout.generation else UNSET
    # A raw coordinate has at most ten digits, so the quotient is the double nearest to its seven decimals.
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
    """Return the values whose sign bit is set, as two's complement; write large numbers in ``io`` as text."""
    values = record.values
    signed: dict[str, Number] = {}
    for name, at, limit, modulus in record.layout.looked_at:
        value = values[at]
        if value >= limit:
            if value > SAFE_INTEGER:
                io[name] = str(value)
            if 2 * value >= modulus:
                below = value - modulus
                signed[name] = below if below >= -SAFE_INTEGER else str(below)
    return signed


def _add_variable(record: Record, data: RecordData) -> None:
    """Add the variable-length values. One whose id is also that of a number stands in its place."""
    texts = {str(number): value.hex() for number, value in record.variable}
    data.io.update(texts)
    data.hex = list(texts)
    if data.signed:
        data.signed = {name: value for name, value in data.signed.items() if name not in texts} or UNSET


def record_json(record: Record) -> bytes:
    """Return the JSON of ``record_data(record)``, without blanks."""
    return _encode(record_data(record))

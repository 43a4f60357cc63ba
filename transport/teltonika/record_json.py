"""A record as the JSON that consumers of the telemetry stream read."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
from dataclasses_json import DataClassJsonMixin, config
from msgspec import UNSET, UnsetType

from .avl import DEGREE, Record

SAFE_INTEGER = 2**53 - 1
"""Largest integer that JavaScript reads exactly."""


def _is_unset(value: object) -> bool:
    return value is UNSET


@dataclass(slots=True)
class RecordData(DataClassJsonMixin):
    """The ``data`` of one telemetry entry.

    ``timestamp`` is in milliseconds since 1970, coordinates are in degrees, ``altitude`` in metres, ``angle``
    in degrees, ``speed`` in km/h. ``generation_type`` exists in codec 16 alone. ``io`` maps an IO id to an
    unsigned integer, above 2^53 - 1 to its decimal text, or to the lower-case hex text of a variable-length
    value.
    """

    timestamp: int
    priority: int
    longitude: float
    latitude: float
    altitude: int
    angle: int
    satellites: int
    speed: int
    event_id: int
    generation_type: int | UnsetType = field(default=UNSET, metadata=config(exclude=_is_unset))
    io: dict[str, int | str] = field(default_factory=dict)


_encode = msgspec.json.Encoder().encode


def record_data(record: Record) -> RecordData:
    """Return what is published of ``record``."""
    layout = record.layout
    values = record.values
    time, priority, longitude, latitude, altitude, angle, satellites, speed, event = values[:9]
    io: dict[str, int | str] = dict(zip(layout.names, values[layout.first :]))  # noqa: B905 (strict: 20 %)
    for name, index in layout.wide:
        if values[index] > SAFE_INTEGER:
            io[name] = str(values[index])
    for number, value in record.variable:
        io[str(number)] = value.hex()
    generation = values[9] if layout.generation else UNSET
    # A raw coordinate has at most ten digits, so the quotient is the double nearest to its seven decimals.
    x, y = longitude / DEGREE, latitude / DEGREE
    return RecordData(time, priority, x, y, altitude, angle, satellites, speed, event, generation, io)


def record_json(record: Record) -> bytes:
    """Return the JSON of ``record_data(record)``, without blanks."""
    return _encode(record_data(record))

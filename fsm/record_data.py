"""The data of one AVL record, as it is published on ``telemetry:records``.

A consumer reads it as `store.streams.record_data.RecordData`, which is this and what dataclasses-json adds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

SAFE_INTEGER = 2**53 - 1
"""Largest integer that JavaScript represents exactly."""

Number: TypeAlias = int | str
"""An integer, or its decimal text if it is above `SAFE_INTEGER` or below -`SAFE_INTEGER`."""


@dataclass(slots=True)
class NamedValue:
    """An IO value as the dictionary of AVL ids explains it.

    ``value`` is the number in ``unit``; it is absent for text, and for an error code in the place of a
    measurement. ``text`` is the name of the number, the meaning of the code, or the text itself.
    """

    value: int | float | str | UnsetType = UNSET
    unit: str | UnsetType = UNSET
    text: str | UnsetType = UNSET


@dataclass(slots=True)
class RecordData:
    """The ``data`` of one telemetry entry.

    ``timestamp`` is in milliseconds since 1970, coordinates are in degrees, ``altitude`` in metres, ``angle``
    in degrees, ``speed`` in km/h. Only codec 16 has ``generation_type``. ``io`` maps an IO id to an unsigned
    integer, or to the lower-case hex text of a variable-length value. ``signed`` maps the ids whose value has
    its sign bit set to that value as two's complement; the AVL ID list of the device says whether the value
    is signed. ``hex`` lists the ids of variable-length values. ``named`` has
    the values with a name, see ``--io-names``. ``signed``, ``hex`` and ``named`` are absent if empty.
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
    generation_type: int | UnsetType = UNSET
    io: dict[str, Number] = field(default_factory=dict)
    signed: dict[str, Number] | UnsetType = UNSET
    hex: list[str] | UnsetType = UNSET
    named: dict[str, NamedValue] | UnsetType = UNSET


_decode = msgspec.json.Decoder(RecordData).decode


def read_record(text: bytes | str) -> RecordData:
    """Return the ``data`` of a telemetry entry, validated.

    Raises:
        ValueError: it is no JSON, or a field is missing or has a wrong type.
    """
    return _decode(text)

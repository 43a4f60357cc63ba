"""The data of one AVL record, as it is published on ``telemetry:records``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec
from dataclasses_json import DataClassJsonMixin, config
from msgspec import UNSET, UnsetType

SAFE_INTEGER = 2**53 - 1
"""Largest integer that JavaScript represents exactly."""

Number: TypeAlias = int | str
"""An integer, or its decimal text if it is above `SAFE_INTEGER` or below -`SAFE_INTEGER`."""


def _is_unset(value: object) -> bool:
    return value is UNSET


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(slots=True)
class NamedValue:
    """An IO value as the dictionary of AVL ids explains it.

    ``value`` is the number in ``unit``; it is absent for text, and for an error code in the place of a
    measurement. ``text`` is the name of the number, the meaning of the code, or the text itself.
    """

    value: int | float | str | UnsetType = UNSET
    unit: str | UnsetType = UNSET
    text: str | UnsetType = UNSET


def _read_named(values: Any) -> dict[str, NamedValue] | UnsetType:
    return UNSET if values is UNSET else msgspec.convert(values, dict[str, NamedValue])


_OPTIONAL = config(exclude=_is_unset, decoder=_as_it_is)  # dataclasses-json reads no union of containers

_NAMED = config(exclude=_is_unset, decoder=_read_named, encoder=msgspec.to_builtins)


@dataclass(slots=True)
class RecordData(DataClassJsonMixin):
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
    generation_type: int | UnsetType = field(default=UNSET, metadata=config(exclude=_is_unset))
    io: dict[str, Number] = field(default_factory=dict)
    signed: dict[str, Number] | UnsetType = field(default=UNSET, metadata=_OPTIONAL)
    hex: list[str] | UnsetType = field(default=UNSET, metadata=_OPTIONAL)
    named: dict[str, NamedValue] | UnsetType = field(default=UNSET, metadata=_NAMED)


_decode = msgspec.json.Decoder(RecordData).decode


def read_record(text: bytes | str) -> RecordData:
    """Return the ``data`` of a telemetry entry, validated.

    Raises:
        ValueError: it is no JSON, or a field is missing or has a wrong type.
    """
    return _decode(text)

"""The data of one AVL record as consumers read it: as it is published, and what dataclasses-json adds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
from dataclasses_json import DataClassJsonMixin, config
from msgspec import UNSET, UnsetType

from fsm import record_data
from fsm.record_data import NamedValue, Number


def _is_unset(value: object) -> bool:
    return value is UNSET


def _as_it_is(value: Any) -> Any:
    return value


def _read_named(values: Any) -> dict[str, NamedValue] | UnsetType:
    return UNSET if values is UNSET else msgspec.convert(values, dict[str, NamedValue])


_OPTIONAL = config(exclude=_is_unset, decoder=_as_it_is)  # dataclasses-json reads no union of containers

_NAMED = config(exclude=_is_unset, decoder=_read_named, encoder=msgspec.to_builtins)


@dataclass(slots=True)
class RecordData(record_data.RecordData, DataClassJsonMixin):
    """The ``data`` of one telemetry entry, as `fsm.record_data.RecordData` explains it."""

    generation_type: int | UnsetType = field(default=UNSET, metadata=config(exclude=_is_unset))
    signed: dict[str, Number] | UnsetType = field(default=UNSET, metadata=_OPTIONAL)
    hex: list[str] | UnsetType = field(default=UNSET, metadata=_OPTIONAL)
    named: dict[str, NamedValue] | UnsetType = field(default=UNSET, metadata=_NAMED)


_decode = msgspec.json.Decoder(RecordData).decode


def read_record(text: bytes | str) -> RecordData:
    """Return the ``data`` of a telemetry entry.

    Raises:
        ValueError: it is no JSON, or a field is missing or has a wrong type.
    """
    return _decode(text)

"""A record as JSON, for the consumers of the telemetry stream."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from fsm.record_data import Number, RecordData

from .avl import DEGREE, Record
from .record_encoder import count, published
from .undrawn import ENCODING, UNDRAWN, with_names

_encode = msgspec.json.Encoder().encode


def record_data(record: Record) -> RecordData:
    """Return the published form of ``record``."""
    layout = record.layout
    if layout.codec == UNDRAWN:
        layout = with_names(layout)
        record = Record(layout, record.values, record.variable)
    return _data(record, layout.names)


def _data(record: Record, names: Sequence[Any]) -> RecordData:
    """The published form, with the IO values under these names."""
    layout = record.layout
    values: Sequence[Any] = record.values
    signed: dict[str, Number] = {}
    if not layout.plain:
        values, signed = published(record.values, layout.to_check)
    time, priority, longitude, latitude, altitude, angle, satellites, speed, event = values[:9]
    io: dict[str, Number] = dict(zip(names, values[layout.first :], strict=True))
    generation = values[9] if layout.generation else UNSET
    # A raw coordinate has ten digits at most, so the quotient is the double nearest to its seven decimals.
    x, y = longitude / DEGREE, latitude / DEGREE
    data = RecordData(time, priority, x, y, altitude, angle, satellites, speed, event, generation, io)
    data.signed = signed or UNSET
    if record.variable:
        _add_variable(record, data)
    return data


def _add_variable(record: Record, data: RecordData) -> None:
    """Add the variable-length values. If an id is also that of a number, it replaces the number."""
    layout = record.layout
    name: Any = int if layout.ids and not layout.names else str
    texts = {name(number): value.hex() for number, value in record.variable}
    data.io.update(texts)
    data.hex = list(map(str, texts))
    if data.signed:
        data.signed = {name: value for name, value in data.signed.items() if name not in texts} or UNSET


def record_json(record: Record) -> bytes:
    """Return the JSON of ``record_data(record)``, without blanks."""
    encode = record.layout.encoding.encode
    if encode is not None:
        return encode(record)
    count(record.layout)
    return plain_json(record)


def plain_json(record: Record) -> bytes:
    """The same without a compiled encoder."""
    return _encode(record_data(record))


def records_json(records: Iterable[Record]) -> list[bytes]:
    """Return the JSON of each of the records."""
    found = []
    for record in records:
        encode = record.layout.encoding.encode
        found.append(record_json(record) if encode is None else encode(record))
    return found


def _undrawn_json(record: Record) -> bytes:
    """The JSON of a record whose layout is not drawn: its ids are numbers, and JSON makes text of them."""
    return _encode(_data(record, record.layout.ids))


ENCODING.encode = _undrawn_json

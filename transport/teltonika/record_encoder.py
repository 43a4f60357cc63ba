"""Compiled encoders: the JSON of records whose shape occurs often, three times faster.

The plain way, in `record_json`, builds a dictionary of the IO values and a dataclass, and encodes them. A
device repeats few shapes, so for a shape that has occurred `FREQUENT` times two classes of msgspec are made,
one for the record and one for its IO values, whose field names are the ids. Then the numbers of a record go
into them as they were unpacked. The bytes are the same as those of the plain way.

Making the classes costs 40 us for 20 ids, as much as 20 records, and 10 KiB. A hostile device can send ever
new shapes. Therefore a shape must occur often first and has at most `IDS` ids, and when `SHAPES_LIMIT` shapes
are compiled all are forgotten: those that are still in use are compiled again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET

from fsm.record_data import SAFE_INTEGER

from .avl import DEGREE, Record
from .layout import Element, Encoding, Layout

FREQUENT = 64
"""Records of a shape that are encoded in the plain way before its encoder is made."""
IDS = 128
"""IO ids of a shape at most. Real devices send up to about 60."""
SHAPES_LIMIT = 256
"""Shapes with an encoder at most."""
HEAD = (
    "timestamp",
    "priority",
    "longitude",
    "latitude",
    "altitude",
    "angle",
    "satellites",
    "speed",
    "event_id",
)

_encode = msgspec.json.Encoder().encode
_compiled: list[Encoding] = []


def count(layout: Layout) -> None:
    """A record of this shape was encoded in the plain way: make an encoder if that happens often."""
    encoding = layout.encoding
    encoding.uses += 1
    if encoding.uses == FREQUENT and _is_simple(layout):
        if len(_compiled) == SHAPES_LIMIT:
            for other in _compiled:
                other.forget()
            _compiled.clear()
        _compiled.append(encoding)
        encoding.encode = _compile(layout)


def _is_simple(layout: Layout) -> bool:
    """Whether each value has a name of its own, in the order of the layout."""
    return not layout.variable and len(layout.names) <= IDS and len(set(layout.names)) == len(layout.names)


def _compile(layout: Layout) -> Callable[[Record], bytes]:
    names, first = layout.names, layout.first
    head = (*HEAD, "generation_type") if layout.generation else HEAD
    # msgspec encodes what a field holds, whatever its type: a number above 2^53 - 1 is text.
    io: Any = msgspec.defstruct(
        "Io", [(f"io{name}", int, msgspec.field(name=name)) for name in names], gc=False
    )
    data: Any = msgspec.defstruct(
        "Data", [*((name, float) for name in head), ("io", io), ("signed", dict, UNSET)], gc=False
    )

    def encode(record: Record) -> bytes:
        values = record.values
        if record.layout.plain:
            x, y = values[2] / DEGREE, values[3] / DEGREE
            return _encode(data(values[0], values[1], x, y, *values[4:first], io(*values[first:])))
        texts, signed = published(values, record.layout.to_check)
        x, y = values[2] / DEGREE, values[3] / DEGREE
        return _encode(data(texts[0], texts[1], x, y, *texts[4:first], io(*texts[first:]), signed or UNSET))

    return encode


def published(
    values: tuple[int, ...], to_check: tuple[Element, ...]
) -> tuple[list[int | str], dict[str, int | str]]:
    """The values of a record that may not be plain, with large numbers as text, and those with their sign bit
    set as two's complement, by their names."""
    texts: list[int | str] = list(values)
    signed: dict[str, int | str] = {}
    for name, at, limit, modulus in to_check:
        value = values[at]
        if value >= limit:
            if value > SAFE_INTEGER:
                texts[at] = str(value)
            if 2 * value >= modulus:
                below = value - modulus
                signed[name] = below if below >= -SAFE_INTEGER else str(below)
    if values[0] > SAFE_INTEGER:
        texts[0] = str(values[0])
    return texts, signed

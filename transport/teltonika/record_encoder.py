"""Compiled encoders: the JSON of records whose layout occurs often, in a quarter of the time.

The plain way, in `record_json`, builds a dictionary of the IO values and a dataclass, and encodes them. A
device repeats few layouts, and a layout knows the place of each number, and whether it is published as it is,
as text, or also with its sign. So for a layout that has occurred `FREQUENT` times classes of msgspec are
made, whose field names are the ids, and a function that puts the numbers of a record into them:

    to_json(data(v[0], v[1], v[2] / degree, .., io(v[9], v[10], str(v[11])), signed(v[9] - 256)))

The bytes are the same as those of the plain way. `tests/load/test_costs.py` has the measurement.

To make an encoder takes as long as to encode 40 records in the plain way, and 0.7 KiB for each id. A hostile
device can send ever new layouts. Therefore a layout must occur often first and has at most `IDS` ids, and
when all encoders would have more than `IDS_LIMIT` all are forgotten: those still in use are made again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import msgspec
from msgspec import UNSET

from fsm.record_data import SAFE_INTEGER

from .avl import DEGREE, Record
from .layout import Element, Layout

FREQUENT = 64
"""Records of a layout that are encoded in the plain way before its encoder is made."""
IDS = 128
"""IO ids of a layout at most. Real devices send up to about 60."""
IDS_LIMIT = 16384
"""IO ids of all encoders at most: those of 800 layouts of 20 ids."""
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
_compiled: list[Layout] = []


def count(layout: Layout) -> None:
    """A record of this layout was encoded in the plain way: make an encoder if that happens often."""
    encoding = layout.encoding
    encoding.uses += 1
    if encoding.uses == FREQUENT and _is_simple(layout):
        _compiled.append(layout)
        if sum(1 + len(each.ids) for each in _compiled) > IDS_LIMIT:
            for each in _compiled:
                each.encoding.forget()
            _compiled.clear()
            _io_class.cache_clear()
            _compiled.append(layout)
        encoding.encode = _compile(layout)


def _is_simple(layout: Layout) -> bool:
    """Whether each value has a name of its own, in the order of the layout."""
    return not layout.variable and len(layout.names) <= IDS and len(set(layout.names)) == len(layout.names)


def _compile(layout: Layout) -> Callable[[Record], bytes]:
    data, io = _data_class(layout.generation), _io_class(layout.names)
    if layout.exact:
        return _compile_exact(layout, data, io)
    first = layout.first

    def encode(record: Record) -> bytes:
        values, signed = published(record.values, record.layout.to_check)
        x, y = record.values[2] / DEGREE, record.values[3] / DEGREE
        head = (values[0], values[1], x, y, *values[4:first])
        return _encode(data(*head, io(*values[first:]), signed or UNSET))

    return encode


def _compile_exact(layout: Layout, data: Any, io: Any) -> Callable[[Record], bytes]:
    signed = [element for element in layout.to_check if not element.is_large]
    texts = {element.at for element in layout.to_check if element.is_large}
    numbers = [f"v[{at}] / degree" if at in (2, 3) else f"v[{at}]" for at in range(layout.first)]
    values = [f"str(v[{at}])" if at in texts else f"v[{at}]" for at in range(layout.first, layout.count)]
    below = [f"v[{element.at}] - {element.modulus}" for element in signed]
    signs = f", signed({', '.join(below)})" if below else ""
    made = f"data({', '.join(numbers)}, io({', '.join(values)}){signs})"
    known = {"to_json": _encode, "data": data, "io": io, "degree": DEGREE}
    known["signed"] = _io_class(tuple(element.name for element in signed))
    exec(f"def encode(record):\n    v = record.values\n    return to_json({made})", known)
    encode: Callable[[Record], bytes] = known["encode"]
    return encode


@lru_cache(maxsize=2)
def _data_class(generation: bool) -> Any:
    """The class of records. msgspec encodes what a field holds, whatever the type of the field is."""
    head = (*HEAD, "generation_type") if generation else HEAD
    fields: list[Any] = [*((name, float) for name in head), ("io", dict), ("signed", dict, UNSET)]
    return msgspec.defstruct("Data", fields, gc=False)


@cache
def _io_class(names: tuple[str, ...]) -> Any:
    """The class of values with these names, which are ids."""
    return msgspec.defstruct("Io", [(f"io{name}", int, msgspec.field(name=name)) for name in names], gc=False)


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

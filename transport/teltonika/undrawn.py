"""Reads a record whose layout is not drawn: with less work than to draw it.

The layout that it returns describes this one record. It has no names, and no other record can be read with
it: its struct, mask and skeleton are empty. No step of the work is a Python loop over the ids, because a
hostile device sends a thousand of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from struct import Struct
from typing import Any, TypeAlias

from fsm.record_data import SAFE_INTEGER

from .errors import Undecodable
from .layout import HEAD, LIMITS, MODULI, SHAPES, WIDTHS, Element, Encoding, Layout, check_room

UNDRAWN = 0
"""The codec of such a layout: records of no codec are packed with it."""
Read: TypeAlias = tuple[Layout, tuple[int, ...], int]
"""The layout of a record, its numbers, and the offset after them."""

ENCODING = Encoding()
"""Shared by all such layouts; `record_json` sets its encoder."""
_NOTHING = Struct("")
_HEADS = {
    codec: Struct(HEAD.format + WIDTHS[shape.id_size] + "B" * shape.generation + WIDTHS[shape.count_size])
    for codec, shape in SHAPES.items()
}
"""The fields of a record up to its IO total."""
_PAIRS: dict[tuple[int, int, int], Struct] = {}
"""Pairs of id and value: by size of the id, width of the value, and their number, which is a power of two."""


def read_undrawn(codec: int, body: bytes, at: int, end: int) -> Read:
    """Read the record at ``at``, without its variable part.

    Raises ``Undecodable`` if it reaches beyond ``end`` or its IO total is not the sum of its groups.
    """
    head, shape = _HEADS[codec], SHAPES[codec]
    size = shape.count_size
    check_room(at + head.size, end)
    *numbers, total = head.unpack_from(body, at)
    first = len(numbers)
    begin, at = at, at + head.size
    ids: list[int] = []
    widths: tuple[int, ...] = ()
    plain = numbers[0] <= SAFE_INTEGER
    for width in WIDTHS:
        count = int.from_bytes(body[at : at + size], "big")
        at += size
        if count:
            stop = at + count * (shape.id_size + width)
            check_room(stop, end)
            pairs = _read_pairs(shape.id_size, width, count, body, at)
            values = pairs[1::2]
            plain = plain and max(values) < LIMITS[width]
            ids += pairs[0::2]
            widths += (width,) * count
            numbers += values
            at = stop
    variable = 0
    if shape.variable:
        variable = int.from_bytes(body[at : at + size], "big")
        at += size
    check_room(at, end)
    if len(ids) + variable != total:
        raise Undecodable("io_total", f"A record declares {total} IO values but has {len(ids) + variable}.")
    layout = Layout(
        ids=tuple(ids),
        widths=widths,
        variable=variable,
        generation=shape.generation,
        codec=UNDRAWN,
        struct=_NOTHING,
        size=at - begin,
        mask=0,
        skeleton=0,
        first=first,
        names=(),
        to_check=() if plain else _to_check(ids, widths, first, numbers),
        plain_mask=0,
        encoding=ENCODING,
        plain=plain,
    )
    return layout, tuple(numbers), at


def with_names(layout: Layout) -> Layout:
    """A layout that is not drawn, with its ids as text."""
    to_check = tuple(element._replace(name=str(element.name)) for element in layout.to_check)
    return replace(layout, names=tuple(map(str, layout.ids)), to_check=to_check)


def _read_pairs(id_size: int, width: int, count: int, body: bytes, at: int) -> tuple[int, ...]:
    """So many pairs of id and value, as one tuple of numbers."""
    pairs: tuple[int, ...] = ()
    while count:
        some = 1 << count.bit_length() - 1
        struct = _PAIRS.get((id_size, width, some))
        if struct is None:
            struct = Struct(">" + (WIDTHS[id_size] + WIDTHS[width]) * some)
            _PAIRS[id_size, width, some] = struct
        pairs += struct.unpack_from(body, at)
        at += struct.size
        count -= some
    return pairs


def _to_check(
    ids: Sequence[Any], widths: tuple[int, ...], first: int, numbers: list[int]
) -> tuple[Element, ...]:
    """The values that are not plain, under numbers as ids. Of an id that occurs twice the last counts."""
    last = dict(zip(ids, range(first, len(numbers)), strict=True))
    return tuple(
        Element(number, at, LIMITS[width], MODULI[width])
        for at, (number, width) in enumerate(zip(ids, widths, strict=True), first)
        if numbers[at] >= LIMITS[width] and last[number] == at
    )

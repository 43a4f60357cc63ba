"""The shape of one AVL record: its IO ids, their widths, and their offsets.

A record describes itself: counts and ids are between the values. A device repeats few shapes, so a shape is
analysed once, and then one ``unpack_from`` reads a whole record. A shape is not trusted: before it is used,
all counts and ids of the record are compared with it, in one masked comparison of two integers.

The same comparison checks the values. A record is *plain* if each value is published as one number: no IO
value has its sign bit set, and no 8-byte number is above 2^53 - 1. Each shape has a layout for plain records,
and variants for records with certain of these bits set; a variant names the values that need a check. So the
JSON encoder checks no value of a plain record, and few values of other records.

A record begins with: timestamp (8), priority (1), longitude (4), latitude (4), altitude (2), angle (2),
satellites (1), speed (2). Then: event id, generation type (only codec 16), IO total, and for each width 1, 2,
4, 8 a count and that many pairs of id and value. Codec 8 Extended adds a count of variable-length values.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from struct import Struct
from typing import Any, NamedTuple, TypeAlias

from fsm.record_data import SAFE_INTEGER

from .errors import Undecodable
from .frame import CODEC_8, CODEC_8E, CODEC_16

HEAD = Struct(">QBiihHBH")
WIDTHS = {1: "B", 2: "H", 4: "I", 8: "Q"}
MODULI = {width: 256**width for width in WIDTHS}
"""By width in bytes: the count of different numbers."""
LIMITS = {width: 1 << min(8 * width - 1, SAFE_INTEGER.bit_length()) for width in WIDTHS}
"""By width in bytes: the least number that is not plain; a power of two."""
NOT_PLAIN = {width: (MODULI[width] - LIMITS[width]).to_bytes(width, "big") for width in WIDTHS}
"""By width in bytes: the bits that are zero in all plain numbers."""
Ids: TypeAlias = tuple[tuple[int, ...], tuple[int, ...], int]
"""IO ids and their widths in wire order, and the number of variable-length values."""


class Shape(NamedTuple):
    """What depends on the codec: size of ids (event id, too), size of counts, and extra fields."""

    id_size: int
    count_size: int
    generation: bool
    variable: bool

    @property
    def total_at(self) -> int:
        """Offset of the IO total in a record."""
        return HEAD.size + self.id_size + self.generation


# In the wiki's table of codec 16 the IO total has 2 bytes; in its example and in every known frame it has 1.
SHAPES = {
    CODEC_8: Shape(1, 1, generation=False, variable=False),
    CODEC_8E: Shape(2, 2, generation=False, variable=True),
    CODEC_16: Shape(2, 1, generation=True, variable=False),
}


class Element(NamedTuple):
    """An IO value: its id, its index in the unpacked values, the least value not plain, and 256 ** width."""

    name: str
    at: int
    limit: int
    modulus: int

    @property
    def is_large(self) -> bool:
        """Whether the value has more bits than the numbers of JavaScript."""
        return self.modulus > 2 * self.limit


class Encoding:
    """What `record_encoder` keeps of a layout.

    Attributes:
        uses: records that were encoded without an encoder.
        encode: makes the JSON of a record; None until the layout has occurred often.
    """

    __slots__ = ("encode", "uses")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """As if no record of the layout had been seen."""
        self.uses = 0
        self.encode: Callable[[Any], bytes] | None = None


@dataclass(slots=True, frozen=True)
class Layout:
    """One shape. Two layouts are equal if their records have the same fields, in whatever codec.

    ``ids`` and ``widths`` are in wire order, which is by width. ``variable`` is the number of variable-length
    values after the ``size`` bytes that the layout describes. ``skeleton`` is the record as one integer with
    all values zero. ``mask`` has the bits of counts and ids; ``plain_mask`` has also the bits that are zero
    in a plain record.
    """

    ids: tuple[int, ...]
    widths: tuple[int, ...]
    variable: int
    generation: bool
    codec: int = field(compare=False)
    struct: Struct = field(compare=False, repr=False)
    size: int = field(compare=False, repr=False)
    mask: int = field(compare=False, repr=False)
    skeleton: int = field(compare=False, repr=False)
    first: int = field(compare=False, repr=False)
    """Index of the first IO value among the unpacked values."""
    names: tuple[str, ...] = field(compare=False, repr=False)
    """The ids as decimal text; none if the layout is of one record only."""
    to_check: tuple[Element, ...] = field(compare=False, repr=False)
    """The values that may not be plain. For an id that occurs twice, the last one."""
    plain_mask: int = field(compare=False, repr=False)
    encoding: Encoding = field(compare=False, repr=False)
    plain: bool = field(default=False, compare=False)
    """Whether the record is known to be plain. If false, it may be plain or not."""
    exact: bool = field(default=False, compare=False)
    """Whether it is known how each number is published: each large value to check is text, any other value to
    check has its sign bit set, and all other numbers are plain."""

    @property
    def count(self) -> int:
        """How many numbers a record has."""
        return self.first + len(self.ids)


class _Drawing:
    """A layout under construction: its struct format, its constant bytes and their mask."""

    def __init__(self, shape: Shape) -> None:
        self.form = HEAD.format + WIDTHS[shape.id_size] + "B" * shape.generation
        self.constants = bytearray(shape.total_at)
        self.mask = bytearray(shape.total_at)
        self.notable = bytearray(NOT_PLAIN[8] + bytes(shape.total_at - 8))  # a record begins with its time

    def constant(self, number: int, size: int) -> None:
        self.form += f"{size}x"
        self.constants += number.to_bytes(size, "big")
        self.mask += b"\xff" * size
        self.notable += bytes(size)

    def values(self, ids: Sequence[int], id_size: int, width: int) -> None:
        """Pairs of id and value, without a Python loop: a hostile device sends shapes of a thousand ids."""
        self.form += f"{id_size}x{WIDTHS[width]}" * len(ids)
        self.constants += _pack_pairs(ids, id_size, width)
        self.mask += (b"\xff" * id_size + bytes(width)) * len(ids)
        self.notable += (bytes(id_size) + NOT_PLAIN[width]) * len(ids)


def _pack_pairs(ids: Sequence[int], id_size: int, width: int) -> bytes:
    """Pairs of id and value, with all values zero.

    Raises ``OverflowError`` if an id does not fit.
    """
    try:
        return Struct(">" + f"{WIDTHS[id_size]}{width}x" * len(ids)).pack(*ids)
    except struct.error as error:
        raise OverflowError(f"An id does not fit into {id_size} bytes: {error}.") from error


def draw_layout(codec: int, ids: tuple[int, ...], widths: tuple[int, ...], variable: int) -> Layout:
    """Return the layout of records of ``codec`` with these IO ids, in wire order.

    Raises ``OverflowError`` if an id or a count is too large for the codec.
    """
    plain = draw_plain(codec, ids, widths, variable)
    return replace(plain, plain=False, exact=False, to_check=elements_of(plain), encoding=Encoding())


def draw_plain(codec: int, ids: tuple[int, ...], widths: tuple[int, ...], variable: int) -> Layout:
    """`draw_layout`, for records that are known to be plain."""
    shape = SHAPES[codec]
    drawing = _Drawing(shape)
    drawing.constant(len(ids) + variable, shape.count_size)
    for width in WIDTHS:
        group = [number for number, wide in zip(ids, widths, strict=True) if wide == width]
        drawing.constant(len(group), shape.count_size)
        if group:
            drawing.values(group, shape.id_size, width)
    if shape.variable:
        drawing.constant(variable, shape.count_size)
    return _layout(codec, ids, widths, variable, drawing)


def _layout(
    codec: int, ids: tuple[int, ...], widths: tuple[int, ...], variable: int, drawing: _Drawing
) -> Layout:
    form = Struct(drawing.form)
    generation = SHAPES[codec].generation
    first = 10 if generation else 9
    return Layout(
        ids=ids,
        widths=widths,
        variable=variable,
        generation=generation,
        codec=codec,
        struct=form,
        size=form.size,
        mask=int.from_bytes(drawing.mask, "big"),
        skeleton=int.from_bytes(drawing.constants, "big"),
        first=first,
        names=tuple(map(str, ids)),
        to_check=(),
        plain_mask=int.from_bytes(drawing.mask, "big") | int.from_bytes(drawing.notable, "big"),
        encoding=Encoding(),
        plain=True,
        exact=True,
    )


def elements_of(layout: Layout) -> tuple[Element, ...]:
    """The IO values of a record; for an id that occurs twice, the last one."""
    names, widths = layout.names, layout.widths
    limits, moduli = map(LIMITS.__getitem__, widths), map(MODULI.__getitem__, widths)
    elements = map(Element._make, zip(names, count(layout.first), limits, moduli, strict=False))
    return tuple(dict(zip(names, elements, strict=True)).values())


def read_number(body: bytes, at: int, size: int, end: int) -> tuple[int, int]:
    """Return the unsigned integer of ``size`` bytes at ``at``, and the offset after it.

    Raises ``Undecodable`` if it extends beyond ``end``.
    """
    check_room(at + size, end)
    return int.from_bytes(body[at : at + size], "big"), at + size


def check_room(stop: int, end: int) -> None:
    """Raise ``Undecodable`` if a field that ends before ``stop`` extends beyond ``end``."""
    if stop > end:
        raise Undecodable("truncated", f"A record extends {stop - end} bytes beyond the end of its frame.")

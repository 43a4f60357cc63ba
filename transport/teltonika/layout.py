"""The shape of one AVL record: which IO ids it has, how wide each is, and where they lie.

A record is self-describing: counts and ids stand between the values. A device repeats the same few shapes for
ever, so a shape is worked out once and then reads a whole record with one ``unpack_from``. A shape is never
trusted: before it is used, every count and id of the record at hand is compared with it, in one masked
comparison of integers.

The same comparison looks at the values. A record is *plain* if each value is published as one number: no IO
value has its sign bit set, and no 8-byte number is above 2^53 - 1. Each shape has a layout for plain records,
and variants for records in which certain of these bits are set, which name the values to look at. So whoever
writes a record looks at no value of a plain one, and at few of any other.

Fixed head of a record: timestamp (8), priority (1), longitude (4), latitude (4), altitude (2), angle (2),
satellites (1), speed (2). Then: event id, generation type (codec 16 alone), total, and for each width 1, 2,
4, 8 a count and that many pairs of id and value. Codec 8 Extended adds a count of variable-length values.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from struct import Struct
from typing import NamedTuple, TypeAlias

from .errors import Undecodable
from .frame import CODEC_8, CODEC_8E, CODEC_16

HEAD = Struct(">QBiihHBH")
WIDTHS = {1: "B", 2: "H", 4: "I", 8: "Q"}
SAFE_INTEGER = 2**53 - 1
"""Largest integer that JavaScript reads exactly."""
LAYOUT_LIMIT = 4096
"""Shapes remembered per codec; a hostile device invents one per record."""
ID_LIMIT = 65536
"""IO ids in all remembered layouts of a codec. One id costs about 150 bytes."""
CANDIDATES = 8
"""Shapes that begin alike which are tried before a record is read count by count."""
VARIANTS = 16
"""Variants remembered of one shape; a device repeats a few sets of signs."""
VARIANT_COST = 4
"""What a variant counts against the limit of ids, beside its own."""

Ids: TypeAlias = tuple[tuple[int, ...], tuple[int, ...], int]
"""IO ids and their widths in wire order, and the number of variable-length values."""
Drawn: TypeAlias = "tuple[Layout, Layout, dict[int, Layout]]"
"""The layouts of one shape: of plain records, of any, and of those in which certain bits are set."""


class Shape(NamedTuple):
    """What a codec decides: size of ids (event id included), size of counts, and its extra fields."""

    id_size: int
    count_size: int
    generation: bool
    variable: bool

    @property
    def total_at(self) -> int:
        """Offset of the IO total in a record."""
        return HEAD.size + self.id_size + self.generation


# The wiki's table of codec 16 gives the total 2 bytes; its example and every known frame have 1.
SHAPES = {
    CODEC_8: Shape(1, 1, generation=False, variable=False),
    CODEC_8E: Shape(2, 2, generation=False, variable=True),
    CODEC_16: Shape(2, 1, generation=True, variable=False),
}


class Element(NamedTuple):
    """An IO value: its id, its index among those unpacked, the least that is not plain, and 256 ** width."""

    name: str
    at: int
    limit: int
    modulus: int


@dataclass(slots=True, frozen=True)
class Layout:
    """One shape. Two are equal if records of them have the same fields, whichever codec carries them.

    ``ids`` and ``widths`` are in wire order, that is by width. ``variable`` is the number of variable-length
    values that follow the ``size`` bytes described here. ``skeleton`` is the record as one integer with all
    values zero, ``mask`` has the bits of its counts and ids, ``plain_mask`` also those bits that a plain
    record has zero.
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
    """The ids as decimal text."""
    looked_at: tuple[Element, ...] = field(compare=False, repr=False)
    """The values that may not be plain. Of an id that comes twice it is the last."""
    plain_mask: int = field(compare=False, repr=False)
    plain: bool = field(default=False, compare=False)
    """Whether it was seen that the record is plain. Other layouts do not say that it is not."""


class _Drawing:
    """A layout under construction: its struct format, its constant bytes and their mask."""

    def __init__(self, shape: Shape) -> None:
        self.form = HEAD.format + WIDTHS[shape.id_size] + "B" * shape.generation
        self.constants = bytearray(shape.total_at)
        self.mask = bytearray(shape.total_at)
        self.notable = bytearray(_not_plain(8) + bytes(shape.total_at - 8))  # a record begins with its time

    def constant(self, number: int, size: int) -> None:
        self.form += f"{size}x"
        self.constants += number.to_bytes(size, "big")
        self.mask += b"\xff" * size
        self.notable += bytes(size)

    def value(self, width: int) -> None:
        self.form += WIDTHS[width]
        self.constants += bytes(width)
        self.mask += bytes(width)
        self.notable += _not_plain(width)


def _limit(width: int) -> int:
    """The least number of so many bytes that is not plain; a power of two."""
    return 1 << min(8 * width - 1, SAFE_INTEGER.bit_length())


def _not_plain(width: int) -> bytes:
    """The bits that all plain numbers of so many bytes have zero."""
    return ((1 << 8 * width) - _limit(width)).to_bytes(width, "big")


def draw_layout(codec: int, ids: tuple[int, ...], widths: tuple[int, ...], variable: int) -> Layout:
    """Return the layout of records of ``codec`` with these IO ids, in wire order.

    Raises ``OverflowError`` if an id or a count does not fit the codec.
    """
    shape = SHAPES[codec]
    drawing = _Drawing(shape)
    drawing.constant(len(ids) + variable, shape.count_size)
    for width in WIDTHS:
        group = [number for number, wide in zip(ids, widths, strict=True) if wide == width]
        drawing.constant(len(group), shape.count_size)
        for number in group:
            drawing.constant(number, shape.id_size)
            drawing.value(width)
    if shape.variable:
        drawing.constant(variable, shape.count_size)
    return _layout(codec, ids, widths, variable, drawing)


def _layout(
    codec: int, ids: tuple[int, ...], widths: tuple[int, ...], variable: int, drawing: _Drawing
) -> Layout:
    struct = Struct(drawing.form)
    generation = SHAPES[codec].generation
    first = 10 if generation else 9
    names = tuple(map(str, ids))
    elements = {
        name: Element(name, first + i, _limit(width), 256**width)
        for i, (name, width) in enumerate(zip(names, widths, strict=True))
    }
    return Layout(
        ids=ids,
        widths=widths,
        variable=variable,
        generation=generation,
        codec=codec,
        struct=struct,
        size=struct.size,
        mask=int.from_bytes(drawing.mask, "big"),
        skeleton=int.from_bytes(drawing.constants, "big"),
        first=first,
        names=names,
        looked_at=tuple(elements.values()),
        plain_mask=int.from_bytes(drawing.mask, "big") | int.from_bytes(drawing.notable, "big"),
    )


class LayoutCache:
    """The layouts of one codec seen lately.

    A record's layout is guessed by the bytes from its IO total up to its first id (or what stands in that
    place when there is no 1-byte value), all of which are constant in a layout; the full comparison follows.
    """

    __slots__ = ("_codec", "_drawn", "_from", "_guesses", "_ids", "_to")

    def __init__(self, codec: int) -> None:
        shape = SHAPES[codec]
        self._codec = codec
        self._from = shape.total_at
        self._to = shape.total_at + 2 * shape.count_size + shape.id_size
        self._guesses: dict[bytes, list[Drawn]] = {}
        self._drawn: dict[Ids, Drawn] = {}
        self._ids = 0

    def __len__(self) -> int:
        return len(self._drawn)

    @property
    def id_count(self) -> int:
        """IO ids in all layouts remembered."""
        return self._ids

    def find(self, body: bytes, at: int, end: int) -> Layout:
        """Return the layout of the record at ``at``, which lies before ``end``, variable part excepted.

        Raises ``Undecodable`` if counts and ids do not make a record.
        """
        for drawn in self._guesses.get(body[at + self._from : at + self._to], ()):
            plain, _, variants = drawn
            stop = at + plain.size
            if stop <= end:
                record = int.from_bytes(body[at:stop], "big")
                odd = record & plain.plain_mask ^ plain.skeleton
                if not odd:
                    return plain
                if not odd & plain.mask:
                    return variants.get(odd) or self._vary(drawn, odd, body, at)
        drawn = self._draw(read_ids(self._codec, body, at, end))
        alike = self._guesses.setdefault(body[at + self._from : at + self._to], [])
        alike.insert(0, drawn)
        del alike[CANDIDATES:]
        return self.find(body, at, end)

    def _vary(self, drawn: Drawn, odd: int, body: bytes, at: int) -> Layout:
        """The layout of records like the one at ``at``, in which the bits ``odd`` are set."""
        _, layout, variants = drawn
        if len(variants) >= VARIANTS:
            return layout
        self._count(len(layout.ids) + VARIANT_COST)
        values = layout.struct.unpack_from(body, at)
        few = tuple(element for element in layout.looked_at if values[element.at] >= element.limit)
        variants[odd] = replace(layout, looked_at=few)
        return variants[odd]

    def _draw(self, key: Ids) -> Drawn:
        drawn = self._drawn.get(key)
        if drawn is not None:
            return drawn
        layout = draw_layout(self._codec, *key)
        self._count(len(layout.ids))
        drawn = self._drawn[key] = (replace(layout, plain=True, looked_at=()), layout, {})
        return drawn

    def _count(self, ids: int) -> None:
        """A layout of so many ids is about to be remembered; all others are forgotten if that is too much."""
        self._ids += ids
        if self._ids > ID_LIMIT or len(self._drawn) >= LAYOUT_LIMIT:
            self._drawn.clear()
            self._guesses.clear()
            self._ids = ids


def read_ids(codec: int, body: bytes, at: int, end: int) -> Ids:
    """Return what the layout of the record at ``at`` follows from, count by count.

    Raises ``Undecodable`` if the record reaches beyond ``end`` or its IO total is not the sum of its groups.
    """
    shape = SHAPES[codec]
    total, at = read_number(body, at + shape.total_at, shape.count_size, end)
    ids: list[int] = []
    widths: list[int] = []
    for width in WIDTHS:
        count, at = read_number(body, at, shape.count_size, end)
        step = shape.id_size + width
        check_room(at + count * step, end)
        ids += [
            int.from_bytes(body[p : p + shape.id_size], "big") for p in range(at, at + count * step, step)
        ]
        widths += [width] * count
        at += count * step
    variable = read_number(body, at, shape.count_size, end)[0] if shape.variable else 0
    if len(ids) + variable != total:
        raise Undecodable("io_total", f"A record declares {total} IO values and has {len(ids) + variable}.")
    return tuple(ids), tuple(widths), variable


def read_number(body: bytes, at: int, size: int, end: int) -> tuple[int, int]:
    """Return the unsigned integer of ``size`` bytes at ``at``, and the offset after it.

    Raises ``Undecodable`` if it reaches beyond ``end``.
    """
    check_room(at + size, end)
    return int.from_bytes(body[at : at + size], "big"), at + size


def check_room(stop: int, end: int) -> None:
    """Raise ``Undecodable`` if a field that ends before ``stop`` reaches beyond ``end``."""
    if stop > end:
        raise Undecodable("truncated", f"A record reaches {stop - end} bytes beyond the end of its frame.")

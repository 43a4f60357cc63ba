"""The layouts of records seen lately, found again by a few bytes of a record.

A hostile device sends a shape that nobody has seen with every record. So the cache is bounded, and forgets
all at once when it is full; and to work a shape out costs no step of Python for each of its ids.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

from .layout import SHAPES, Element, Ids, Layout, draw_plain, elements_of, read_ids

LAYOUT_LIMIT = 4096
"""Shapes remembered per codec; a hostile device invents one per record."""
ID_LIMIT = 65536
"""IO ids in all remembered layouts of a codec. One id costs about 150 bytes."""
CANDIDATES = 8
"""Shapes that begin alike which are tried before a record is read count by count."""
VARIANTS = 16
"""Variants remembered of one shape; a device repeats a few sets of signs."""
ANY = 0
"""The key of the variant for whatever bits are set; none is set in plain records only."""
VARIANT_COST = 4
"""What a variant counts against the limit of ids, beside its own."""

Drawn: TypeAlias = "tuple[Layout, dict[int, Layout]]"
"""The layouts of one shape: of plain records, and of those in which certain bits are set (0: any bits)."""


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
            plain, variants = drawn
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
        plain, variants = drawn
        layout = variants.get(ANY) or self._remember(plain, variants, ANY, elements_of(plain))
        if len(variants) > VARIANTS:
            return layout
        values = plain.struct.unpack_from(body, at)
        few = tuple(element for element in layout.looked_at if values[element.at] >= element.limit)
        return self._remember(plain, variants, odd, few)

    def _remember(
        self, plain: Layout, variants: dict[int, Layout], odd: int, looked_at: tuple[Element, ...]
    ) -> Layout:
        self._count(len(plain.ids) + VARIANT_COST)
        variants[odd] = replace(plain, plain=False, looked_at=looked_at)
        return variants[odd]

    def _draw(self, key: Ids) -> Drawn:
        drawn = self._drawn.get(key)
        if drawn is not None:
            return drawn
        plain = draw_plain(self._codec, *key)
        self._count(len(plain.ids))
        drawn = self._drawn[key] = (plain, {})
        return drawn

    def _count(self, ids: int) -> None:
        """A layout of so many ids is about to be remembered; all others are forgotten if that is too much."""
        self._ids += ids
        if self._ids > ID_LIMIT or len(self._drawn) >= LAYOUT_LIMIT:
            self._drawn.clear()
            self._guesses.clear()
            self._ids = ids

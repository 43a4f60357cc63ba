"""A cache of the layouts of recent records; a few bytes of a record are the key.

A hostile device can send a new shape with every record, and to draw a layout is several times the work of
reading one record without it (`undrawn`). So a layout is drawn when its shape has been seen `SIGHTINGS`
times: by then the reading has cost more than the drawing does. Whatever shapes come, the work is less than
twice that without layouts, and a shape that is repeated costs little soon. All that is remembered is
bounded, and is emptied when it is full.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

from fsm.record_data import SAFE_INTEGER

from .layout import SHAPES, Element, Encoding, Ids, Layout, draw_plain, elements_of
from .undrawn import Read, read_undrawn

SIGHTINGS = 8
"""Records of a shape that are read before its layout is drawn."""
LAYOUT_LIMIT = 4096
"""Shapes per codec at most."""
ID_LIMIT = 65536
"""IO ids in all layouts of a codec at most. One id costs about 150 bytes."""
CANDIDATES = 8
"""Shapes with the same key that are tried before a record is analysed."""
VARIANTS = 16
"""Variants of one shape at most; a device repeats few combinations of sign bits."""
ANY = 0
"""The key of the variant for any bits. No other variant can have it: only plain records have no bit set."""
VARIANT_COST = 4
"""What a variant adds to the count of ids, besides its ids."""

Drawn: TypeAlias = "tuple[Layout, dict[int, Layout]]"
"""The layouts of one shape: for plain records, and for records with certain bits set (0: any bits)."""


class LayoutCache:
    """The recent layouts of one codec.

    The key is the bytes from the IO total to the first id (or to the bytes at that offset if there is no
    1-byte value). All of these are constant in a layout. The full comparison follows.
    """

    __slots__ = ("_codec", "_drawn", "_from", "_guesses", "_ids", "_sighted", "_to")

    def __init__(self, codec: int) -> None:
        shape = SHAPES[codec]
        self._codec = codec
        self._from = shape.total_at
        self._to = shape.total_at + 2 * shape.count_size + shape.id_size
        self._guesses: dict[bytes, list[Drawn]] = {}
        self._drawn: dict[Ids, Drawn] = {}
        self._sighted: dict[int, int] = {}  # the hash of a shape that is not drawn -> how often it was seen
        self._ids = 0

    def __len__(self) -> int:
        return len(self._drawn)

    @property
    def id_count(self) -> int:
        """IO ids in all layouts of the cache."""
        return self._ids

    def find(self, body: bytes, at: int, end: int) -> Layout | None:
        """Return the layout of the record at ``at``, which ends before ``end`` without its variable part.

        If there is none, the caller has to ``read`` the record.
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
        return None

    def read(self, body: bytes, at: int, end: int) -> Read:
        """Read a record that ``find`` has no layout for, and count its shape.

        Raises ``Undecodable`` if counts and ids are not those of a record.
        """
        found = read_undrawn(self._codec, body, at, end)
        layout = found[0]
        ids = layout.ids, layout.widths, layout.variable
        if ids in self._drawn or self._is_frequent(hash(ids)):
            drawn = self._draw(ids)
            alike = self._guesses.setdefault(body[at + self._from : at + self._to], [])
            alike.insert(0, drawn)
            del alike[CANDIDATES:]
        return found

    def _is_frequent(self, shape: int) -> bool:
        """Whether a shape that is not drawn was seen so often that it should be."""
        sightings = self._sighted.pop(shape, 0) + 1
        if sightings >= SIGHTINGS:
            return True
        if len(self._sighted) >= LAYOUT_LIMIT:
            self._sighted.clear()
        self._sighted[shape] = sightings
        return False

    def _vary(self, drawn: Drawn, odd: int, body: bytes, at: int) -> Layout:
        """The layout of records with the shape of the one at ``at`` and the bits ``odd`` set."""
        plain, variants = drawn
        layout = variants.get(ANY) or self._remember(drawn, ANY, elements_of(plain))
        if len(variants) > VARIANTS:
            return layout
        values = plain.struct.unpack_from(body, at)
        few = tuple(element for element in layout.to_check if values[element.at] >= element.limit)
        exact = values[0] <= SAFE_INTEGER and not any(
            element.is_large and 2 * values[element.at] >= element.modulus for element in few
        )
        return self._remember(drawn, odd, few, exact=exact)

    def _remember(
        self, drawn: Drawn, odd: int, to_check: tuple[Element, ...], *, exact: bool = False
    ) -> Layout:
        plain, variants = drawn
        self._count(len(plain.ids) + VARIANT_COST)
        variants[odd] = replace(plain, plain=False, exact=exact, to_check=to_check, encoding=Encoding())
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
        """Count a layout of so many ids that is added next; empty the cache first if that is too much."""
        self._ids += ids
        if self._ids > ID_LIMIT or len(self._drawn) >= LAYOUT_LIMIT:
            self._drawn.clear()
            self._guesses.clear()
            self._ids = ids

"""AVL frames, the telemetry of a device: codecs 8, 8 Extended and 16.

    codec | record count | records | record count

A record is decoded as it was sent. Implausible values (248 satellites, a time in 2004, priority 3) come from
real devices and are kept. A device without a GNSS fix repeats its last position with 0 satellites.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache

from msgspec import Struct

from .errors import Undecodable
from .frame import CODEC_8E, CODEC_16, encode_frame
from .layout import SHAPES, WIDTHS, Layout, check_room, draw_layout, read_number
from .layout_cache import LayoutCache

DEGREE = 10_000_000
"""Units of a raw coordinate in one degree."""
RECORDS_LIMIT = 255

_ACKS = [count.to_bytes(4, "big") for count in range(RECORDS_LIMIT + 1)]
_caches = {codec: LayoutCache(codec) for codec in SHAPES}
_draw = lru_cache(maxsize=1024)(draw_layout)


class Record(Struct, gc=False):
    """One AVL record. It is immutable; ``Record.of`` builds one.

    It keeps the result of one ``unpack_from`` and the layout that gives each number its meaning; records of
    the same shape share a layout. The properties read from both. ``variable`` holds the variable-length
    values of codec 8 Extended as pairs of id and bytes.
    """

    layout: Layout
    values: tuple[int, ...]
    variable: tuple[tuple[int, bytes], ...] = ()

    @classmethod
    def of(
        cls,
        *,
        timestamp: int,
        priority: int = 0,
        longitude: float = 0.0,
        latitude: float = 0.0,
        altitude: int = 0,
        angle: int = 0,
        satellites: int = 0,
        speed: int = 0,
        event_id: int = 0,
        generation_type: int | None = None,
        io: Mapping[int, tuple[int, int] | bytes] | None = None,
    ) -> Record:
        """Return a record with these fields; ``io`` maps an id to ``(width, value)`` or to bytes.

        Units are those of the properties. A record with a generation type is one for codec 16. Raises
        ``ValueError`` for a width other than 1, 2, 4 and 8; other ranges are checked at encoding.
        """
        given = io or {}
        variable = tuple((number, value) for number, value in given.items() if isinstance(value, bytes))
        fixed = [(number, *value) for number, value in given.items() if not isinstance(value, bytes)]
        fixed.sort(key=lambda element: element[1])  # the wire has groups by width; the sort is stable
        codec = CODEC_8E if generation_type is None else CODEC_16
        head = (timestamp, priority, round(longitude * DEGREE), round(latitude * DEGREE), altitude, angle)
        tail = (
            (satellites, speed, event_id)
            if generation_type is None
            else (satellites, speed, event_id, generation_type)
        )
        layout = _fit(codec, tuple(e[0] for e in fixed), tuple(e[1] for e in fixed), len(variable))
        return cls(layout, (*head, *tail, *(e[2] for e in fixed)), variable)

    @property
    def timestamp(self) -> int:
        """Milliseconds since 1970, UTC, by the clock of the device."""
        return self.values[0]

    @property
    def priority(self) -> int:
        """0 low, 1 high, 2 panic. Other numbers occur."""
        return self.values[1]

    @property
    def longitude_raw(self) -> int:
        """Longitude in units of 1e-7 degree, west negative."""
        return self.values[2]

    @property
    def latitude_raw(self) -> int:
        """Latitude in units of 1e-7 degree, south negative."""
        return self.values[3]

    @property
    def longitude(self) -> float:
        """Longitude in degrees, exact to its seven decimals."""
        return self.values[2] / DEGREE

    @property
    def latitude(self) -> float:
        """Latitude in degrees, exact to its seven decimals."""
        return self.values[3] / DEGREE

    @property
    def altitude(self) -> int:
        """Metres above sea level, signed: a device 4 m below sea level sends 0xFFFC."""
        return self.values[4]

    @property
    def angle(self) -> int:
        """Degrees clockwise from north."""
        return self.values[5]

    @property
    def satellites(self) -> int:
        """Satellites in view; 0 means that the position is not current."""
        return self.values[6]

    @property
    def speed(self) -> int:
        """Kilometres per hour."""
        return self.values[7]

    @property
    def event_id(self) -> int:
        """The IO id whose change caused the record; 0 if none did."""
        return self.values[8]

    @property
    def generation_type(self) -> int | None:
        """Why the device made the record; only in codec 16, else ``None``.

        0 exit, 1 entrance, 2 both, 4 hysteresis, 5 change, 6 eventual, 7 periodical. Other numbers occur.
        """
        return self.values[9] if self.layout.generation else None

    @property
    def io(self) -> dict[int, int | bytes]:
        """IO id to value: an unsigned integer, or bytes if its length is variable.

        The AVL ID list of the device says whether an integer is signed, and its unit. If a record has an id
        more than once, the last value counts.
        """
        io: dict[int, int | bytes] = dict(zip(self.layout.ids, self.values[self.layout.first :], strict=True))
        io.update(self.variable)
        return io

    @property
    def io_width(self) -> dict[int, int]:
        """IO id to the size of its value in bytes. Of a repeated id the last value counts, as in ``io``."""
        widths = dict(zip(self.layout.ids, self.layout.widths, strict=True))
        widths.update((number, len(value)) for number, value in self.variable)
        return widths


def decode_avl(body: bytes) -> list[Record]:
    """Return the records in ``body`` (codec id to second count, CRC already checked), in their order.

    Raises ``Undecodable`` if the codec is not an AVL codec, the counts are 0 or differ, an IO total is not
    the sum of its groups, or the records do not fill the body exactly. A frame of 0 records is refused: no
    known device sends one, and the acknowledgement 0 means "send again".
    """
    end = len(body) - 1
    if end < 2:
        raise Undecodable("truncated", f"An AVL frame has at least 3 bytes; this one has {len(body)}.")
    cache = _caches.get(body[0])
    if cache is None:
        raise Undecodable("codec", f"Codec {body[0]:#04x} is not one of the AVL codecs 8, 8 Extended and 16.")
    count = body[1]
    if count != body[end] or not count:
        raise Undecodable("count", f"The record count is {count} at the start and {body[end]} at the end.")
    return _records(cache, body, count, end)


def _records(cache: LayoutCache, body: bytes, count: int, end: int) -> list[Record]:
    records = []
    at = 2
    for _ in range(count):
        layout = cache.find(body, at, end)
        if layout is None:
            layout, values, at = cache.read(body, at, end)
        else:
            values = layout.struct.unpack_from(body, at)
            at += layout.size
        if layout.variable:
            variable, at = _read_variable(body, at, end, layout.variable)
            records.append(Record(layout, values, variable))
        else:
            records.append(Record(layout, values))
    if at != end:
        raise Undecodable("trailing", f"{end - at} bytes are left after the last of {count} records.")
    return records


def _read_variable(body: bytes, at: int, end: int, count: int) -> tuple[tuple[tuple[int, bytes], ...], int]:
    """Return ``count`` variable-length values and the offset after them.

    Each is id (2), length (2) and bytes; real devices send the length 0.
    """
    values = []
    for _ in range(count):
        number, at = read_number(body, at, 2, end)
        length, at = read_number(body, at, 2, end)
        check_room(at + length, end)
        values.append((number, body[at : at + length]))
        at += length
    return tuple(values), at


def encode_avl(codec: int, records: Sequence[Record]) -> bytes:
    """Return the frame in which a device sends 1 to 255 ``records``.

    Raises ``ValueError`` for another codec or count, a number that does not fit into its field, or a record
    with fields that the codec does not have (for codec 16: without a generation type).
    """
    if codec not in SHAPES:
        raise ValueError(f"Codec {codec:#04x} is not an AVL codec.")
    if not 1 <= len(records) <= RECORDS_LIMIT:
        raise ValueError(f"An AVL frame has 1 to {RECORDS_LIMIT} records, not {len(records)}.")
    count = bytes((len(records),))
    packed = b"".join([_pack(codec, record) for record in records])
    return encode_frame(b"".join((bytes((codec,)), count, packed, count)))


def encode_ack(count: int) -> bytes:
    """Return the acknowledgement of ``count`` records. After another number a device sends them again."""
    return _ACKS[count]


def _pack(codec: int, record: Record) -> bytes:
    layout = record.layout
    if layout.codec != codec:
        layout = _fit(codec, layout.ids, layout.widths, layout.variable)
    if layout.generation != record.layout.generation or (record.variable and not SHAPES[codec].variable):
        raise ValueError(f"Codec {codec:#04x} cannot carry this record: it has other fields.")
    try:
        packed = layout.struct.pack(*record.values)
    except struct.error as error:
        raise ValueError(f"A number of the record does not fit into its field: {error}.") from error
    # `pack` leaves zeros for counts and ids.
    whole = int.from_bytes(packed, "big") | layout.skeleton
    return b"".join((whole.to_bytes(layout.size, "big"), *map(_pack_variable, record.variable)))


def _pack_variable(element: tuple[int, bytes]) -> bytes:
    number, value = element
    return number.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value


def _fit(codec: int, ids: tuple[int, ...], widths: tuple[int, ...], variable: int) -> Layout:
    if not set(widths) <= WIDTHS.keys():
        raise ValueError(f"IO values are {', '.join(map(str, WIDTHS))} bytes wide, or of variable length.")
    try:
        return _draw(codec, ids, widths, variable)
    except OverflowError as error:
        raise ValueError(f"Codec {codec:#04x} cannot carry these IO ids or so many of them.") from error

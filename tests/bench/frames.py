"""Frames of records as devices send them: 20 IO values of all widths in each record."""

from __future__ import annotations

from transport.teltonika.avl import Record, encode_avl
from transport.teltonika.frame import CODEC_8, CODEC_8E, CODEC_16

CODECS = {"8": CODEC_8, "8E": CODEC_8E, "16": CODEC_16}
SIZES = (1, 5, 20)
"""Records of a frame."""
FRAMES = 64
"""Different frames that are read in turn."""
START = 1_767_225_600_000
WIDTHS = (1,) * 8 + (2,) * 6 + (4,) * 4 + (8,) * 2
IMEI = b"356307042441013"


def frames(codec: str, size: int) -> list[bytes]:
    """Frames of that codec with so many records each."""
    return [
        encode_avl(CODECS[codec], [record(codec, number * size + place) for place in range(size)])
        for number in range(FRAMES)
    ]


def bodies(codec: str, size: int) -> list[bytes]:
    """The same without preamble, length and checksum."""
    return [frame[8:-4] for frame in frames(codec, size)]


def record(codec: str, number: int) -> Record:
    """A record of a device that drives on."""
    return Record.of(
        timestamp=START + 1000 * number,
        longitude=25.3 + number / 1e5,
        latitude=54.7,
        altitude=120,
        angle=number % 360,
        satellites=11,
        speed=60,
        generation_type=5 if codec == "16" else None,
        io={1 + 7 * place: (width, (number + place) % 128) for place, width in enumerate(WIDTHS)},
    )

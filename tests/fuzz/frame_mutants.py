"""Mutants that know the form: lengths and checksums are made right again, so that what is within is read."""

from __future__ import annotations

from random import Random

from tests.fuzz import protocol
from tests.fuzz.mutations import Pool, edge, mutate, some_bytes
from tests.fuzz.protocol import Record, Refused
from tests.wire_format import frame, hello

AVL, MESSAGES = (0x08, 0x8E, 0x10), (12, 13, 14, 15)
IMEI = "352093081452251"
WIDTHS = (1, 2, 4, 8)
IDS = (0, 1, 2, 21, 66, 239, 240, 255, 256, 385, 65535)


def avl(random: Random, data: bytes, pool: Pool) -> bytes:
    """A body of telemetry: built anew, of records of others, or with its second count made right."""
    choice = random.random()
    if choice < 0.3:
        return _lie(random, avl_body(random))
    if choice < 0.55:
        return _lie(random, _regrouped(random, data, pool))
    data = mutate(random, data, pool)
    return data if choice > 0.8 or len(data) < 3 else data[:-1] + data[1:2]


def avl_body(random: Random, codec: int | None = None) -> bytes:
    """Records of any IO values."""
    count = random.choice((1, 1, 1, 2, 3, 5))
    return protocol.spell_avl(codec or random.choice(AVL), [record(random) for _ in range(count)])


def record(random: Random) -> Record:
    """A record whose numbers lie at edges."""
    names = ("timestamp", "priority", "longitude", "latitude", "altitude", "angle", "satellites", "speed")
    made = Record({name: edge(random, 8) for name in (*names, "event_id", "generation_type")})
    for width in WIDTHS:
        for _ in range(random.choice((0, 0, 1, 1, 2, 3, 12))):
            made.io.append((random.choice(IDS), width, edge(random, width)))
    for _ in range(random.choice((0, 0, 1, 3))):
        made.variable.append((random.choice(IDS), some_bytes(random, 24)))
    return made


def _regrouped(random: Random, data: bytes, pool: Pool) -> bytes:
    """Records of `data` and of another body, each perhaps changed a little, in one frame."""
    records: list[Record] = []
    codec = random.choice(AVL)
    for body in (data, random.choice(pool)):
        try:
            found = protocol.read_avl(body)
        except Refused:
            continue
        codec = body[0]
        records += random.choices(found, k=random.choice((1, 1, 2, 3)))
    for one in random.sample(records, len(records) // 2):
        _touch(random, one)
    return protocol.spell_avl(codec, records or [record(random)])


def _touch(random: Random, one: Record) -> None:
    name = random.choice(list(one.numbers))
    one.numbers[name] = edge(random, 8)
    if one.io:
        at = random.randrange(len(one.io))
        number, width, _ = one.io[at]
        one.io[at] = (random.choice((number, *IDS)), width, edge(random, width))
        if random.random() < 0.2:
            one.io.insert(at, one.io[at])  # the same id twice


def _lie(random: Random, body: bytes) -> bytes:
    """Sometimes one byte is not what it should be."""
    if random.random() < 0.6:
        return body
    at = random.randrange(len(body))
    changed = (body[at] + random.choice((-1, 1, 1, 16, 128))) % 256
    body = body[:at] + bytes([changed]) + body[at + 1 :]
    return body if random.random() < 0.5 else body[:-1] + body[1:2]


def message(random: Random, data: bytes, pool: Pool) -> bytes:
    """A body of a message: with the sizes made right, built anew, or as chance has it."""
    choice = random.random()
    if choice < 0.3:
        return message_body(random)
    data = mutate(random, data, pool)
    if choice < 0.7 and len(data) >= 8:
        return protocol.spell_message(data[0], data[2], data[7:-1])
    return data


def message_body(random: Random) -> bytes:
    """A message of any codec, type and text."""
    text = random.choice((b"", b"getinfo", b"DI1:1 AI1:\r\n0", b"[/b]\x1b[31m", some_bytes(random, 40)))
    stamp = random.choice((b"", random.randbytes(4), random.randbytes(8)))
    bcd = random.choice((b"", bytes.fromhex("0" + IMEI), random.randbytes(8)))
    kind = random.choice((5, 6, 6, 6, 0x11, 0x0D, 0x0B, edge(random, 1)))
    codec, content = random.choice((12, 12, 12, 14, 14, 13, 15)), stamp + bcd + text
    if random.random() < 0.3:
        more = [
            (random.choice((kind, 6)), random.choice((content, text))) for _ in range(random.randint(0, 4))
        ]
        return protocol.spell_messages(codec, (kind, content), *more)
    return protocol.spell_message(codec, kind, content)


def stream(random: Random, data: bytes, pool: Pool) -> bytes:
    """A stream of frames: its parts changed, exchanged, repeated, and framed again."""
    if random.random() < 0.1:
        return mutate(random, data, pool)
    parts = protocol.read_frames(data)
    pieces = parts.spans + ([parts.rest] if parts.rest else [])
    for _ in range(random.choice((1, 1, 2, 3, 6))):
        at = random.randint(0, len(pieces))
        pieces[at : at + random.choice((0, 0, 1))] = [_piece(random, pieces[at : at + 1], pool)]
    return b"".join(pieces)


def _piece(random: Random, old: list[bytes], pool: Pool) -> bytes:
    choice = random.random()
    if choice < 0.25 and old:
        return frame(mutate(random, old[0][8:-4], pool))
    if choice < 0.45:
        return frame(avl(random, avl_body(random), [avl_body(random)]))
    if choice < 0.7:
        return frame(message_body(random))
    if choice < 0.85:
        other = protocol.read_frames(random.choice(pool)).spans
        return random.choice(other) * random.choice((1, 1, 2, 9)) if other else b""
    if choice < 0.9:
        return b"\xff" * random.choice((1, 1, 2, 80))
    if choice < 0.94:
        return _spoilt(random, frame(message_body(random))) * random.choice((1, 1, 8))
    if choice < 0.97:
        return mutate(random, frame(some_bytes(random)), pool)
    if choice < 0.98:
        return _large(random)
    return random.choice((b"\x00", b"\x16\x03", hello(IMEI), b"GET /"))


def _spoilt(random: Random, whole: bytes) -> bytes:
    """A frame with one byte of its body or its checksum changed."""
    at = random.randrange(8, len(whole))
    return whole[:at] + bytes([whole[at] ^ 1 << random.randrange(8)]) + whole[at + 1 :]


def _large(random: Random) -> bytes:
    """A frame as long as frames may be, or a little longer, or the beginning of one."""
    length = random.choice((4095, 4096, 4097, 65_535, 65_536, 65_537, edge(random, 4)))
    codec = random.choice((*AVL, *MESSAGES, 0x07))
    body = bytes([codec]) * min(length, 65_537)
    whole = bytes(4) + length.to_bytes(4, "big") + frame(body)[8:]
    return whole if random.random() < 0.4 else whole[: random.choice((8, 9, 100))]


def handshake(random: Random, data: bytes, pool: Pool) -> bytes:
    """The first bytes of a connection."""
    choice = random.random()
    if choice < 0.2:
        return b"\xff" * random.choice((1, 2, 63, 64, 65, 200)) + data
    if choice < 0.4:
        return (
            random.choice((b"\x16", b"GET /", hello(IMEI[:-1]), hello(IMEI + "0"), frame(b"\x08\0\0"))) + data
        )
    return mutate(random, data, pool)


def connection(random: Random, data: bytes, pool: Pool) -> bytes:
    """A connection: the weather it meets (4 bytes), its handshake, and its stream."""
    weather, first, rest = data[:4], data[4:21], data[21:]
    if random.random() < 0.6:
        weather = random.randbytes(4)
    if random.random() < 0.02:
        first = handshake(random, first, [other[4:21] for other in pool])
    if random.random() < 0.9:
        rest = stream(random, rest, [other[21:] for other in pool])
    return weather.ljust(4, b"\0") + first + rest

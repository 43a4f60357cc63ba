"""Bytes changed at random: flips, cuts, copies, splices, and the numbers at which readers go wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

MOST = 16_384
"""Bytes a mutant may have; the largest frames are made on purpose, not grown."""

EDGES = (
    *(
        0,
        1,
        2,
        3,
        4,
        5,
        7,
        8,
        9,
        11,
        12,
        13,
        14,
        15,
        16,
        17,
        30,
        32,
        63,
        64,
        65,
        127,
        128,
        142,
        254,
        255,
        256,
    ),
    *(512, 513, 1280, 4095, 4096, 4097, 8192, 32767, 32768, 65535, 65536, 65537, 2**24, 2**31 - 1, 2**31),
    *(2**32 - 1, 2**32, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1),
)

Pool = Sequence[bytes]
Mutation = Callable[[Random, bytes, Pool], bytes]


def mutate(random: Random, data: bytes, pool: Pool) -> bytes:
    """`data` after one to a few changes; parts may come from `pool`."""
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 5, 8))):
        data = random.choice(_MUTATIONS)(random, data, pool)[:MOST]
    return data


def edge(random: Random, size: int) -> int:
    """A number of `size` bytes, most likely one at an edge."""
    if random.random() < 0.3:
        return random.randrange(256**size)
    return (random.choice(EDGES) + random.choice((0, 0, 0, -1, 1))) % 256**size


def some_bytes(random: Random, most: int = 16) -> bytes:
    """Bytes of any kind, sometimes all alike."""
    size = random.randint(0, most)
    return random.randbytes(size) if random.random() < 0.7 else bytes([random.choice((0, 1, 255))]) * size


def _place(random: Random, data: bytes) -> int:
    return random.randint(0, len(data))


def _slice(random: Random, data: bytes) -> tuple[int, int]:
    start = _place(random, data)
    return start, min(len(data), start + random.choice((1, 1, 2, 4, 8, random.randint(1, 64))))


def _flip(random: Random, data: bytes, pool: Pool) -> bytes:
    if not data:
        return data
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]


def _poke(random: Random, data: bytes, pool: Pool) -> bytes:
    at = _place(random, data)
    return data[:at] + bytes([edge(random, 1)]) + data[at + 1 :]


def _number(random: Random, data: bytes, pool: Pool) -> bytes:
    at, size = _place(random, data), random.choice((1, 2, 4, 8))
    return data[:at] + edge(random, size).to_bytes(size, "big") + data[at + size :]


def _nudge(random: Random, data: bytes, pool: Pool) -> bytes:
    at, size = _place(random, data), random.choice((1, 2, 4))
    near = int.from_bytes(data[at : at + size], "big") + random.choice((-2, -1, 1, 2))
    return data[:at] + (near % 256**size).to_bytes(size, "big") + data[at + size :]


def _cut(random: Random, data: bytes, pool: Pool) -> bytes:
    start, end = _slice(random, data)
    return data[:start] + data[end:]


def _insert(random: Random, data: bytes, pool: Pool) -> bytes:
    at = _place(random, data)
    return data[:at] + some_bytes(random) + data[at:]


def _repeat(random: Random, data: bytes, pool: Pool) -> bytes:
    start, end = _slice(random, data)
    return data[:end] + data[start:end] * random.choice((1, 1, 2, 7, 40)) + data[end:]


def _exchange(random: Random, data: bytes, pool: Pool) -> bytes:
    (a, b), (c, d) = sorted((_slice(random, data), _slice(random, data)))
    b = min(b, c)
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def _truncate(random: Random, data: bytes, pool: Pool) -> bytes:
    return data[: _place(random, data)]


def _splice(random: Random, data: bytes, pool: Pool) -> bytes:
    other = random.choice(pool)
    return data[: _place(random, data)] + other[_place(random, other) :]


def _borrow(random: Random, data: bytes, pool: Pool) -> bytes:
    other, at = random.choice(pool), _place(random, data)
    start, end = _slice(random, other)
    return data[:at] + other[start:end] + data[at:]


_MUTATIONS: tuple[Mutation, ...] = (
    *(_flip, _flip, _poke, _poke, _number, _number, _nudge, _cut, _cut, _insert),
    *(_repeat, _exchange, _truncate, _splice, _borrow),
)

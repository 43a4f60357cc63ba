"""Replies of Redis of which one part is another: as of a server, or a version of it, that nobody knows."""

from __future__ import annotations

from random import Random
from typing import Any

import hiredis

from tests.store.resp import spell

PARTS: tuple[Any, ...] = (
    *(None, 0, 7, -1, 2**62, "OK"),
    *(b"", b"x", b"0-0", b"12", b"1-1-1", b"\xff\xfe"),
    *([], [None], [1], [[]], [b"a", b"b"]),
    *(Exception("ERR odd"), Exception("BUSY wait"), Exception("odd words")),
)


def distorted(reply: Any, random: Random) -> bytes:
    """A parsed `reply` as bytes, with one part missing, too many, or of another kind."""
    return spell(_distort(_plain(reply), random))


def _plain(reply: Any) -> Any:
    if isinstance(reply, list):
        return [_plain(part) for part in reply]
    return Exception(str(reply)) if isinstance(reply, hiredis.ReplyError) else reply


def _distort(reply: Any, random: Random) -> Any:
    if not isinstance(reply, list) or not reply or random.random() < 0.2:
        return random.choice(PARTS)
    parts, place = list(reply), random.randrange(len(reply))
    match random.randrange(6):
        case 0:
            del parts[place]
        case 1:
            parts.insert(place, random.choice(PARTS))
        case _:
            parts[place] = _distort(parts[place], random)
    return parts

"""Trimming of streams: unread entries are kept as long as the caps allow.

What goes when a stream is above a cap, in this order:

1. entries that every group has acknowledged, the oldest first;
2. entries that no command asked for (`store.streams.unasked`), read or not, the oldest first: anybody who can
   connect causes these, so they must not push out any other entry that is not read yet;
3. the oldest of all others.

Redis removes entries from the head of a stream only, and it does not know their kinds. So those of the second
step are deleted one by one, by the ids that their writers keep in an index.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from store.client.errors import StoreRefused
from store.streams.entry_ids import LAST, ORIGIN, EntryId, read_id, spell, successor
from store.streams.unasked import Unasked

STEP = 100_000
"""Entries that one XTRIM may remove: a longer call would block every other client of the server."""

_HEAD = 1000


@dataclass(slots=True, frozen=True)
class Trimmed:
    """What a trim removed.

    Attributes:
        entries: all of them.
        unread: of these, how many some group had not acknowledged.
        unasked: how many more were removed that no command asked for and some group had not acknowledged.
    """

    entries: int = 0
    unread: int = 0
    unasked: int = 0


async def trim_stream(
    client: Redis,
    key: str,
    maxlen: int,
    retention_ms: int,
    now_ms: int,
    *,
    oldest: EntryId = ORIGIN,
    unasked: Unasked | None = None,
) -> Trimmed:
    """Remove what is older than the retention and acknowledged by every group; the caps win over both.

    Whole nodes are removed (about 100 entries), so a few more entries than asked for stay.

    Args:
        maxlen: entries the stream may hold.
        retention_ms: entries younger than this stay, unless a cap removes them.
        now_ms: epoch ms by the clock of Redis, which the ids of entries carry.
        oldest: entries below this id are above the cap in bytes.
        unasked: the entries that no command asked for, if the stream has such.

    Raises:
        StoreError: a call failed; what was removed until then stays removed.
    """
    floor = await _unread_from(client, key)
    age = (max(0, now_ms - retention_ms), 0)
    removed = await _trim(client, key, minid=spell(min(max(age, oldest), floor)))
    lost = await unasked.trim(floor) if unasked else 0
    if (excess := await client.xlen(key) - maxlen) > 0:
        removed += await _trim(client, key, minid=spell(floor), most=excess)
        excess = await client.xlen(key) - maxlen
    if unasked and excess > 0:
        lost += await unasked.remove(excess, floor)
        excess = await client.xlen(key) - maxlen
    if excess <= 0 and oldest <= floor:
        return Trimmed(removed, 0, lost)
    read: Any = await client.xrange(key, "-", f"({spell(floor)}", count=_HEAD)
    capped = await _trim(client, key, minid=spell(oldest)) if oldest > floor else 0
    capped += await _trim(client, key, maxlen=maxlen)
    return Trimmed(removed + capped, max(0, capped - len(read)), lost)


async def empty_stream(client: Redis, key: str, retention_ms: int, now_ms: int) -> bool:
    """Remove, to the entry, what is older than the retention and read by all groups; whether nothing is left.

    For a stream that nobody appends to: `trim_stream` would leave its last entries for ever.

    Raises:
        StoreError: a call failed.
    """
    floor = await _unread_from(client, key)
    oldest = min((max(0, now_ms - retention_ms), 0), floor)
    await client.xtrim(key, minid=spell(oldest), approximate=False)
    return int(await client.xlen(key)) == 0


async def _unread_from(client: Redis, key: str) -> EntryId:
    """The id below which every group has acknowledged everything; above all ids when there is no group."""
    try:
        groups = await client.xinfo_groups(key)
    except StoreRefused as error:
        if "no such key" in str(error):
            return LAST
        raise
    return min([await _position(client, key, group) for group in groups], default=LAST)


async def _position(client: Redis, key: str, group: dict[str, Any]) -> EntryId:
    """The first entry that the group may not have acknowledged."""
    if group["pending"]:
        summary = await client.xpending(key, group["name"])
        if summary["min"]:
            return read_id(summary["min"])
    return successor(read_id(group["last-delivered-id"]))


async def _trim(
    client: Redis, key: str, *, minid: str | None = None, maxlen: int | None = None, most: int | None = None
) -> int:
    """XTRIM in steps, at most `most` entries; how many were removed."""
    total = 0
    while most is None or total < most:
        limit = STEP if most is None else min(STEP, most - total)
        removed = await client.xtrim(key, maxlen=maxlen, minid=minid, approximate=True, limit=limit)
        total += removed
        if removed <= limit // 2:
            break
    return total

"""Trimming of streams: unread entries are kept as long as the cap allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from store.client.errors import StoreRefused
from store.streams.entry_ids import EntryId, successor

STEP = 100_000
"""Entries that one XTRIM may remove: a longer call would block every other client of the server."""

_HEAD = 1000


@dataclass(slots=True, frozen=True)
class Trimmed:
    """What a trim removed: `entries` in all, of which `unread` some group had not acknowledged."""

    entries: int = 0
    unread: int = 0


async def trim_stream(client: Redis, key: str, maxlen: int, retention_ms: int, now_ms: int) -> Trimmed:
    """Remove what is older than the retention and acknowledged by every group; the cap wins over both.

    Whole nodes are removed (about 100 entries), so a few more entries than asked for stay.

    Args:
        maxlen: entries the stream may hold. Acknowledged entries go first.
        retention_ms: entries younger than this stay, unless the cap removes them.
        now_ms: epoch ms by the clock of Redis, which the ids of entries carry.

    Raises:
        StoreError: a call failed; what was removed until then stays removed.
    """
    floor = await _unread_from(client, key)
    age = (now_ms - retention_ms, 0)
    removed = await _trim(client, key, minid=_text(age if floor is None else min(age, floor)))
    excess = await client.xlen(key) - maxlen
    if excess <= 0:
        return Trimmed(removed)
    if floor is None:
        return Trimmed(removed + await _trim(client, key, maxlen=maxlen))
    removed += await _trim(client, key, minid=_text(floor), most=excess)
    read: Any = await client.xrange(key, "-", f"({_text(floor)}", count=_HEAD)
    capped = await _trim(client, key, maxlen=maxlen)
    return Trimmed(removed + capped, max(0, capped - len(read)))


async def _unread_from(client: Redis, key: str) -> EntryId | None:
    """The id below which every group has acknowledged everything; None when there is no group."""
    try:
        groups = await client.xinfo_groups(key)
    except StoreRefused as error:
        if "no such key" in str(error):
            return None
        raise
    return min([await _position(client, key, group) for group in groups], default=None)


async def _position(client: Redis, key: str, group: dict[str, Any]) -> EntryId:
    """The first entry that the group may not have acknowledged."""
    if group["pending"]:
        summary = await client.xpending(key, group["name"])
        if summary["min"]:
            return _read(summary["min"])
    return successor(_read(group["last-delivered-id"]))


def _read(entry_id: bytes) -> EntryId:
    milliseconds, _, sequence = entry_id.partition(b"-")
    return int(milliseconds), int(sequence)


def _text(entry_id: EntryId) -> str:
    return f"{max(0, entry_id[0])}-{entry_id[1]}"


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

"""The last id of a stream. The id of the next entry has to be greater.

Ids consist of the time of the server. But a client that appends may choose an id. After the highest possible
id nothing can be appended to a stream. An entry after an id in the future gets that time, too: it does not
expire and is not trimmed by age. No command of the server resets such an id in all of its versions.
"""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from store.client.errors import StoreRefused
from store.diagnosis.server import CRITICAL, WARNING, Finding
from store.streams.entry_ids import AHEAD_MS, HIGHEST, EntryId, read_id

_NEVER: EntryId = (0, 0)


async def last_id(client: Redis, stream: str) -> EntryId:
    """The last id of `stream`, if this user may read it; else zeros.

    Raises:
        StoreError: a call failed.
    """
    asked: Any = client
    if not await asked.exists(stream):
        return _NEVER
    try:
        found: Any = await asked.xinfo_stream(stream)
    except StoreRefused as error:
        if error.code != "NOPERM":
            raise
        highest = await asked.xrange(stream, f"{HIGHEST}-0", count=1)
        return read_id(highest[0][0]) if highest else _NEVER
    return read_id(found["last-generated-id"])


def check_last_id(subject: str, last: EntryId, now_ms: int, mend: str) -> Finding | None:
    """What is wrong with the last id of the stream `subject`; None if it is all right.

    Args:
        mend: what to do if nothing can be appended, or not with a right id.
    """
    milliseconds, serial = last
    shown = f"the last id is {milliseconds}-{serial}"
    if last == (HIGHEST, HIGHEST):
        return Finding(CRITICAL, subject, f"{shown}, the highest possible: nothing can be appended", mend)
    if milliseconds == HIGHEST:
        return Finding(CRITICAL, subject, f"{shown}, which is not a time: new entries get no time", mend)
    if milliseconds > now_ms + AHEAD_MS:
        ahead = (milliseconds - now_ms) / 1000
        found = f"{shown}, {ahead:.0f} s ahead of the clock of the server: new entries get that time, too"
        return Finding(WARNING, subject, found, f"Correct the clock, or wait; if it is too far: {mend}")
    return None

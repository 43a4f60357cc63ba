"""The last id of a stream, which the next one has to exceed.

Ids are made of the time of the server. Anybody who may append may choose one instead, and the highest there
is ends a stream: nothing can be appended to it. What is appended after an id from the future counts as
written then: it neither expires nor is it trimmed for its age. No command of the server sets such an id
back in each of its versions.
"""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from store.client.errors import StoreRefused
from store.client.numbers import whole
from store.diagnosis.server import CRITICAL, WARNING, Finding
from store.streams.entry_ids import HIGHEST, EntryId

AHEAD_MS = 60_000
"""How far the last id may be ahead of the clock of the server: clocks are put right by less."""

_NEVER: EntryId = (0, 0)


async def last_id(client: Redis, stream: str) -> EntryId:
    """The last id that `stream` has given, as far as this user may see it; zeros for none.

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


def read_id(entry_id: bytes) -> EntryId:
    """The two numbers of an id."""
    milliseconds, _, serial = entry_id.decode().partition("-")
    return whole(milliseconds, 0), whole(serial, 0)


def judge_last_id(subject: str, last: EntryId, now_ms: int, mend: str) -> Finding | None:
    """What is wrong with the last id of the stream `subject`; None when nothing is.

    Args:
        mend: what to do when nothing more can be appended, or nothing that would be right.
    """
    milliseconds, serial = last
    shown = f"the last id is {milliseconds}-{serial}"
    if last == (HIGHEST, HIGHEST):
        return Finding(CRITICAL, subject, f"{shown}, the highest there is: nothing can be appended", mend)
    if milliseconds == HIGHEST:
        return Finding(CRITICAL, subject, f"{shown}: whatever is appended is of no time at all", mend)
    if milliseconds > now_ms + AHEAD_MS:
        ahead = (milliseconds - now_ms) / 1000
        found = f"{shown}, {ahead:.0f} s ahead of the server's clock: what is appended counts as of then"
        return Finding(WARNING, subject, found, f"Put the clock right, or wait; if it is too far: {mend}")
    return None

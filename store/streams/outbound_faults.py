"""Faults of an outbound stream that a producer can cause, although it may only append to it.

``XADD`` has two arguments that no access rule can forbid.

* ``MAXLEN`` removes the oldest entries, unread ones too. Whoever removes an entry in any other way uses
  ``XDEL``, which the server remembers as ``max-deleted-entry-id``. So entries that the group has not read,
  that are not there any more, and that are younger than this id, were trimmed. Redis 6.2 has no such value.
* An id of the producer's choice. After the highest possible id nothing can be appended; after one in the
  future the ids of entries are not their time. A stream that is deleted and created again has ids of the
  present again. That is done while it is empty, which it is when the last command in it has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from redis.asyncio import Redis

from store.client.numbers import whole
from store.client.script import Script
from store.keys import GROUP, Keys
from store.streams.entry_ids import AHEAD_MS, EntryId, after, read_id

CHECKED = 100
"""Pending entries that are looked for, at most."""


async def trimmed_unread(client: Redis, stream: str) -> int:
    """How many entries were trimmed from an outbound stream since its gateway last read it.

    If there are any it is one at least, because not every server counts them.

    Raises:
        StoreError: a call failed, or there is no such stream.
    """
    asked: Any = client
    last = _last(await asked.xinfo_stream(stream))
    group = await _group(asked, stream)
    if group is None or last <= (delivered := read_id(group["last-delivered-id"])):
        return 0
    start = after(group["last-delivered-id"])
    if start is None or await asked.xrange(stream, start, count=1):
        return 0
    found = await asked.xinfo_stream(stream)
    again = await _group(asked, stream)
    # An entry that was appended, read or deleted between these calls is none of them.
    if again is None or read_id(again["last-delivered-id"]) != delivered or _deleted(found) >= last:
        return 0
    return max(1, whole(str(again.get("lag") or 0), 1))


async def deleted_pending(client: Redis, stream: str) -> int:
    """How many pending entries of an outbound stream are deleted; of the oldest `CHECKED`.

    Raises:
        StoreError: a call failed, or there is no such group.
    """
    asked: Any = client
    gone = 0
    for found in await asked.xpending_range(stream, GROUP, "-", "+", CHECKED):
        entry_id = found["message_id"]
        if not await asked.xrange(stream, entry_id, entry_id):
            # One script removes an entry from both: one that has just ended is not pending any more.
            gone += len(await asked.xpending_range(stream, GROUP, entry_id, entry_id, 1))
    return gone


def _last(found: Mapping[str, Any]) -> EntryId:
    return read_id(found["last-generated-id"])


def _deleted(found: Mapping[str, Any]) -> EntryId:
    """The highest id that was deleted; the highest of all, if the server does not tell."""
    return read_id(found["max-deleted-entry-id"]) if "max-deleted-entry-id" in found else _last(found)


async def _group(client: Any, stream: str) -> Mapping[str, Any] | None:
    groups = await client.xinfo_groups(stream)
    return next((group for group in groups if group["name"] == GROUP.encode()), None)


class OutboundFaults:
    """Looks for such faults in the stream of one instance, and repairs its ids.

    Args:
        now_ms: epoch ms by the clock of Redis.
        on_lost: told how many entries were trimmed unread, once for the same ones.
    """

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        instance_id: str,
        *,
        now_ms: Callable[[], int],
        on_lost: Callable[[int], None],
    ) -> None:
        self._client: Any = client
        self._stream = keys.outbound(instance_id)
        self._now_ms = now_ms
        self._on_lost = on_lost
        self._renew = Script("renew_stream.lua")
        self._told: EntryId = (0, 0)

    async def look(self) -> None:
        """Look once.

        Raises:
            StoreError: a call failed, or there is no stream yet.
        """
        last = _last(await self._client.xinfo_stream(self._stream))
        if last != self._told and (lost := await trimmed_unread(self._client, self._stream)):
            self._told = last
            self._on_lost(lost)
        if last[0] > self._now_ms() + AHEAD_MS:
            await self._renew(self._client, [self._stream], [GROUP])

"""Entries of the log that no command asked for: session events, and notes about messages of devices.

Anybody who can reach the port causes such entries, and they share a stream with the outcomes of commands. So
their ids are kept in an index, a second stream whose entries have the same ids and nothing else. It is
written in the script that appends the entry, so both have it or neither. By the index such entries are
counted, and deleted where they stand.

A deleted entry gives its memory back with its node (about 4 KB), when all entries of the node are gone.
"""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from store.streams.entry_ids import EntryId, read_id, spell, successor

PART = 0.25
"""The share that such entries have of the cap of the log."""
ENTRY_BYTES = 1024
"""What such an entry takes at most, about."""
PAGE = 1000
"""Entries that one call deletes."""


class Unasked:
    """The entries of a stream that no command asked for.

    Args:
        index: the key of the index.
        share: how many such entries the stream may hold.
    """

    def __init__(self, client: Redis, stream: str, index: str, share: int) -> None:
        self._client: Any = client
        self._stream = stream
        self._index = index
        self._share = share

    async def trim(self, floor: EntryId) -> int:
        """Delete the oldest above the share; how many had an id of `floor` or above, and were not read.

        Raises:
            StoreError: a call failed.
        """
        await self._forget_trimmed()
        return await self.remove(await self._client.xlen(self._index) - self._share, floor)

    async def remove(self, count: int, floor: EntryId) -> int:
        """Delete the oldest, at most `count`; how many were not read.

        Raises:
            StoreError: a call failed.
        """
        unread = 0
        while count > 0:
            page = await self._client.xrange(self._index, count=min(PAGE, count))
            if not page:
                break
            ids = [entry_id for entry_id, _ in page]
            deleted = await self._client.xdel(self._stream, *ids)
            unread += min(deleted, sum(read_id(entry_id) >= floor for entry_id in ids))
            await self._client.xtrim(self._index, minid=spell(successor(read_id(ids[-1]))), approximate=False)
            count -= len(ids)
        return unread

    async def _forget_trimmed(self) -> None:
        """Forget the ids of entries that are gone from the head of the stream."""
        head = await self._client.xrange(self._stream, count=1)
        if head:
            await self._client.xtrim(self._index, minid=head[0][0].decode())
        else:
            await self._client.xtrim(self._index, maxlen=0)

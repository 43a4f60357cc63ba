"""How many bytes the entries of a stream take.

Redis can tell the size of a stream only by visiting each of its nodes, or by a guess from its first few,
which are the oldest and may be much smaller than the rest. So each gateway counts what it appends. Whenever
that is a certain quantum, it appends the count to a second stream, the ledger of sizes: "so many bytes more
until now". Ids of both streams are times of the same clock. So

* the stream holds the sum of the sizes whose ids are not below its first one;
* to hold no more than a cap, it must be cut at the id at which the sum, counted from the end, is above it.

A quantum is a small part of the cap, so the ledger is short however long the stream is, and a read of it is
cheap enough to be made whenever a quantum was appended. What a process has not noted when it is killed is
missing: one quantum at most.
"""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from store.client.numbers import whole
from store.streams.entry_ids import ORIGIN, EntryId, read_id

FIELD = "bytes"
ENTRY_BYTES = 75
"""What an entry takes beside its longest field: the other fields, ids, lengths, its part of a node."""
_FULL = 9 / 8  # memory is allocated in steps, and nodes are not always full

Size = tuple[EntryId, int]


def weight(entries: int, size: int) -> int:
    """About how many bytes of memory so many entries take in Redis whose longest fields have `size` bytes."""
    return round((size + entries * ENTRY_BYTES) * _FULL)


class Volume:
    """The bytes of one stream.

    Args:
        stream: its key; sizes: the key of its ledger of sizes.

    Attributes:
        unnoted: bytes that this process has appended and not noted yet.
    """

    def __init__(self, client: Redis, stream: str, sizes: str) -> None:
        self._client: Any = client
        self._stream = stream
        self._sizes = sizes
        self.unnoted = 0

    def add(self, entries: int, size: int) -> None:
        """So many entries were appended whose longest fields have `size` bytes together."""
        self.unnoted += weight(entries, size)

    async def read(self) -> list[Size]:
        """What was appended and when, the oldest first, as far as the stream reaches back.

        Raises:
            StoreError: a call failed.
        """
        return await read_sizes(self._client, self._stream, self._sizes)

    async def note(self, least: float = 1) -> None:
        """Note what this process has appended, if it is so much, and forget what is older than the stream.

        Raises:
            StoreError: a call failed.
        """
        if self.unnoted >= least:
            unnoted = self.unnoted
            await self._client.xadd(self._sizes, {FIELD: unnoted})
            self.unnoted -= unnoted
        head = await self._client.xrange(self._stream, count=1)
        if head:
            await self._client.xtrim(self._sizes, minid=head[0][0].decode(), approximate=False)


async def read_sizes(client: Any, stream: str, sizes: str) -> list[Size]:
    """What was appended to a stream and when, the oldest first, as far as the stream reaches back.

    Raises:
        StoreError: a call failed.
    """
    head = await client.xrange(stream, count=1)
    if not head:
        return []
    found = await client.xrange(sizes, head[0][0].decode())
    return [(read_id(entry_id), whole(fields.get(FIELD.encode(), b""), 0)) for entry_id, fields in found]


def cut(sizes: list[Size], unnoted: int, most: int) -> EntryId:
    """The id below which a stream must be cut to hold `most` bytes at most; `ORIGIN` if it need not be."""
    total = unnoted
    for entry_id, size in reversed(sizes):
        total += size
        if total > most:
            return entry_id[0] + 1, 0  # within one millisecond the ids of two streams have no order
    return ORIGIN

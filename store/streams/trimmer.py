"""Keeps every stream below its caps, in entries and in bytes, before the memory of Redis is full.

The janitor trims all streams once an interval. That is too late for a stream that grows by hundreds of
megabytes a second, so who appends to such a stream tells how much (`add`), and trims it (`settle`) before its
next call whenever a quantum was appended. So a stream never exceeds its cap by more than one quantum and one
call of each gateway.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from redis.asyncio import Redis

from store.client.errors import StoreRefused, is_transient
from store.client.replies import understood
from store.keys import Keys
from store.streams.caps import HIGH, Memory, StreamCaps
from store.streams.trimming import trim_stream
from store.streams.unasked import ENTRY_BYTES, PART, Unasked
from store.streams.volume import Volume, cut

QUANTUM = 1 / 256
"""The share of a cap after which the writer of a stream trims it."""
NEVER = 10**15
"""A retention in ms that no entry is older than."""
LEAST = 1 / 16
"""The share of a quantum that is worth an entry in the ledger of sizes."""


def _ignore(*_: object) -> None:
    """Nothing is done about it."""


async def read_memory(client: Redis) -> Memory:
    """The memory of a server; none that is known if it refuses to tell.

    Raises:
        StoreError: the server cannot be reached, or refuses all calls now.
    """
    asked: Any = client
    try:
        found = await asked.info("memory")
    except StoreRefused as error:
        if is_transient(error):
            raise
        return Memory()
    return await understood(client, found, _read_memory)


def _read_memory(found: Any) -> Memory:
    return Memory(int(found.get("used_memory", 0)), int(found.get("maxmemory", 0)))


class Trimmer:
    """Trims streams, and knows how large they are.

    Attributes:
        due: whether so much was appended that `settle` has to be called before more is.

    Args:
        retention: seconds; now_ms: epoch ms of Redis.
        on_trimmed: called with the name of a stream, and the number of unread entries that a cap removed;
            ``unasked`` stands for the entries of the log that no command asked for.
        on_measured: called with the name of a stream and its bytes, about.
        on_memory: called with the memory of the server whenever it was read.
        memory: reads it; a simulation can replace it.
    """

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        caps: Sequence[StreamCaps],
        *,
        retention: float,
        now_ms: Callable[[], int],
        on_trimmed: Callable[[str, int], None],
        on_measured: Callable[[str, int], None] = _ignore,
        on_memory: Callable[[Memory], None] = _ignore,
        memory: Callable[[], Awaitable[Memory]] | None = None,
    ) -> None:
        self._client = client
        self._keys = keys
        self._caps = {one.key: one for one in caps}
        self._volumes = {key: Volume(client, key, keys.sizes(key)) for key in self._caps}
        self._retention_ms = round(retention * 1000)
        self._now_ms = now_ms
        self._on_trimmed = on_trimmed
        self._on_measured = on_measured
        self._on_memory = on_memory
        self._read_memory = memory or partial(read_memory, client)
        self._limit = 0
        self._quanta = {key: self._quantum(one) for key, one in self._caps.items()}
        self.due = True  # what `maxmemory` is is not known before the first look

    def add(self, key: str, entries: int, size: int) -> None:
        """This process has appended entries to a stream, whose longest fields have `size` bytes together."""
        self._volumes[key].add(entries, size)
        if self._is_due(key):
            self.due = True

    def _is_due(self, key: str) -> bool:
        return self._volumes[key].unnoted >= self._quanta[key]

    def _quantum(self, caps: StreamCaps) -> float:
        return caps.bytes(self._limit) * QUANTUM

    async def settle(self) -> None:
        """Trim the streams to which a quantum was appended, and those that give way when memory is short.

        Raises:
            StoreError: a call failed.
        """
        memory = await self._look()
        short = memory.limit > 0 and memory.used > memory.limit * HIGH
        for key, caps in self._caps.items():
            if self._is_due(key) or (short and caps.yields):
                await self._trim(caps, memory)
        self.due = any(map(self._is_due, self._caps))

    async def trim(self) -> None:
        """Trim all streams. An error that concerns one of them does not affect the others.

        Raises:
            StoreError: a call failed.
        """
        memory = await self._look()
        refused: StoreRefused | None = None
        for caps in self._caps.values():
            try:
                await self._trim(caps, memory)
            except StoreRefused as error:
                if is_transient(error):
                    raise
                refused = error
        if refused:
            raise refused

    async def _look(self) -> Memory:
        memory = await self._read_memory()
        self._limit = memory.limit
        self._quanta = {key: self._quantum(caps) for key, caps in self._caps.items()}
        self._on_memory(memory)
        return memory

    async def _trim(self, caps: StreamCaps, memory: Memory) -> None:
        volume = self._volumes[caps.key]
        sizes = await volume.read()
        held = volume.unnoted + sum(size for _, size in sizes)
        self._on_measured(caps.name, held)
        allowed, unasked = caps.allowed(held, memory), self._unasked(caps, memory)
        if unasked:  # their bytes are not counted: they are few, by their share
            allowed = round(allowed * (1 - PART))
        trimmed = await trim_stream(
            self._client,
            caps.key,
            caps.maxlen,
            self._retention_ms if caps.expires else NEVER,
            self._now_ms(),
            oldest=cut(sizes, volume.unnoted, allowed),
            unasked=unasked,
        )
        for name, unread in ((caps.name, trimmed.unread), ("unasked", trimmed.unasked)):
            if unread:
                self._on_trimmed(name, unread)
        await volume.note(self._quanta[caps.key] * LEAST)

    def _unasked(self, caps: StreamCaps, memory: Memory) -> Unasked | None:
        """The entries of the log that no command asked for, with the share that they have of its caps."""
        if caps.key != self._keys.responses:
            return None
        share = PART * min(caps.maxlen, caps.bytes(memory.limit) / ENTRY_BYTES)
        return Unasked(self._client, caps.key, self._keys.unasked, int(share))

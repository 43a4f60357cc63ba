"""The reader of an instance's outbound stream.

Entries stay pending until the command's terminal event removes them, so the pending list is the set of
commands in flight, and reading it back is how a restarted process finds them again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from redis.asyncio import Redis

from store.client.errors import StoreError, StoreRefused
from store.keys import GROUP, Keys
from store.streams.entry_ids import after

RawEntry = tuple[str, dict[bytes, bytes]]

COUNT = 64
BLOCK_MS = 250
"""How long one read waits on the server, and so how long a stop may wait for the reader."""
RECLAIM_EVERY = 30.0
"""Seconds between two looks at all that is pending, under any consumer's name."""
_FIRST_LOOK = 1.0
_FIRST_BACKOFF, _LAST_BACKOFF = 0.05, 2.0
_PAUSE = 0.1


class NextBatch(Protocol):
    """Where the reader's entries come from: a port, so that a simulation can put it on a virtual clock."""

    async def __call__(self, cursor: str, block: bool) -> list[tuple[bytes, dict[bytes, bytes] | None]]: ...


def read_group(client: Redis, stream: str, consumer: str) -> NextBatch:
    """XREADGROUP on a real server."""

    async def next_batch(cursor: str, block: bool) -> list[tuple[bytes, dict[bytes, bytes] | None]]:
        reply: Any = await client.xreadgroup(
            GROUP, consumer, {stream: cursor}, count=COUNT, block=BLOCK_MS if block else None
        )
        return reply[0][1] if reply else []

    return next_batch


class OutboundReader:
    """Hands entries to `on_entries` as they come: first what is pending, then what is new.

    After any error the pending list is read again from its beginning, for a lost reply leaves entries there
    that would never be offered again. Soon after the start and after an error it is read again and again: a
    read that we, or an earlier process of our id, gave up can still be carried out. The receiver drops what
    it holds.

    Args:
        client: a client of its own, whose socket timeout is longer than the block.
        may_read: asked before new entries are taken; pending ones are read regardless.
        on_entries: told synchronously of entries, in stream order, and whether they are delivered for the
            first time.
        on_error: told of every failed call.
        owns: asked before new entries are taken. A process that wakes up and was replaced must not take what
            its successor would find out of order.
        shared_for: asked at the start for how many seconds a process that we have replaced may still read.
            What it has taken comes before what we are given then: all is taken from the pending list, that is
            in its order.
    """

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        instance_id: str,
        *,
        on_entries: Callable[[list[RawEntry], bool], None],
        may_read: Callable[[], bool],
        on_error: Callable[[Exception], None],
        owns: Callable[[], Awaitable[bool]] | None = None,
        shared_for: Callable[[], float] = float,
        next_batch: NextBatch | None = None,
    ) -> None:
        self._client = client
        self._stream = keys.outbound(instance_id)
        self._instance_id = instance_id
        self._on_entries = on_entries
        self._may_read = may_read
        self._on_error = on_error
        self._next_batch = next_batch or read_group(client, self._stream, instance_id)
        self._owns = owns
        self._shared_for = shared_for
        self._shared_until = 0.0
        self._cursor = "0"
        self._last = "0"  # the entry up to which all that is pending has been handed over
        self._reclaim_at = 0.0
        self._look_at = float("inf")
        self._look_in = _FIRST_LOOK
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Read until `stop`; what is pending comes first, at each start."""
        self._cursor = "0"
        backoff = _FIRST_BACKOFF
        self._shared_until = asyncio.get_running_loop().time() + self._shared_for()
        await self._ensure_group_quietly()
        self._plan_look()
        while not self._stop.is_set():
            try:
                await self._turn()
                backoff = _FIRST_BACKOFF
            except StoreError as error:
                self._cursor, self._look_in = "0", _FIRST_LOOK
                self._plan_look()
                self._on_error(error)
                await self._pause(backoff * random.uniform(0.5, 1.0))
                backoff = min(backoff * 2, _LAST_BACKOFF)
                if isinstance(error, StoreRefused):
                    await self._ensure_group_quietly()

    def stop(self) -> None:
        """Let `run` end after the read in flight."""
        self._stop.set()

    async def sweep(self) -> None:
        """Read once more what is pending and new, without blocking: the last look at shutdown.

        What is too much to hold stays for the next start, or for another instance.
        """
        for start in ("0", ">"):
            cursor = start
            while self._may_read() and (entries := await self._next_batch(cursor, False)):
                await self._hand_over(entries, fresh=start == ">")
                if start != ">":
                    cursor = entries[-1][0].decode()

    async def pending(self) -> int:
        """How many entries are pending: every one is a command in flight, or should be.

        Raises:
            StoreError: the call failed.
        """
        found: Any = await self._client.xpending(self._stream, GROUP)
        return int(found["pending"])

    async def _turn(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._reclaim_at:
            await self._reclaim()
        if now >= self._look_at and self._cursor == ">":
            self._cursor = "0"
            self._plan_look()
        draining = self._cursor != ">"
        if not draining and not await self._may_take():
            await self._pause(_PAUSE)
            return
        entries = await self._next_batch(self._cursor, not draining)
        if entries and not draining and now < self._shared_until:
            self._cursor = self._last
            return
        await self._hand_over(entries, fresh=not draining)
        if entries:
            self._last = entries[-1][0].decode()
        if draining:
            self._cursor = self._last if entries else ">"

    async def _may_take(self) -> bool:
        return self._may_read() and (self._owns is None or await self._owns())

    async def _hand_over(
        self, entries: list[tuple[bytes, dict[bytes, bytes] | None]], fresh: bool = False
    ) -> None:
        """Entries without fields were deleted under their consumer: they can only be let go of."""
        gone = [entry_id for entry_id, fields in entries if entry_id and not fields]
        if gone:
            await self._client.xack(self._stream, GROUP, *gone)
        present = [(entry_id.decode(), fields) for entry_id, fields in entries if entry_id and fields]
        if present:
            self._on_entries(present, fresh)

    def _plan_look(self) -> None:
        """Each look at our own pending list comes later than the one before, until the others suffice."""
        seldom = self._look_in >= RECLAIM_EVERY
        self._look_at = float("inf") if seldom else asyncio.get_running_loop().time() + self._look_in
        if asyncio.get_running_loop().time() >= self._shared_until:
            self._look_in *= 2

    async def _reclaim(self) -> None:
        """Take over what lies pending under any other consumer name, and look at all of ours again."""
        start: Any = "0-0"
        pending: set[bytes] = set()
        while True:
            reply: Any = await self._client.xautoclaim(
                self._stream, GROUP, self._instance_id, min_idle_time=0, start_id=start, count=COUNT
            )
            await self._hand_over([(entry_id, fields) for entry_id, fields in reply[1] if entry_id])
            pending.update(entry_id for entry_id, fields in reply[1] if fields)
            start = reply[0]
            if start in (b"0-0", "0-0"):
                break
        await self._find_skipped(pending)
        self._reclaim_at = asyncio.get_running_loop().time() + RECLAIM_EVERY

    async def _find_skipped(self, pending: set[bytes]) -> None:
        """Take the entries that the group was moved past and that nobody was given, as far as there is room.

        ``XGROUP SETID`` does so, and a group that was destroyed and made again at the end. They would never
        be read, and are no part of the pending list. What is taken stays so until its verdict removes it;
        each look hands it over again, and the receiver drops what it holds.
        """
        if await self._client.xlen(self._stream) <= len(pending):
            return
        groups: Any = await self._client.xinfo_groups(self._stream)
        delivered = [group["last-delivered-id"] for group in groups if group["name"] == GROUP.encode()]
        start: str | None = "-"
        while start and delivered and self._may_read():
            page: Any = await self._client.xrange(self._stream, start, delivered[0], count=COUNT)
            await self._hand_over([entry for entry in page if entry[0] not in pending])
            if len(page) < COUNT:
                return
            start = after(page[-1][0])

    async def _ensure_group_quietly(self) -> None:
        try:
            await self._client.xgroup_create(self._stream, GROUP, id="0", mkstream=True)
        except StoreError as error:
            if not (isinstance(error, StoreRefused) and error.code == "BUSYGROUP"):
                self._on_error(error)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            pass

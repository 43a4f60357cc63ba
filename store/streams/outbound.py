"""The reader of the outbound stream of an instance.

An entry stays pending until the terminal event of its command removes it. So the pending list is the set of
commands in flight, and a restarted process finds them by reading it.

The reader delivers entries in stream order and at least once; the receiver skips what it holds already. Three
things can put an entry where a plain read does not find it, and each has its own remedy: a lost reply (after
an error the pending list is read again), another consumer name (`_reclaim` takes over what is pending there),
and a group that was moved past unread entries (`_find_skipped`).
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
Batch = list[tuple[bytes, dict[bytes, bytes] | None]]
"""The entries of one read; those that were deleted while they were pending have no fields."""

COUNT = 64
BLOCK_MS = 250
"""How long one read blocks on the server, and so how long `stop` may have to wait."""
RECLAIM_EVERY = 30.0
"""Seconds between two readings of everything that is pending, under any consumer name."""
_FIRST_LOOK = 1.0
_FIRST_BACKOFF, _LAST_BACKOFF = 0.05, 2.0
_PAUSE = 0.1


class NextBatch(Protocol):
    """Where entries come from: a port, so that a simulation can run it on a virtual clock."""

    async def __call__(self, cursor: str, block: bool) -> Batch: ...


def read_group(client: Redis, stream: str, consumer: str) -> NextBatch:
    """XREADGROUP on a real server."""

    async def next_batch(cursor: str, block: bool) -> Batch:
        reply: Any = await client.xreadgroup(
            GROUP, consumer, {stream: cursor}, count=COUNT, block=BLOCK_MS if block else None
        )
        return reply[0][1] if reply else []

    return next_batch


class OutboundReader:
    """Hands entries to `on_entries` as they come: first what is pending, then what is new.

    After an error the pending list is read again from its beginning, since a lost reply leaves entries there
    that no other read returns. After the start and after an error this is repeated several times: Redis may
    still carry out a read that this process, or an earlier one of its id, has given up.

    Args:
        client: a client of its own, whose socket timeout is longer than the block.
        may_read: asked before new entries are taken; pending ones are read regardless.
        on_entries: told synchronously of entries, in stream order, and whether they are delivered for the
            first time.
        on_error: called with the error of every failed call.
        owns: asked before new entries are read. A process that was frozen and replaced must not read entries
            that its successor would then find out of order.
        on_lost: told how many entries were deleted while they were pending: their commands go on in this
            process, and are unknown to the next one.
        on_caught_up: told once, when all is handed over that was on the stream when the reader started.
        shared_for: asked at the start for how many seconds a replaced process may still read. Meanwhile all
            entries are taken from the pending list, to keep stream order.
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
        on_lost: Callable[[int], None] = lambda _: None,
        on_caught_up: Callable[[], None] = lambda: None,
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
        self._on_lost = on_lost
        self._on_caught_up = on_caught_up
        self._shared_for = shared_for
        self._shared_until = 0.0
        self._cursor = "0"
        self._last = "0"  # the entry up to which all that is pending has been handed over
        self._was_at_end = self._caught_up = False
        self._read_new: set[bytes] = set()  # until it has caught up
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
        """Read what is pending and new once, without blocking: the last read at shutdown.

        What exceeds the limit of commands stays for the next start, or for another instance.
        """
        for start in ("0", ">"):
            cursor = start
            while self._may_read() and (entries := await self._next_batch(cursor, False)):
                await self._hand_over(entries, fresh=start == ">")
                if start != ">":
                    cursor = entries[-1][0].decode()

    async def pending(self) -> int:
        """How many entries are pending; each should be a command in flight.

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
        entries = await self._next_batch(self._cursor, not draining and self._caught_up)
        if entries and not draining and now < self._shared_until:
            self._cursor = self._last
            return
        unknown = [entry for entry in entries if entry[0] not in self._read_new]
        await self._hand_over(unknown, fresh=not draining)
        if entries:
            self._last = entries[-1][0].decode()
        if draining:
            self._cursor = self._last if entries else ">"
        if not self._caught_up:
            self._catch_up(draining, entries)

    def _catch_up(self, draining: bool, entries: Batch) -> None:
        """Find the end of the stream, and then what an earlier process has still read before it."""
        if draining and self._was_at_end and not entries:
            self._caught_up = True
            self._read_new.clear()
            self._on_caught_up()
        elif not draining:
            self._read_new.update(entry_id for entry_id, _ in entries)
            if len(entries) < COUNT:
                self._was_at_end, self._cursor = True, "0"

    async def _may_take(self) -> bool:
        return self._may_read() and (self._owns is None or await self._owns())

    async def _hand_over(self, entries: Batch, fresh: bool = False) -> None:
        """Deliver entries. One without fields was deleted while pending, and is acknowledged."""
        gone = [entry_id for entry_id, fields in entries if entry_id and not fields]
        if gone:
            await self._client.xack(self._stream, GROUP, *gone)
            self._on_lost(len(gone))
        present = [(entry_id.decode(), fields) for entry_id, fields in entries if entry_id and fields]
        if present:
            self._on_entries(present, fresh)

    def _plan_look(self) -> None:
        """Plan the next reading of our pending list, each later than the last, up to `RECLAIM_EVERY`."""
        seldom = self._look_in >= RECLAIM_EVERY
        self._look_at = float("inf") if seldom else asyncio.get_running_loop().time() + self._look_in
        if asyncio.get_running_loop().time() >= self._shared_until:
            self._look_in *= 2

    async def _reclaim(self) -> None:
        """Take over what is pending under other consumer names, and deliver all that is pending again."""
        start: Any = "0-0"
        pending: set[bytes] = set()
        while True:
            reply: Any = await self._client.xautoclaim(
                self._stream, GROUP, self._instance_id, min_idle_time=0, start_id=start, count=COUNT
            )
            await self._hand_over([(entry_id, fields) for entry_id, fields in reply[1] if entry_id])
            if deleted := reply[2:] and len(reply[2]):  # Redis 7 names them, and has removed them
                self._on_lost(deleted)
            pending.update(entry_id for entry_id, fields in reply[1] if fields)
            start = reply[0]
            if start in (b"0-0", "0-0"):
                break
        await self._find_skipped(pending)
        self._reclaim_at = asyncio.get_running_loop().time() + RECLAIM_EVERY

    async def _find_skipped(self, pending: set[bytes]) -> None:
        """Deliver entries that the group was moved past before they were read, up to the limit of commands.

        ``XGROUP SETID`` moves a group, and so does destroying it and creating it at the end of the stream.
        Such entries are not pending and would never be read. They stay in the stream until their verdict
        removes them, so each round delivers them again, and the receiver skips what it holds.
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

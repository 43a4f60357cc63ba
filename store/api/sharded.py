"""Reading the records of a fleet with a consumer group, from as many streams as they are spread over.

Each shard of telemetry is a stream, and may be on a server of its own. Each is read by a `Subscription`; a
shard that is away delays no other. Messages are given one at a time all the same. Those of a device come in
their order, because all of them are in one shard.

How many shards a fleet has is looked up at the start and again from time to time, so a change is followed
while a consumer runs. What shards of an earlier number still hold is read, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from typing import Protocol, TypeVar, Unpack

from redis.asyncio import Redis

from store.client.errors import StoreError, StoreRefused
from store.keys import Keys
from store.streams.shard_counts import read_counts

from .deliveries import Deliveries, Delivery
from .subscription import RETRY, RawEntries, Subscription, SubscriptionOptions, may_pass

M = TypeVar("M")

LOOK_EVERY = 15.0
"""Seconds between two looks at how many shards there are."""


class ReadShard(Protocol[M]):
    """Makes the subscription of a shard."""

    def __call__(self, shard: Keys, **options: Unpack[SubscriptionOptions]) -> Subscription[M]: ...


class ShardedSubscription(Deliveries[M]):
    """The messages of all shards for one consumer of a group; made by `Gateways.records`.

    It is used like a `Subscription`. A batch is read of each shard at a time.

    Args:
        client: of the server that knows how many shards there are.
        read_shard: makes the subscription of a shard.
        on_error: called with each error that is not raised.
    """

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        read_shard: ReadShard[M],
        on_error: Callable[[Exception], None],
        **options: Unpack[SubscriptionOptions],
    ) -> None:
        super().__init__()
        self._client = client
        self._keys = keys
        self._read_shard = read_shard
        self._on_error = on_error
        self._options = options
        self._parts: dict[Keys, Subscription[M]] = {}
        self._pages: dict[asyncio.Task[RawEntries], Subscription[M]] = {}
        self._current: Subscription[M] | None = None
        self._look_at = 0.0

    def done(self, delivery: Delivery[M]) -> None:
        """The message is handled: its entry is acknowledged with others."""
        assert self._current is not None
        self._current.done(delivery)

    def failed(self, delivery: Delivery[M], error: Exception) -> None:
        """The message is not handled because of `error`: it is tried again, or given up."""
        assert self._current is not None
        self._current.failed(delivery, error)

    async def deliveries(self) -> AsyncIterator[Delivery[M]]:
        """The messages one by one; call `done` or `failed` for each before the next one is asked for."""
        try:
            while not self._stopped or self._pages:
                for page, part in await self._next():
                    self._current = part
                    async for delivery in part.judged(page):
                        yield delivery
        finally:
            await self._abandon()
        for part in self._parts.values():
            await part.finish()

    async def _next(self) -> Collection[tuple[RawEntries, Subscription[M]]]:
        """Pages that have been read, of any shards; none if it is not known which there are."""
        if not self._stopped:
            await self._look()
            busy = set(self._pages.values())
            for part in self._parts.values():
                if part not in busy:
                    self._pages[asyncio.create_task(part.page())] = part
        if not self._pages:
            return ()
        done, _ = await asyncio.wait(self._pages, return_when=asyncio.FIRST_COMPLETED)
        return [(page.result(), self._pages.pop(page)) for page in done]

    async def _look(self) -> None:
        """Find out which shards there are, if it is time to."""
        if asyncio.get_running_loop().time() < self._look_at:
            return
        try:
            counts: Collection[int] = await read_counts(self._client, self._keys)
        except StoreError as error:
            self._on_error(error)
            if not _is_without_right(error):
                if not may_pass(error):
                    raise
                await asyncio.sleep(RETRY)
                return
            counts = (1,)  # rights from before there were shards
        options = self._options
        for shard in self._keys.all_shards(counts):
            if shard not in self._parts:
                self._parts[shard] = self._read_shard(shard, **options)
        # What is found later is new, and a group that begins with the next entry would miss its first ones.
        self._options = {**options, "start": "0"}
        self._look_at = asyncio.get_running_loop().time() + LOOK_EVERY

    async def _abandon(self) -> None:
        """Read no more: what is on its way is read again by the next consumer of this name."""
        for page in self._pages:
            page.cancel()
        await asyncio.gather(*self._pages, return_exceptions=True)
        self._pages.clear()


def _is_without_right(error: StoreError) -> bool:
    return isinstance(error, StoreRefused) and error.code == "NOPERM"

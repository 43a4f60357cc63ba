"""The streams that may hold records of a device, read as if they were one.

There is one, unless the number of shards was changed, or gateways do not agree on it: then the records may be
in one stream for each number.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from fsm.device_status import Span
from store.fleet.report_times import report_times
from store.keys import Keys
from store.streams.producer import LogEntry, Producer
from store.streams.shard_counts import read_counts, shards_of

from .stream_options import Where
from .streams import servers


@asynccontextmanager
async def record_streams(where: Where, imei: str) -> AsyncIterator[RecordStreams]:
    """The streams of a device, on the Redis that the options name, open within the block.

    Raises:
        BadRedisUrl, StoreUnreachable: as `server` does.
    """
    keys = Keys(where.key_prefix)
    async with servers(where, "records") as (client, client_of):
        shards = shards_of(keys, await read_counts(client, keys), imei)
        times = partial(report_times, client, keys, imei)
        yield RecordStreams([Producer(client_of(shard), shard) for shard in shards], times)


class RecordStreams:
    """Several streams.

    Every method raises `StoreUnreachable` when Redis does not answer or refuses.

    Args:
        times: as `report_times`, for the device.
    """

    def __init__(
        self, producers: Sequence[Producer], times: Callable[[int], Awaitable[list[Span] | None]]
    ) -> None:
        self._producers = producers
        self.times = times

    async def tails(self) -> list[str]:
        """The id of the last entry of each stream."""
        return [await one.tail(one.telemetry) for one in self._producers]

    async def newest(self, times: Iterable[Span], imei: str) -> AsyncIterator[LogEntry]:
        """The entries of a device that came in one of these times, by the clock of Redis, in their order.

        Args:
            times: the newest first, and apart from each other.
        """
        for since, until in times:
            async for entry in self._within(since, until, imei):
                yield entry

    async def _within(self, since: int, until: int, imei: str) -> AsyncIterator[LogEntry]:
        found = [
            one.newest(one.telemetry, since, {"imei": [imei]}, until_ms=until) for one in self._producers
        ]
        heads = [await _next(entries) for entries in found]
        while any(heads):
            latest = max((head for head in heads if head), key=lambda entry: _time(entry[0]))
            yield latest
            place = heads.index(latest)
            heads[place] = await _next(found[place])

    async def follow(self, after: str, tails: Sequence[str]) -> AsyncIterator[LogEntry]:
        """Every entry behind an id, for ever, as they come. Without `after` those behind the `tails`."""
        starts = [after or tail for tail in tails]
        followed = [
            one.follow(start, stream=one.telemetry, errors="surrogateescape")
            for one, start in zip(self._producers, starts, strict=True)
        ]
        if len(followed) == 1:
            async for entry in followed[0]:
                yield entry
            return
        waiting = {asyncio.ensure_future(anext(entries)): entries for entries in followed}
        try:
            while True:
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    entries = waiting.pop(task)
                    yield task.result()
                    waiting[asyncio.ensure_future(anext(entries))] = entries
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)


async def _next(entries: AsyncIterator[LogEntry]) -> LogEntry | None:
    return await anext(entries, None)


def _time(entry_id: str) -> tuple[int, int]:
    milliseconds, _, serial = entry_id.partition("-")
    return int(milliseconds), int(serial)

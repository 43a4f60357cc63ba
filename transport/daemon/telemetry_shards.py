"""Shards of telemetry: for each a client, a store and its trimming, so that one that is away delays no other.

A gateway with one shard has none of these: `transport.daemon.backend` stores everything. With several,
each stores what is acknowledged to its devices: records, and AVL frames that cannot be decoded, because
acknowledgements are positional. What is not acknowledged stays where ledger and registry are.

An error of a shard says nothing about the server of the fleet: it neither delays the janitor, nor is the
gateway not ready because of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from fsm.backlog import LIMIT, Backlog
from fsm.telemetry import PendingFrame
from store.client.client import Client, connect
from store.client.errors import StoreError, is_transient
from store.client.url import CLUSTER, read_url
from store.diagnosis.rights import check_shard_rights
from store.keys import Keys
from store.streams.caps import Memory, shard_caps
from store.streams.shard_counts import ShardCounts, shard_clients
from store.streams.telemetry import Telemetry
from store.streams.trimmer import Trimmer
from transport.clock import Clock
from transport.daemon.outages import Outages
from transport.daemon.trim_reports import TrimReports, cap_settings
from transport.metrics import Metrics
from transport.settings import Settings

BLOCK = 2.0
"""Seconds that a call may block: frames in flight are stored again after a time-out."""
RETRY = 1.0
LEAST = 2 * 1024 * 1024
"""Bytes of backlog that a shard has at least."""


def backlog_limit(shards: int) -> int:
    """Bytes of the backlog of each store: all together have as much as one, if that is enough for each."""
    return LIMIT if shards == 1 else max(LEAST, LIMIT // (shards + 1))


class ShardContext(NamedTuple):
    """What the shards of a gateway have in common.

    Attributes:
        on_refused: as of `store.streams.telemetry`.
    """

    settings: Settings
    url: str
    clock: Clock
    metrics: Metrics
    reports: TrimReports
    on_refused: Callable[[PendingFrame], None]


class TelemetryShard:
    """One of several shards.

    Args:
        keys: its names.
        on_progress: as of `store.streams.telemetry`.
    """

    def __init__(self, context: ShardContext, keys: Keys, on_progress: Callable[[], None]) -> None:
        settings, url, clock, metrics, reports, on_refused = context
        self.keys = keys
        self._metrics = metrics
        self._outages = Outages(clock.monotonic, shard=keys.shard)
        self._on_progress = on_progress
        self.client = connect(
            url,
            purpose=f"{settings.instance_id}:telemetry:{keys.shard}",
            key_prefix=settings.key_prefix,
            near=keys.telemetry,
            block=BLOCK,
        )
        self.client.on_answer = metrics.redis_calls.labels("telemetry").observe
        alone = read_url(url).kind == CLUSTER  # or the store of the fleet tells of the same memory
        self.trimmer = Trimmer(
            self.client,
            keys,
            shard_caps(keys, cap_settings(settings)),
            retention=settings.retention,
            now_ms=clock.now_ms,
            on_trimmed=reports.trimmed,
            on_measured=reports.measured,
            on_memory=partial(reports.memory_read, shard=keys.shard) if alone else _ignore,
        )
        self.store = Telemetry(
            self.client,
            keys,
            settings.instance_id,
            on_error=self.report,
            on_refused=on_refused,
            on_progress=self._progress,
            backlog=Backlog(backlog_limit(settings.telemetry_shards)),
            meter=self.trimmer,
        )

    def _progress(self) -> None:
        self._outages.succeeded()
        self._on_progress()

    def report(self, error: Exception) -> None:
        """Count a failed call, and log it unless the same error was logged recently."""
        kind = error.kind if isinstance(error, StoreError) else type(error).__name__
        self._metrics.store_errors.labels("telemetry", kind).inc()
        self._outages.failed("telemetry", error, transient=is_transient(error))

    async def trim(self) -> None:
        """Trim its streams, if it can be reached."""
        try:
            await self.trimmer.trim()
        except StoreError as error:
            self.report(error)
        else:
            self._outages.succeeded()


def _ignore(_: Memory) -> None:
    """Nothing is said about it."""


class TelemetryShards:
    """All shards of a gateway, none of which may be there; and those that others in the fleet have or had.

    Args:
        client: of the server where ledger and registry are.
        on_progress: called with the number of a shard that has stored something.
        on_error: given an error of the server where ledger and registry are.
    """

    def __init__(
        self,
        context: ShardContext,
        keys: Keys,
        client: Client,
        *,
        on_progress: Callable[[int], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        settings = context.settings
        count = settings.telemetry_shards
        self._interval = settings.janitor_interval
        self._on_error = on_error
        self.shards = [
            TelemetryShard(context, shard, partial(on_progress, number))
            for number, shard in enumerate(keys.shards(count))
            if count > 1
        ]
        self._counts = ShardCounts(
            client,
            keys,
            count,
            open_client=shard_clients(context.url, f"{settings.instance_id}:old-shard", settings.key_prefix),
            maxlen=settings.telemetry_maxlen,
            retention=settings.retention,
            now_ms=context.clock.now_ms,
        )

    async def check_rights(self) -> None:
        """Try the rights to all shards.

        Raises:
            LoginRefused, RightsMissing, ServerUnfit: a server answers, but refuses the login or a right.
        """
        for shard in self.shards:
            await check_shard_rights(shard.client, shard.keys)

    async def run(self) -> None:
        """Note for readers how many shards there are, and trim, again and again."""
        while True:
            done = await self._note()
            await asyncio.gather(*(shard.trim() for shard in self.shards))
            await asyncio.sleep(self._interval if done else min(RETRY, self._interval))

    async def _note(self) -> bool:
        """Note the number, and clear old shards; whether the number is noted."""
        noted = False
        try:
            await self._counts.note()
            noted = True
            await self._counts.clear_old()
        except StoreError as error:
            self._on_error(error)
        return noted

    async def close(self) -> None:
        """Close the clients."""
        for shard in self.shards:
            await shard.client.aclose()

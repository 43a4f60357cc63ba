"""Checks the shards of telemetry: whether gateways agree on their number, each of them, and what is left of
earlier ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from redis.asyncio import Redis

from store.client.errors import StoreError
from store.diagnosis.server import CRITICAL, OK, WARNING, Report, evaluate
from store.diagnosis.server_facts import ask
from store.diagnosis.shared_keys import Bounds, check_caps
from store.keys import Keys
from store.streams.caps import shard_caps
from store.streams.entry_ids import after
from store.streams.shard_counts import ShardClient, read_counts
from store.streams.trimmer import read_memory

SUBJECT = "telemetry shards"


@dataclass(slots=True, frozen=True)
class ShardServers:
    """The servers of shards.

    Attributes:
        client_of: the client of the server that has the streams of a shard.
        host_ms: epoch ms by the clock of this host, if these may be other servers than that of the fleet.
    """

    client_of: ShardClient
    host_ms: Callable[[], int] | None = None


@dataclass(slots=True, frozen=True)
class KnownShards:
    """What is known of the shards of a fleet.

    Attributes:
        noted: each number that is noted, and epoch ms when a gateway noted it last.
        by_gateway: the number that each live gateway has.
    """

    noted: Mapping[int, int]
    by_gateway: Mapping[str, int]

    @property
    def count(self) -> int:
        """The number of most live gateways; without any, the one that was noted last."""
        if self.by_gateway:
            return Counter(self.by_gateway.values()).most_common(1)[0][0]
        return max(self.noted, key=lambda count: (self.noted[count], count))

    def current(self, keys: Keys) -> list[Keys]:
        """The shards that live gateways append to."""
        return keys.all_shards({self.count, *self.by_gateway.values()})

    def old(self, keys: Keys) -> list[Keys]:
        """The shards that no live gateway appends to."""
        current = set(self.current(keys))
        return [shard for shard in keys.all_shards(self.noted) if shard not in current]


async def known_shards(
    report: Report, client: Redis, keys: Keys, by_gateway: Mapping[str, int]
) -> KnownShards:
    """What is known of the shards of a fleet; `by_gateway` as of `KnownShards`.

    Raises:
        StoreError: the server cannot be reached, or refuses all calls now.
    """
    noted = await report.attempt(keys.shard_counts, read_counts(client, keys), {1: 0})
    return KnownShards(noted, by_gateway)


async def diagnose_shards(
    report: Report,
    keys: Keys,
    bounds: Bounds,
    known: KnownShards,
    now_ms: int,
    servers: ShardServers,
) -> None:
    """Add the findings to `report`; `now_ms` is epoch ms of Redis."""
    _agreement(report, known)
    groups: set[bytes] = set()
    seen: set[object] = set()
    for shard in known.current(keys):
        client = servers.client_of(shard)
        try:
            if shard.shard is not None:
                await _current(report, client, shard, replace(bounds, telemetry_shards=known.count), now_ms)
                if servers.host_ms is not None:
                    await _server(report, client, shard, servers.host_ms, seen)
            groups |= await _groups(client, shard.telemetry)
        except StoreError as error:
            _away(report, shard, error)
    for shard in known.old(keys):
        try:
            await report.attempt(
                shard.telemetry, _left(report, servers.client_of(shard), shard, groups), None
            )
        except StoreError as error:
            _away(report, shard, error)


def _agreement(report: Report, known: KnownShards) -> None:
    counts = sorted(set(known.by_gateway.values()))
    if len(counts) > 1:
        told = "; ".join(
            f"{count}: {', '.join(name for name, own in known.by_gateway.items() if own == count)}"
            for count in counts
        )
        mend = (
            "Start all gateways with the same --telemetry-shards: until then the records of a device may "
            "be in two streams."
        )
        found = f"gateways do not agree on their number: {told}"
        of_each = {f"shards:{name}": count for name, count in known.by_gateway.items()}
        report.add(WARNING, SUBJECT, found, mend, of_each)
    elif known.count > 1:
        report.add(OK, SUBJECT, f"{known.count}", counts={"shards": known.count})


async def _current(report: Report, client: Redis, shard: Keys, bounds: Bounds, now_ms: int) -> None:
    limit = (await read_memory(client)).limit
    for caps in shard_caps(shard, bounds):
        await check_caps(report, client, shard, caps, limit, now_ms)


async def _server(
    report: Report, client: Redis, shard: Keys, host_ms: Callable[[], int], seen: set[object]
) -> None:
    """Check the server of a shard, unless it was checked for another one."""
    server = await ask(client, host_ms)
    if (run := server.info.get("run_id", client)) in seen:
        return
    seen.add(run)
    for finding in evaluate(server):
        if finding.level != OK:
            subject = f"{finding.subject}, server of shard {shard.shard}"
            report.add(finding.level, subject, finding.found, finding.mend, finding.counts)


def _away(report: Report, shard: Keys, error: StoreError) -> None:
    found = f"cannot be reached: {error or type(error).__name__}"
    mend = "Repair its server: until then its devices get no acknowledgement, and keep their records."
    report.add(CRITICAL, shard.telemetry, found, mend)


async def _groups(client: Any, stream: str) -> set[bytes]:
    if not await client.exists(stream):
        return set()
    return {bytes(group["name"]) for group in await client.xinfo_groups(stream)}


async def _left(report: Report, client: Any, shard: Keys, readers: Collection[bytes]) -> None:
    """Whether everything in an old shard is read, by its own groups and those that read the present ones."""
    stream = shard.telemetry
    length = await client.xlen(stream)
    if not length:
        return
    found = f"{length} entries, from another --telemetry-shards"
    groups = await client.xinfo_groups(stream)
    behind = {bytes(group["name"]) for group in groups if await _is_behind(client, stream, group)}
    behind |= set(readers) - {bytes(group["name"]) for group in groups}
    if behind:
        names = ", ".join(sorted(name.decode(errors="replace") for name in behind))
        mend = "Let these groups read this stream, too, or XGROUP DESTROY them if nobody uses them."
        report.add(WARNING, stream, f"{found}, not all read by {names}", mend, {"entries": length})
    else:
        found += "; all read, and removed when they are older than the retention"
        report.add(OK, stream, found, counts={"entries": length})


async def _is_behind(client: Any, stream: str, group: Mapping[str, Any]) -> bool:
    """Whether a group has entries that it has not read, or not acknowledged."""
    start = after(group["last-delivered-id"])
    return bool(group["pending"] or (start and await client.xrange(stream, start, count=1)))

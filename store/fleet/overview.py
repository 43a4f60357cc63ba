"""A fleet at a glance: its gateways, its server, how far its consumers are, and how much flows.

All of it comes in a few round trips. A user who may not ask for something, such as ``INFO``, gets the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis

from fsm.shards import MOST
from store.client.client import Calls
from store.client.errors import StoreError
from store.client.numbers import whole
from store.keys import GROUP, Keys


@dataclass(slots=True, frozen=True)
class Instance:
    """A gateway that is known.

    Attributes:
        heartbeat_age_ms: since its last heartbeat; None if it has none, so that it counts as dead.
        waiting: entries of its outbound stream: commands that have not ended.
    """

    instance_id: str
    heartbeat_age_ms: int | None
    waiting: int


@dataclass(slots=True, frozen=True)
class Consumer:
    """A consumer group on a stream; on all shards of telemetry together, which count as one stream.

    Attributes:
        lag: entries that it has not read; None where the server does not say (before Redis 7).
        pending: entries that it has read and not acknowledged.
    """

    stream: str
    group: str
    lag: int | None
    pending: int


@dataclass(slots=True, frozen=True)
class Server:
    """The server of the fleet, as ``INFO`` tells; None where it does not.

    Attributes:
        memory, memory_limit: bytes; a limit of 0 is none.
        calls: a second, lately.
    """

    version: str | None = None
    memory: int | None = None
    memory_limit: int | None = None
    clients: int | None = None
    calls: int | None = None


@dataclass(slots=True, frozen=True)
class Overview:
    """What `OverviewReader.read` found.

    Attributes:
        now_ms: epoch ms by the clock of Redis.
        devices: in the registry.
        records, events: entries that were ever appended to the streams of records and to the log; None where
            the server does not say (before Redis 7).
    """

    now_ms: int
    instances: tuple[Instance, ...]
    consumers: tuple[Consumer, ...]
    server: Server
    devices: int
    records: int | None
    events: int | None


class OverviewReader:
    """Reads the overview. It needs no right to write.

    Args:
        client_of: the client of the server that has the streams of a shard.
    """

    def __init__(self, client: Redis, keys: Keys, client_of: Callable[[Keys], Redis] | None = None) -> None:
        self._client = cast(Calls, client)
        self._keys = keys
        self._client_of = client_of or (lambda _: client)

    async def read(self) -> Overview:
        """What is true now.

        Raises:
            StoreError: the server does not answer, or refuses what every reader needs.
        """
        keys = self._keys
        time, known, devices, info, counts, log, log_groups = await self._client.batch(
            [
                *(["TIME"], ["HKEYS", keys.instances], ["HLEN", keys.registry], ["INFO"]),
                *(["HKEYS", keys.shard_counts], *_facts_of(keys.responses)),
            ]
        )
        for reply in (time, known, devices):
            if isinstance(reply, StoreError):
                raise reply
        now_ms = int(time[0]) * 1000 + int(time[1]) // 1000
        shards = await self._shards(counts)
        added = [found for found in (_added(stream) for stream, _ in shards) if found is not None]
        readers = [one for _, groups in shards for one in _consumers(keys.telemetry, groups)]
        return Overview(
            now_ms=now_ms,
            instances=await self._instances(sorted(_text(name) for name in known), now_ms),
            consumers=(*_consumers(keys.responses, log_groups), *_together(readers)),
            server=_server(info),
            devices=int(devices),
            records=sum(added) if added else None,
            events=_added(log),
        )

    async def _shards(self, counts: Any) -> list[tuple[Any, Any]]:
        """The facts about the stream of each shard, and about its groups; errors where there are none."""
        noted = [] if isinstance(counts, StoreError) else [whole(_text(count), 0) for count in counts]
        found = []
        for shard in self._keys.all_shards([count for count in noted if 0 < count <= MOST] or [1]):
            client = cast(Calls, self._client_of(shard))
            try:
                stream, groups = await client.batch(_facts_of(shard.telemetry))
            except StoreError as error:
                stream = groups = error
            found.append((stream, groups))
        return found

    async def _instances(self, names: Sequence[str], now_ms: int) -> tuple[Instance, ...]:
        keys = self._keys
        calls = [
            call for name in names for call in (["GET", keys.heartbeat(name)], ["XLEN", keys.outbound(name)])
        ]
        replies = await self._client.batch(calls) if calls else []
        found = []
        for name, beat, waiting in zip(names, replies[::2], replies[1::2], strict=True):
            written = None if beat is None or isinstance(beat, StoreError) else whole(_text(beat), now_ms)
            found.append(
                Instance(
                    name,
                    None if written is None else max(0, now_ms - written),
                    0 if isinstance(waiting, StoreError) else int(waiting),
                )
            )
        return tuple(found)


def _consumers(stream: str, reply: Any) -> list[Consumer]:
    """The groups of a stream, in the order of their names; those of the gateways are not consumers."""
    if isinstance(reply, StoreError):
        return []
    rows = [_pairs(row) for row in reply]
    return [
        Consumer(stream, _text(row["name"]), row.get("lag"), int(row["pending"]))
        for row in sorted(rows, key=lambda row: bytes(row["name"]))
        if row["name"] != GROUP.encode()
    ]


def _together(readers: Iterable[Consumer]) -> list[Consumer]:
    """One consumer for each group: what it has not read of all of the streams."""
    groups: dict[str, Consumer] = {}
    for one in readers:
        known = groups.get(one.group, Consumer(one.stream, one.group, 0, 0))
        lag = None if one.lag is None or known.lag is None else one.lag + known.lag
        groups[one.group] = Consumer(one.stream, one.group, lag, one.pending + known.pending)
    return [groups[name] for name in sorted(groups)]


def _facts_of(stream: str) -> list[list[str]]:
    return [["XINFO", "STREAM", stream], ["XINFO", "GROUPS", stream]]


def _added(reply: Any) -> int | None:
    return None if isinstance(reply, StoreError) else _pairs(reply).get("entries-added")


def _pairs(reply: Any) -> dict[str, Any]:
    """A map of the protocol: names and values in turn, or what the driver has made of it."""
    if isinstance(reply, Mapping):
        return {_text(name): value for name, value in reply.items()}
    return {_text(name): value for name, value in zip(reply[::2], reply[1::2], strict=True)}


def _server(reply: Any) -> Server:
    if isinstance(reply, StoreError):
        return Server()
    lines = _text(reply).splitlines() if isinstance(reply, bytes) else []
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    if isinstance(reply, Mapping):
        facts = {_text(name): str(value) for name, value in reply.items()}

    def number(name: str) -> int | None:
        return whole(facts[name], 0) if name in facts else None

    return Server(
        version=facts.get("valkey_version") or facts.get("redis_version"),
        memory=number("used_memory"),
        memory_limit=number("maxmemory"),
        clients=number("connected_clients"),
        calls=number("instantaneous_ops_per_sec"),
    )


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)

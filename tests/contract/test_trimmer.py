"""Streams are kept below their caps in bytes, by whoever appends to them, and before memory is full."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from store.client.errors import StoreRefused
from store.keys import Keys
from store.streams.caps import CapSettings, Memory, stream_caps
from store.streams.trimmer import Trimmer
from store.streams.volume import read_sizes, weight

KEYS = Keys()
KEY = KEYS.telemetry
CAP = 2**20
ENTRY = 2000
NO_LIMIT = Memory(used=10 * CAP)


class Writer:
    """A process that appends entries, and trims when that is due."""

    def __init__(self, client: Redis, memory: Memory = NO_LIMIT, **caps: int) -> None:
        self._client: Any = client
        self.memory = memory
        self.trimmed: list[tuple[str, int]] = []
        self.held: dict[str, int] = {}
        self.longest = 0
        self.trimmer = Trimmer(
            client,
            KEYS,
            stream_caps(KEYS, CapSettings(**({"telemetry_maxbytes": CAP} | caps))),
            retention=3600,
            now_ms=lambda: 10_000,
            on_trimmed=lambda name, count: self.trimmed.append((name, count)),
            on_measured=self.held.__setitem__,
            memory=self._memory,
        )

    async def _memory(self) -> Memory:
        return self.memory

    async def append(self, count: int, key: str = KEY) -> None:
        """Append so many entries, ten in a call."""
        for _ in range(0, count, 10):
            if self.trimmer.due:
                await self.trimmer.settle()
            for _ in range(10):
                await self._client.xadd(key, {"data": "x" * ENTRY})
            self.trimmer.add(key, 10, 10 * ENTRY)
            self.longest = max(self.longest, await self._client.xlen(key))


async def bytes_of(client: Redis, key: str = KEY) -> int:
    """What the data of a stream take."""
    return ENTRY * int(await client.xlen(key))


async def test_a_stream_stays_below_its_cap_in_bytes_while_it_is_written(any_redis: Redis) -> None:
    writer = Writer(any_redis)
    await writer.append(2000)
    assert CAP / 2 < await bytes_of(any_redis) <= CAP
    assert writer.longest * ENTRY <= CAP + 100 * ENTRY  # whole nodes are removed
    assert writer.trimmed == []


async def test_what_a_cap_in_bytes_takes_unread_is_counted(any_redis: Redis) -> None:
    await any_redis.xgroup_create(KEY, "group", "0", mkstream=True)
    writer = Writer(any_redis)
    await writer.append(2000)
    gone = 2000 - await any_redis.xlen(KEY)
    assert sum(count for _, count in writer.trimmed) == gone > 0
    assert {name for name, _ in writer.trimmed} == {"telemetry"}


async def test_a_small_stream_is_not_trimmed(any_redis: Redis) -> None:
    writer = Writer(any_redis)
    await writer.append(200)
    await writer.trimmer.trim()
    assert await any_redis.xlen(KEY) == 200


async def test_what_another_process_appended_counts(any_redis: Redis) -> None:
    one, other = Writer(any_redis), Writer(any_redis)
    for _ in range(40):
        await one.append(20)
        await other.append(20)
    assert await bytes_of(any_redis) <= CAP
    await one.trimmer.trim()
    assert 0.5 * CAP < one.held["telemetry"] < 1.2 * CAP


async def test_it_is_due_at_first_and_after_each_quantum(any_redis: Redis) -> None:
    writer, due = Writer(any_redis), []
    for size in (0, CAP // 512, CAP // 256):
        writer.trimmer.add(KEY, 1, size)
        due.append(writer.trimmer.due)
        if size == 0:
            await writer.trimmer.settle()
    assert due == [True, False, True]


async def test_the_ledger_of_sizes_is_short(any_redis: Redis) -> None:
    writer = Writer(any_redis)
    await writer.append(2000)
    sizes = await read_sizes(any_redis, KEY, KEYS.sizes(KEY))
    assert 0 < len(sizes) <= 256
    assert await any_redis.xlen(KEYS.sizes(KEY)) <= 300


async def test_telemetry_gives_way_when_memory_is_short(any_redis: Redis) -> None:
    writer = Writer(any_redis, Memory(used=0, limit=10 * CAP))
    await writer.append(400)
    before = await any_redis.xlen(KEY)
    writer.memory = Memory(used=8 * CAP + CAP // 4, limit=10 * CAP)
    await writer.trimmer.settle()
    gone = before - await any_redis.xlen(KEY)
    assert CAP / 5 <= weight(gone, gone * ENTRY) < CAP / 2  # whole nodes are removed


async def test_telemetry_keeps_a_part_whatever_else_fills_the_memory(any_redis: Redis) -> None:
    writer = Writer(any_redis, Memory(used=0, limit=10 * CAP))
    await writer.append(400)
    writer.memory = Memory(used=10 * CAP, limit=10 * CAP)
    for _ in range(5):
        await writer.trimmer.settle()
    assert await bytes_of(any_redis) > CAP / 8


async def test_the_log_does_not_give_way(any_redis: Redis) -> None:
    writer = Writer(any_redis, Memory(used=0, limit=10 * CAP))
    await writer.append(100, KEYS.responses)
    writer.memory = Memory(used=10 * CAP, limit=10 * CAP)
    await writer.trimmer.trim()
    assert await any_redis.xlen(KEYS.responses) == 100


async def test_the_log_has_a_cap_in_bytes(any_redis: Redis) -> None:
    writer = Writer(any_redis, responses_maxbytes=CAP)
    await writer.append(1000, KEYS.responses)
    await writer.trimmer.trim()
    assert CAP / 2 < await bytes_of(any_redis, KEYS.responses) <= CAP


async def test_a_key_of_a_wrong_type_does_not_keep_other_streams_from_being_trimmed(any_redis: Redis) -> None:
    await any_redis.xadd(KEYS.responses, {"kind": "command"})
    await any_redis.set(KEYS.sizes(KEYS.responses), "no stream")
    writer = Writer(any_redis, telemetry_maxlen=100)
    await writer.append(300)
    with pytest.raises(StoreRefused):
        await writer.trimmer.trim()
    assert await any_redis.xlen(KEY) == 100


@pytest.mark.parametrize(
    ("limit", "given", "cap"),
    [(0, 0, 1_000_000 * 2048), (2**30, 0, 2**29), (1, 0, 8 * CAP), (2**30, 5 * CAP, 5 * CAP), (0, CAP, CAP)],
)
def test_a_cap_is_given_or_chosen(limit: int, given: int, cap: int) -> None:
    caps = {one.name: one for one in stream_caps(KEYS, CapSettings(telemetry_maxbytes=given))}
    assert caps["telemetry"].bytes(limit) == cap


def test_chosen_caps_leave_room_for_everything_else() -> None:
    caps = stream_caps(KEYS, CapSettings())
    assert sum(one.bytes(2**30) for one in caps) < 0.85 * 2**30

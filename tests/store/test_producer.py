"""What a producer writes and reads, on an in-memory Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from store.client.errors import CallFailed
from store.keys import Keys
from store.streams import producer as module
from store.streams.producer import LogEntry, Producer, StoreUnreachable

KEYS = Keys("{test}:")


@pytest.fixture
def redis(fake_redis: Any) -> Any:
    """The imitation, without the driver's types of replies."""
    return fake_redis


@pytest.fixture
def producer(redis: Any) -> Producer:
    return Producer(redis, KEYS)


async def event(redis: Any, command_id: str, seq: int, **more: str) -> str:
    fields = {"kind": "command", "command_id": command_id, "seq": str(seq), "terminal": "0", **more}
    return str((await redis.xadd(KEYS.responses, fields)).decode())


async def take(entries: AsyncIterator[LogEntry], count: int) -> list[LogEntry]:
    taken: list[LogEntry] = []
    async for entry in entries:
        taken.append(entry)
        if len(taken) == count:
            break
    return taken


async def test_the_holder_of_a_device_is_read_from_the_registry(redis: Any, producer: Producer) -> None:
    await redis.hset(KEYS.registry, "352093081452251", "gw-1")
    assert await producer.holder("352093081452251") == "gw-1"
    assert await producer.holder("352093081452252") is None


async def test_a_command_is_published_as_flat_fields(redis: Any, producer: Producer) -> None:
    outbound_id = await producer.publish("gw-1", {"command_id": "c1", "payload": " getinfo"})
    ((entry_id, fields),) = await redis.xrange(KEYS.outbound("gw-1"))
    assert entry_id.decode() == outbound_id
    assert fields == {b"command_id": b"c1", b"payload": b" getinfo"}


async def test_the_tail_of_an_empty_log_is_its_beginning(redis: Any, producer: Producer) -> None:
    assert await producer.tail() == "0-0"
    await event(redis, "c1", 1)
    last = await event(redis, "c1", 2)
    assert await producer.tail() == last


async def test_following_begins_after_the_given_entry_and_skips_nothing(
    redis: Any, producer: Producer
) -> None:
    first = await event(redis, "c1", 1)
    await event(redis, "c1", 2)
    await redis.xadd(KEYS.responses, {"kind": "later", b"\xff": b"\xfe"})
    entries = await take(producer.follow(first, block=0), 2)
    assert entries[0][1]["seq"] == "2"
    assert entries[1][1]["\ufffd"] == "\ufffd"


async def test_the_outcome_ends_with_the_terminal_event_of_the_command(
    redis: Any, producer: Producer
) -> None:
    start = await producer.tail()
    await event(redis, "c1", 1, state="queued")
    await event(redis, "c2", 1, state="failed", terminal="1")
    await event(redis, "c1", 2, state="failed", terminal="1")
    await event(redis, "c1", 3)
    seen = [fields["seq"] async for _, fields in producer.outcome("c1", start, block=0)]
    assert seen == ["1", "2"]


async def test_a_history_longer_than_a_page_is_read_whole(
    redis: Any, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    await event(redis, "c1", 0)
    first = await event(redis, "c1", 1)
    for seq in (2, 3):
        await event(redis, "c2", seq)
        last = await event(redis, "c1", seq)
    await event(redis, "c1", 4)
    await redis.hset(KEYS.ledger("c1"), mapping={"first": first, "last": last})
    assert [fields["seq"] for _, fields in await producer.history("c1")] == ["1", "2", "3"]


async def test_a_command_without_a_ledger_has_no_history(producer: Producer) -> None:
    assert await producer.history("c1") == []


async def test_time_is_that_of_redis(producer: Producer) -> None:
    assert await producer.now_ms() > 10**12


async def test_an_unreachable_redis_is_an_error_of_ours(
    redis: Any, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(*_: object) -> None:
        raise CallFailed("Connection refused")

    monkeypatch.setattr(redis, "hget", down)
    with pytest.raises(StoreUnreachable, match="Connection refused"):
        await producer.holder("352093081452251")

"""Entries of the log that no command asked for give way to all others, however many there are."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from fsm.events import SessionEvent
from store.keys import Keys
from store.streams.session_log import SessionLog
from store.streams.trimming import Trimmed, trim_stream
from store.streams.unasked import Unasked

KEYS = Keys()
KEY, INDEX = KEYS.responses, KEYS.unasked
NEVER_OLD = 10**15
SHARE = 300


async def flood(client: Redis, spawn: Any, count: int) -> None:
    """So many session events, each of a session of its own."""
    log = SessionLog(client, KEY, INDEX, on_error=fail)
    for number in range(count):
        log.append(SessionEvent(f"s{number}", 1, "identified", "handshake", "identify"), 7)
    task = spawn(log.run())
    assert await log.flush(10) == 0
    log.stop()
    await task


def fail(error: Exception) -> None:
    raise error


async def verdict(client: Redis, number: int) -> None:
    await client.xadd(KEY, {"kind": "command", "command_id": f"c{number}"})


async def trim(client: Redis, maxlen: int = 1000, share: int = SHARE) -> Trimmed:
    unasked = Unasked(client, KEY, INDEX, share)
    return await trim_stream(client, KEY, maxlen, NEVER_OLD, NEVER_OLD, unasked=unasked)


async def verdicts(client: Redis) -> list[bytes]:
    found = await client.xrange(KEY)
    return [fields[b"command_id"] for _, fields in found if fields[b"kind"] == b"command"]


async def test_no_number_of_session_events_removes_an_unread_verdict(any_redis: Redis, spawn: Any) -> None:
    await any_redis.xgroup_create(KEY, "group", "0", mkstream=True)
    for number in range(3):
        await flood(any_redis, spawn, 700)
        await verdict(any_redis, number)
        trimmed = await trim(any_redis)
        assert (trimmed.unread, trimmed.unasked) == (0, 400 if number == 0 else 700)
    await flood(any_redis, spawn, 700)
    await trim(any_redis, maxlen=100, share=25)
    assert await verdicts(any_redis) == [b"c0", b"c1", b"c2"]
    assert await any_redis.xlen(INDEX) <= 25
    [(_, entries)] = await any_redis.xreadgroup("group", "reader", {KEY: ">"})
    assert sum(fields[b"kind"] == b"command" for _, fields in entries) == 3


async def test_the_newest_session_events_stay(any_redis: Redis, spawn: Any) -> None:
    await flood(any_redis, spawn, 1000)
    await trim(any_redis)
    left = [fields[b"session_id"] for _, fields in await any_redis.xrange(KEY)]
    assert left == [b"s%d" % number for number in range(700, 1000)]


async def test_below_its_share_nothing_is_deleted(any_redis: Redis, spawn: Any) -> None:
    await flood(any_redis, spawn, 300)
    assert await trim(any_redis) == Trimmed(0, 0, 0)
    assert await any_redis.xlen(KEY) == 300


async def test_session_events_go_before_unread_verdicts_even_within_their_share(
    any_redis: Redis, spawn: Any
) -> None:
    await any_redis.xgroup_create(KEY, "group", "0", mkstream=True)
    for number in range(900):
        await verdict(any_redis, number)
    await flood(any_redis, spawn, 200)
    assert await trim(any_redis) == Trimmed(0, 0, 100)
    assert len(await verdicts(any_redis)) == 900


async def test_verdicts_go_when_they_alone_are_above_the_cap(any_redis: Redis, spawn: Any) -> None:
    await any_redis.xgroup_create(KEY, "group", "0", mkstream=True)
    await flood(any_redis, spawn, 200)
    for number in range(1300):
        await verdict(any_redis, number)
    trimmed = await trim(any_redis)
    left = await verdicts(any_redis)
    assert (trimmed.unasked, trimmed.unread) == (200, 1300 - len(left))
    assert left == [b"c%d" % number for number in range(1300 - len(left), 1300)]
    assert 1000 <= len(left) < 1150  # whole nodes are removed


async def test_acknowledged_entries_go_before_session_events(any_redis: Redis, spawn: Any) -> None:
    await any_redis.xgroup_create(KEY, "group", "0", mkstream=True)
    for number in range(1000):
        await verdict(any_redis, number)
    [(_, entries)] = await any_redis.xreadgroup("group", "reader", {KEY: ">"})
    await any_redis.xack(KEY, "group", *(entry_id for entry_id, _ in entries))
    await flood(any_redis, spawn, 200)
    assert await trim(any_redis) == Trimmed(200, 0, 0)
    assert await any_redis.xlen(INDEX) == 200


async def test_the_index_forgets_what_was_trimmed(any_redis: Redis, spawn: Any) -> None:
    await flood(any_redis, spawn, 300)
    await any_redis.xtrim(KEY, maxlen=0, approximate=False)
    await trim(any_redis)
    assert await any_redis.xlen(INDEX) == 0


async def test_a_log_that_begins_anew_has_an_index_of_its_own(any_redis: Redis, spawn: Any) -> None:
    """An operator has renamed the log because of an entry with an id of the far future."""
    await any_redis.xadd(INDEX, {"": ""}, id=f"{10**15}-0")
    await flood(any_redis, spawn, 400)
    assert await any_redis.xlen(INDEX) == 400
    await trim(any_redis)
    assert await any_redis.xlen(KEY) == 300

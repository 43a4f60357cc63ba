"""The streams on every backend: order, what stays pending, and where each kind of entry is stored."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from redis.asyncio import Redis

from fsm.events import SessionEvent
from fsm.telemetry import FRAME, MESSAGE, RECORD, SERIAL, UNDECODABLE, PendingFrame
from store.keys import GROUP, Keys
from store.streams.outbound import OutboundReader, RawEntry, read_group
from store.streams.session_log import SessionLog
from store.streams.telemetry import Telemetry
from tests.redis.book import ignore

KEYS = Keys()
US = "gw-1"
STREAM = KEYS.outbound(US)
MESSAGE_BODY = b'["type","06","text","hello"]'

# Outbound entries


class Reading:
    """One run of a reader, which ends when nothing is left to read."""

    def __init__(self, client: Redis) -> None:
        self.entries: list[tuple[str, bool]] = []
        self.errors: list[Exception] = []
        self._read = read_group(client, STREAM, US)
        self.reader = OutboundReader(
            client,
            KEYS,
            US,
            on_entries=self._take,
            may_read=lambda: True,
            on_error=self.errors.append,
            next_batch=self._next_batch,
        )

    def _take(self, entries: list[RawEntry], fresh: bool) -> None:
        self.entries += [(entry_id, fresh) for entry_id, _ in entries]

    async def _next_batch(self, cursor: str, block: bool) -> Any:
        entries = await self._read(cursor, False)
        if block and not entries:
            self.reader.stop()
        return entries


async def reading(client: Redis) -> Reading:
    found = Reading(client)
    await found.reader.run()
    return found


async def add(client: Any, *command_ids: str) -> list[str]:
    return [(await client.xadd(STREAM, {"command_id": name})).decode() for name in command_ids]


async def finish(client: Redis, entry_id: str) -> None:
    await client.xack(STREAM, GROUP, entry_id)
    await client.xdel(STREAM, entry_id)


async def test_entries_are_read_once_and_in_stream_order(any_redis: Redis) -> None:
    before = await add(any_redis, "a", "b", "c")
    found = await reading(any_redis)
    assert (found.entries, found.errors) == ([(entry_id, True) for entry_id in before], [])


async def test_entries_stay_pending_until_they_are_finished(any_redis: Redis) -> None:
    first, second, third = await add(any_redis, "a", "b", "c")
    await reading(any_redis)
    await finish(any_redis, second)
    [new] = await add(any_redis, "d")
    again = await reading(any_redis)
    assert [entry for entry in again.entries if entry[1]] == [(new, True)]
    assert [*dict.fromkeys(entry_id for entry_id, _ in again.entries)] == [first, third, new]
    assert await again.reader.pending() == 3


async def test_entries_of_another_consumer_are_taken_over(any_redis: Redis) -> None:
    await any_redis.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    [theirs] = await add(any_redis, "a")
    await any_redis.xreadgroup(GROUP, "another", {STREAM: ">"})
    found = await reading(any_redis)
    assert {*found.entries} == {(theirs, False)}
    pending: Any = await any_redis.xpending_range(STREAM, GROUP, "-", "+", 10)
    assert [entry["consumer"] for entry in pending] == [US.encode()]


async def test_an_entry_deleted_while_pending_is_acknowledged(any_redis: Redis) -> None:
    [gone] = await add(any_redis, "a")
    await reading(any_redis)
    await any_redis.xdel(STREAM, gone)
    again = await reading(any_redis)
    assert (again.entries, await again.reader.pending()) == ([], 0)


async def test_entries_before_the_position_of_the_group_are_found(any_redis: Redis) -> None:
    [skipped] = await add(any_redis, "a")
    await any_redis.xgroup_create(STREAM, GROUP, "$")
    assert (await reading(any_redis)).entries == [(skipped, False)]


async def test_a_lost_stream_gets_its_group_again(any_redis: Redis) -> None:
    await add(any_redis, "a")
    await reading(any_redis)
    await any_redis.delete(STREAM)
    [new] = await add(any_redis, "b")
    assert (await reading(any_redis)).entries == [(new, True)]


# Telemetry


async def stored(client: Redis, spawn: Any, *frames: tuple[str, list[bytes]]) -> list[int]:
    """Store frames of these kinds with these bodies; the numbers of those confirmed, in order."""
    confirmed: list[int] = []
    telemetry = Telemetry(client, KEYS, US, on_error=ignore)
    for number, (kind, bodies) in enumerate(frames):
        done = partial(confirmed.append, number)
        telemetry.store(PendingFrame(b"356307042441013", b"8E", 7, bodies, done, kind))
    spawn(telemetry.run())
    assert await telemetry.flush(10) == 0
    return confirmed


async def values(client: Redis, stream: str, field: bytes) -> list[bytes]:
    return [fields[field] for _, fields in await client.xrange(stream)]


async def test_records_are_stored_and_confirmed_in_order(any_redis: Redis, spawn: Any) -> None:
    frames = [(RECORD, [b"%d" % number, b"%d+" % number]) for number in range(300)]
    assert await stored(any_redis, spawn, *frames) == [*range(300)]
    assert await values(any_redis, KEYS.telemetry, b"data") == [body for _, two in frames for body in two]


async def test_each_kind_of_frame_is_stored_on_its_stream(any_redis: Redis, spawn: Any) -> None:
    frames = [(RECORD, [b"{}"]), (FRAME, [b"\x08"]), (UNDECODABLE, [b"\xff"]), (MESSAGE, [MESSAGE_BODY])]
    assert await stored(any_redis, spawn, *frames) == [0, 1, 2, 3]
    records = await any_redis.xrange(KEYS.telemetry)
    assert [fields.get(b"data") for _, fields in records] == [b"{}", None]
    assert [fields.get(b"frame") for _, fields in records] == [None, b"\x08"]
    assert await values(any_redis, KEYS.undecodable, b"frame") == [b"\xff"]
    assert await values(any_redis, KEYS.messages, b"text") == [b"hello"]


@pytest.mark.parametrize(("kind", "serial"), [(MESSAGE, 0), (SERIAL, 1)])
async def test_a_device_that_sends_serial_data_is_remembered(
    any_redis: Redis, spawn: Any, kind: str, serial: int
) -> None:
    await stored(any_redis, spawn, (kind, [MESSAGE_BODY]))
    assert await any_redis.sismember(KEYS.serial, "356307042441013") == serial


# Session events


async def test_session_events_are_appended_in_order(any_redis: Redis, spawn: Any) -> None:
    log = SessionLog(any_redis, KEYS.responses, on_error=ignore)
    for seq in range(1, 1201):
        log.append(SessionEvent("s1", seq, "ready", "identified", "open"), 7)
    spawn(log.run())
    assert await log.flush(10) == 0
    assert await values(any_redis, KEYS.responses, b"seq") == [b"%d" % seq for seq in range(1, 1201)]

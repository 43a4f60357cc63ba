"""The client for back ends on real servers: every entry is handled, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis as Plain
from redis.asyncio import Redis

from store.api import (
    BlockingGateways,
    CommandEvent,
    EntryNotHandled,
    EntryUnreadable,
    Gateways,
    NotPublished,
    StoreUnreachable,
    Subscription,
)
from store.client.errors import StoreRefused
from store.keys import Keys
from store.streams.messages import Message
from tests.rig.local import LocalServer
from tests.rig.waiting import until

KEYS = Keys()
IMEI = "352093081452251"
SOON = {"claim_after": 0.02}
"""Entries that were not acknowledged are taken over at once."""
HANGING = """
import sys, time
from store.api import BlockingGateways
with BlockingGateways(sys.argv[1]) as gateways:
    for event in gateways.events(group="g", consumer="first"):
        print(event.command_id, flush=True)
        time.sleep(600)
"""


async def happen(redis: Any, command_id: str, seq: int, **more: str) -> bytes:
    """Append an event of a command to the log."""
    event = {"kind": "command", "command_id": command_id, "seq": str(seq), "state": "sent", "trigger": "send"}
    entry_id: bytes = await redis.xadd(KEYS.responses, event | {"terminal": "0"} | more)
    return entry_id


async def take(subscription: Subscription[Message], count: int) -> list[tuple[str, int]]:
    """The next events, all of them handled."""
    found: list[tuple[str, int]] = []

    def handle(event: Message) -> None:
        assert isinstance(event, CommandEvent)
        found.append((event.command_id, event.seq))
        if len(found) == count:
            subscription.stop()

    async with asyncio.timeout(20):
        await subscription.run(handle)
    return found


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[tuple[Gateways, list[Exception]]]:
    """A client, and the errors that it survives."""
    errors: list[Exception] = []
    async with Gateways.connect(url, on_error=errors.append) as gateways:
        yield gateways, errors


async def pending(redis: Any, group: str = "g") -> int:
    return int((await redis.xpending(KEYS.responses, group))["pending"])


async def test_two_consumers_of_a_group_share_the_events(redis_url: str, client: Redis) -> None:
    async with connected(redis_url) as (gateways, errors):
        first, second = (gateways.events(group="g", consumer=name, batch=1) for name in ("a", "b"))
        handled: dict[str, list[str]] = {"a": [], "b": []}
        both = asyncio.Event()

        async def handle(name: str, event: Message) -> None:
            assert isinstance(event, CommandEvent)
            handled[name].append(event.command_id)
            if all(handled.values()):
                both.set()
            await both.wait()  # so that neither takes everything
            if sum(map(len, handled.values())) == 10:
                first.stop()
                second.stop()

        for number in range(10):
            await happen(client, f"c{number}", 1)
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            tasks.create_task(first.run(lambda event: handle("a", event)))
            tasks.create_task(second.run(lambda event: handle("b", event)))
    assert sorted(handled["a"] + handled["b"]) == [f"c{number}" for number in range(10)]
    assert await pending(client) == 0
    assert errors == []


async def test_what_a_killed_consumer_had_read_is_taken_over(
    redis_url: str, client: Redis, tmp_path: Path
) -> None:
    for number in range(3):
        await happen(client, f"c{number}", 1)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HANGING, redis_url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"c0\n"
    process.kill()
    await process.wait()
    assert await pending(client) == 3
    async with connected(redis_url) as (gateways, _):
        assert await take(gateways.events(group="g", consumer="second", **SOON), 3) == [
            ("c0", 1),
            ("c1", 1),
            ("c2", 1),
        ]
    assert await pending(client) == 0


async def test_a_consumer_that_starts_again_reads_what_it_had_not_acknowledged(
    redis_url: str, client: Redis
) -> None:
    for number in range(3):
        await happen(client, f"c{number}", 1)
    async with connected(redis_url) as (gateways, _):
        async for event in gateways.events(group="g", consumer="me"):
            assert isinstance(event, CommandEvent)
            if event.command_id == "c1":
                break  # not acknowledged: the next one was not asked for
    assert await pending(client) == 2
    async with connected(redis_url) as (gateways, _):
        assert await take(gateways.events(group="g", consumer="me"), 2) == [("c1", 1), ("c2", 1)]


async def test_an_event_behind_a_later_one_of_its_command_is_passed_over(
    redis_url: str, client: Redis
) -> None:
    for command_id, seq in (("c1", 1), ("c1", 3), ("c1", 2), ("c1", 3), ("c2", 1)):
        await happen(client, command_id, seq)
    async with connected(redis_url) as (gateways, _):
        assert await take(gateways.events(group="g"), 3) == [("c1", 1), ("c1", 3), ("c2", 1)]
    assert await pending(client) == 0


async def test_a_failing_handler_delays_its_own_entry_only(redis_url: str, client: Redis) -> None:
    for number in range(3):
        await happen(client, f"c{number}", 1)
    tries: list[str] = []
    async with connected(redis_url) as (gateways, errors):
        events = gateways.events(group="g", **SOON)

        def handle(event: Message) -> None:
            assert isinstance(event, CommandEvent)
            tries.append(event.command_id)
            if event.command_id == "c0" and tries.count("c0") < 3:
                raise ValueError("not now")
            if event.command_id == "c0":
                events.stop()

        async with asyncio.timeout(20):
            await events.run(handle)
    assert tries == ["c0", "c1", "c2", "c0", "c0"]
    assert [str(error.__cause__) for error in errors] == ["not now", "not now"]
    assert await pending(client) == 0


async def test_an_entry_that_cannot_be_handled_is_given_up(redis_url: str, client: Redis) -> None:
    await happen(client, "c0", 1)
    async with connected(redis_url) as (gateways, errors):
        events = gateways.events(group="g", attempts=2, **SOON)

        def handle(_: Message) -> None:
            if len(errors) == 1:
                events.stop()
            raise ValueError

        async with asyncio.timeout(20):
            await events.run(handle)
    told = [(error.attempts, error.given_up) for error in errors if isinstance(error, EntryNotHandled)]
    assert told == [(1, False), (2, True)]
    assert await pending(client) == 0


async def test_entries_that_are_no_message_hold_up_nothing(redis_url: str, client: Redis) -> None:
    await client.xadd(KEYS.responses, {"kind": "command", "seq": "x"})
    await client.xadd(KEYS.responses, {"kind": "of a later version"})
    await happen(client, "c0", 1)
    async with connected(redis_url) as (gateways, errors):
        assert await take(gateways.events(group="g"), 1) == [("c0", 1)]
    assert [type(error) for error in errors] == [EntryUnreadable]
    assert await pending(client) == 0


async def test_a_removed_entry_is_not_waited_for(redis_url: str, client: Redis) -> None:
    first = await happen(client, "c0", 1)
    await client.xgroup_create(KEYS.responses, "g", "0")
    await client.xreadgroup("g", "dead", {KEYS.responses: ">"})
    await client.xdel(KEYS.responses, first)
    await happen(client, "c1", 1)
    async with connected(redis_url) as (gateways, _):
        assert await take(gateways.events(group="g", **SOON), 1) == [("c1", 1)]


async def test_a_group_begins_with_the_next_entry_if_it_is_told_to(redis_url: str, client: Redis) -> None:
    await happen(client, "c0", 1)
    async with connected(redis_url) as (gateways, _):
        taking = asyncio.create_task(take(gateways.events(group="g", start="$"), 1))
        await until(lambda: client.xinfo_groups(KEYS.responses), "the group")
        await happen(client, "c1", 1)
        assert await taking == [("c1", 1)]


async def test_a_group_that_was_removed_is_created_again(redis_url: str, client: Redis) -> None:
    async with connected(redis_url) as (gateways, _):
        events = gateways.events(group="g")
        await happen(client, "c0", 1)
        assert await take(events, 1) == [("c0", 1)]
        await client.delete(KEYS.responses)
        await happen(client, "c1", 1)
        again = gateways.events(group="g")
        assert await take(again, 1) == [("c1", 1)]


async def test_a_missing_right_is_an_error_and_not_an_outage(redis_url: str, client: Redis) -> None:
    await client.set(KEYS.responses, "no stream")
    async with connected(redis_url) as (gateways, _):
        with pytest.raises(StoreRefused, match="WRONGTYPE"):
            await take(gateways.events(group="g"), 1)


async def test_everything_goes_on_after_a_restart_of_redis(tmp_path: Path) -> None:
    with LocalServer.start(tmp_path) as server:
        port, url = server.port, server.url
        async with connected(url) as (gateways, errors):
            redis: Any = Redis.from_url(url, protocol=2)
            await redis.hset(KEYS.registry, IMEI, "gw-1")
            await happen(redis, "c0", 1)
            taking = asyncio.create_task(take(gateways.events(group="g"), 2))
            following = asyncio.create_task(gateways.outcome("c9"))
            await until(lambda: redis.xinfo_groups(KEYS.responses), "the group")
            await asyncio.to_thread(server.stop)
            sending = asyncio.create_task(gateways.send(IMEI, "getinfo", command_id="c9", patience=30))
            await until(lambda: len(errors) > 2, "an outage that all of them meet")
            with LocalServer.start(tmp_path, port):
                sent = await sending
                ((_, fields),) = await redis.xrange(KEYS.outbound(sent.instance_id))
                assert fields[b"command_id"] == b"c9"
                await happen(redis, "c9", 1, state="failed", terminal="1")
                assert await taking == [("c0", 1), ("c9", 1)]
                assert (await asyncio.wait_for(following, 20)).state == "failed"
            await redis.aclose()


async def test_a_call_that_may_have_arrived_is_repeated_with_the_same_id(
    redis_url: str, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.hset(KEYS.registry, IMEI, "gw-1")
    async with connected(redis_url) as (gateways, errors):
        publish, lost = gateways._producer.publish, [StoreUnreachable("lost"), NotPublished("full")]
        for error in lost:
            error.__cause__ = StoreRefused("OOM no memory")

        async def published(*given: Any) -> str:
            entry_id = await publish(*given)
            if lost:
                raise lost.pop(0)
            return entry_id

        monkeypatch.setattr(gateways._producer, "publish", published)
        sent = await gateways.send(IMEI, "getinfo", expires_in=60)
    entries = [fields for _, fields in await client.xrange(KEYS.outbound("gw-1"))]
    assert len(entries) == 3
    assert entries[0] == entries[1] == entries[2]
    assert entries[0][b"command_id"].decode() == sent.command_id
    assert len(errors) == 2


def test_a_program_without_asyncio_reads_and_sends(redis_url: str, client: Redis) -> None:
    with Plain.from_url(redis_url, protocol=2) as redis, BlockingGateways(redis_url) as gateways:
        redis.hset(KEYS.registry, IMEI, "gw-1")
        sent = gateways.send(IMEI, "getinfo", command_id="c1")
        assert (sent.instance_id, redis.xlen(KEYS.outbound("gw-1"))) == ("gw-1", 1)
        event = {"kind": "command", "command_id": "c1", "state": "failed", "trigger": "fail", "terminal": "1"}
        redis.hset(KEYS.ledger("c1"), "instance_id", "gw-1")
        redis.hset(KEYS.ledger("c1"), "first", redis.xadd(KEYS.responses, event | {"seq": "1"}))
        assert gateways.outcome("c1", within=20).state == "failed"
        assert [one.state for one in gateways.follow("c1")] == ["failed"]
        assert gateways.cancel("c1").instance_id == "gw-1"
        with pytest.raises(TimeoutError):
            gateways.outcome("c2", within=0.01)
        events = gateways.events(group="g", **SOON)
        seen: list[str] = []

        def handle(message: Message) -> None:
            assert isinstance(message, CommandEvent)
            seen.append(message.command_id)
            if len(seen) == 1:
                raise ValueError
            events.stop()

        gateways._gateways._on_error = lambda _: None
        events._subscription._on_error = lambda _: None
        events.run(handle)
        assert seen == ["c1", "c1"]
        redis.xadd(
            KEYS.messages, {"imei": IMEI, "codec": "12", "received_at": "7", "type": "06", "text": "x"}
        )
        for message in gateways.messages(group="g"):
            assert message.text == "x"
            break

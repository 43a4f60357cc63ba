"""The patience of clients, one by one: with a server, between calls, and with a question that is shared."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from redis.asyncio import Redis

from store.client.client import HEALTH_CHECK, MAX_CONNECTIONS, TIMEOUT, connect
from store.client.delays import Backoff
from store.client.errors import CallFailed
from store.client.locator import Answer, LocatedConnection, LocatedPool, Locator
from store.client.url import Address
from store.keys import GROUP, Keys
from store.streams import outbound
from store.streams.outbound import OutboundReader

KEYS = Keys()
PATIENCE = 2.0
HERE = ("127.0.0.1", 1)


def test_no_connection_is_made_looked_after_or_waited_for_without_a_bound() -> None:
    pool = connect("redis://127.0.0.1", purpose="test").connection_pool
    given = pool.connection_kwargs
    assert (given["socket_connect_timeout"], given["health_check_interval"]) == (TIMEOUT, HEALTH_CHECK)
    assert pool.max_connections == MAX_CONNECTIONS


async def test_waits_grow_to_the_longest_and_end_with_a_stop() -> None:
    stop = asyncio.Event()
    stop.set()
    backoff = Backoff(first=1.0, last=30.0)
    delays = []
    async with asyncio.timeout(PATIENCE):
        for _ in range(7):
            delays.append(backoff._delay)
            await backoff.wait(stop)
    assert delays == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


# A question that several have


class Slow(Locator):
    """One who is asked, and answers when the test says so."""

    trust = stale = math.inf

    def __init__(self) -> None:
        super().__init__([HERE], lambda node: None)  # type: ignore[arg-type, return-value]
        self.asked = 0
        self.answered = asyncio.Event()

    async def answer(self, connection: Any) -> Answer:
        raise NotImplementedError

    async def _ask_one(self, node: Address) -> Answer | str:
        self.asked += 1
        await self.answered.wait()
        return Answer(1, node)


async def test_who_stops_waiting_for_the_address_of_the_server_ends_nobody_elses_search() -> None:
    locator = Slow()
    one, other = (asyncio.ensure_future(locator.find()) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    await asyncio.wait([one])
    locator.answered.set()
    async with asyncio.timeout(PATIENCE):
        assert await other == HERE
    assert locator.asked == 1


async def test_a_search_has_ended_when_its_clients_are_closed() -> None:
    locator = Slow()
    search = locator._ask()
    closed = asyncio.ensure_future(LocatedPool(connection_class=LocatedConnection, locator=locator).aclose())
    for _ in range(3):
        await asyncio.sleep(0)
    assert not closed.done()
    locator.answered.set()
    async with asyncio.timeout(PATIENCE):
        await closed
    assert search.done()


async def test_a_server_that_is_not_the_one_we_know_is_not_lost() -> None:
    """A late error of an earlier server says nothing of the newer one."""
    locator = Slow()
    locator.moved(("127.0.0.1", 2))
    locator.lost(HERE)
    assert await locator.find() == ("127.0.0.1", 2)


# The reader


def reader_of(client: Redis, errors: list[Exception], **given: Any) -> OutboundReader:
    hooks: Any = {"on_entries": lambda *_: None, "may_read": lambda: True, "on_error": errors.append}
    return OutboundReader(client, KEYS, "gw-1", **hooks, **given)


async def test_the_waits_of_a_reader_grow_to_the_longest(
    fake_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(cursor: str, block: bool) -> Any:
        raise CallFailed("refused")

    reader = reader_of(fake_redis, [], next_batch=away)
    waits: list[float] = []

    async def pause(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 12:
            reader.stop()

    monkeypatch.setattr(outbound.random, "uniform", lambda low, high: high)
    monkeypatch.setattr(reader, "_pause", pause)
    await reader.run()
    assert waits[:3] == [0.05, 0.1, 0.2]
    assert waits[6:] == [2.0] * 6


async def test_a_pause_of_a_reader_ends_with_a_stop(fake_redis: Redis) -> None:
    reader = reader_of(fake_redis, [])
    reader.stop()
    async with asyncio.timeout(PATIENCE):
        await reader._pause(3600.0)


async def test_a_group_that_is_there_is_no_error(fake_redis: Redis) -> None:
    errors: list[Exception] = []
    await fake_redis.xgroup_create(KEYS.outbound("gw-1"), GROUP, id="0", mkstream=True)
    await reader_of(fake_redis, errors)._ensure_group_quietly()
    assert errors == []

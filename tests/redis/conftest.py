"""What the tests of several writers on one Redis share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from store.client.client import connect
from tests.redis.book import Book
from tests.redis.fleet import Fleet

BACKENDS = [
    "fake",
    pytest.param("embedded_server", marks=pytest.mark.redis),
    pytest.param("redis7_server", marks=[pytest.mark.redis, pytest.mark.slow]),
]


@pytest.fixture(params=BACKENDS)
async def fleet(request: pytest.FixtureRequest, fake_redis: Redis) -> AsyncIterator[Fleet]:
    """On the imitation, which is fast, and on each real server."""
    client = fake_redis
    if request.param != "fake":
        client = connect(request.getfixturevalue(request.param).url, purpose="test")
        await client.flushall()
    seconds, _ = await client.time()
    yield Fleet(client, seconds * 1000)
    await client.aclose()


@pytest.fixture(params=BACKENDS)
async def book(request: pytest.FixtureRequest, fake_redis: Redis) -> AsyncIterator[Book]:
    """A ledger on the imitation and on each real server; at the end its log must fold to it."""
    client = fake_redis
    if request.param != "fake":
        client = connect(request.getfixturevalue(request.param).url, purpose="test")
        await client.flushall()
    book = Book(client)
    yield book
    await book.audit()
    await client.aclose()

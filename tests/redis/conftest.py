"""What the tests of several writers on one Redis share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from tests.redis.book import Book
from tests.redis.fleet import Fleet


@pytest.fixture
async def fleet(any_redis: Redis) -> Fleet:
    """Instances on each backend."""
    seconds, _ = await any_redis.time()
    return Fleet(any_redis, seconds * 1000)


@pytest.fixture
async def book(any_redis: Redis) -> AsyncIterator[Book]:
    """A ledger on each backend; at the end its log must fold to it."""
    book = Book(any_redis)
    yield book
    await book.audit()

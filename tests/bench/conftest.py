"""What the benchmarks share. They time calls, and no time can make them fail."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from redis.asyncio import Redis

from store.client.client import connect
from tests.rig.local import LocalServer


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """Runs coroutines, all in one event loop: pytest-benchmark times plain functions."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def redis(embedded_server: LocalServer, runner: asyncio.Runner) -> Iterator[Redis]:
    """A client of a real server, which is empty."""
    client = connect(embedded_server.url, purpose="test")
    runner.run(client.flushall())
    yield client
    runner.run(client.flushall())
    runner.run(client.aclose())

"""Waiting for conditions: a test never waits for a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

from redis.exceptions import RedisError

from store.client.errors import StoreError

T = TypeVar("T")


async def until(condition: Callable[[], Any], what: str, within: float = 30.0) -> None:
    """Wait until `condition`, which may be a coroutine function, holds; while Redis is away it does not."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        with suppress(RedisError, StoreError):
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
        await asyncio.sleep(0.02)
    raise AssertionError(f"It did not come to pass within {within} s: {what}")


async def each(things: Iterable[T], condition: Callable[[T], bool], what: str, within: float = 30.0) -> None:
    """Wait until `condition` has held for each of `things`, if not for all at one moment."""
    left = list(things)

    def none_left() -> bool:
        left[:] = [thing for thing in left if not condition(thing)]
        return not left

    await until(none_left, what, within)

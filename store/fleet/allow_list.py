"""The list of allowed devices as a set in Redis.

A copy answers at once and is refreshed in the background. A device that is not in the copy may have been
added since, so it is looked up in the set: many devices in one call, one call in flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any, cast

from redis.asyncio import Redis

from store.client.errors import StoreError
from store.client.replies import one_each, understood
from store.keys import Keys

BATCH = 500
PATIENCE = 1.0
"""Seconds that a device waits for its answer."""

Done = Callable[[bool], None]


class RedisAllowList:
    """The set ``devices:allowed``.

    A device of the last copy is allowed, whether Redis answers or not. Any other is allowed or refused by
    `when_unavailable` while Redis cannot be asked.

    Args:
        client: a client of its own.
        on_error: told of every failed call.
    """

    def __init__(
        self, client: Redis, keys: Keys, *, when_unavailable: bool, on_error: Callable[[Exception], None]
    ) -> None:
        self._client = cast(Any, client)
        self._key = keys.allowed
        self._when_unavailable = when_unavailable
        self._on_error = on_error
        self._copy: set[str] = set()
        self._asked: list[tuple[str, float, Done]] = []  # imei, when, whom to tell
        self._wake = asyncio.Event()
        self._stale = asyncio.Event()
        self._stale.set()

    def allows(self, imei: str) -> bool | None:
        """True for a device of the copy; None for any other."""
        return True if imei in self._copy else None

    def ask(self, imei: str, done: Done) -> None:
        """Look the device up in the set; `done` is told within `PATIENCE`."""
        self._asked.append((imei, asyncio.get_running_loop().time(), done))
        self._wake.set()

    async def reload(self) -> int:
        """Make the copy anew now; how many devices it names.

        Raises:
            StoreError: a call failed; the copy stays as it was.
        """
        await self.copy()
        return len(self._copy)

    def refresh(self) -> None:
        """Make the copy anew, in the background."""
        self._stale.set()

    async def keep_copy(self) -> None:
        """Make the copy anew whenever that is wanted, until cancelled."""
        while True:
            await self._stale.wait()
            self._stale.clear()
            try:
                await self.copy()
            except StoreError as error:
                self._on_error(error)

    async def copy(self) -> None:
        """Make the copy anew now.

        Raises:
            StoreError: a call failed; the copy stays as it was.
        """
        found: set[str] = set()
        cursor = 0
        while True:
            cursor, members = await self._client.sscan(self._key, cursor, count=1000)
            found.update(member.decode(errors="replace") for member in members)
            if not cursor:
                break
        self._copy = found

    async def answer(self) -> None:
        """Answer those who ask, and who have asked before it began, until cancelled."""
        while True:
            while self._asked:
                await self._answer_some()
            self._wake.clear()
            await self._wake.wait()

    async def _answer_some(self) -> None:
        """Answer the oldest questions; after a failure all of them, since the next call would fail too."""
        batch = list(islice(self._asked, BATCH))
        try:
            async with asyncio.timeout_at(batch[0][1] + PATIENCE):
                imeis = [imei for imei, _, _ in batch]
                reply = await self._client.smismember(self._key, imeis)
                found = await understood(self._client, reply, partial(one_each, imeis))
        except (StoreError, TimeoutError) as error:
            self._on_error(error)
            batch = list(self._asked)
            found = [self._when_unavailable] * len(batch)
        del self._asked[: len(batch)]
        for (_, _, done), member in zip(batch, found, strict=True):
            done(bool(member))

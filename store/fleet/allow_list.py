"""The list of allowed devices as a set in Redis.

A copy answers at once and is refreshed in the background. A device that is not in the copy may have been
added since, so it is looked up in the set: it waits in a `store.client.batch_queue`, and many devices are
looked up in one call.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

from redis.asyncio import Redis

from store.client.batch_queue import BatchQueue
from store.client.errors import StoreError
from store.client.fifo import Fifo
from store.client.replies import one_each, understood
from store.keys import Keys

BATCH = 500
ANSWER_TIMEOUT = 1.0
"""Seconds that a device waits for its answer."""

Done = Callable[[bool], None]


class _Question(NamedTuple):
    imei: str
    asked_at: float
    done: Done


class RedisAllowList:
    """The set ``devices:allowed``.

    A device of the last copy is allowed, whether Redis answers or not. Any other is allowed or refused by
    `when_unavailable` while Redis cannot be asked.

    Args:
        client: a client of its own.
        on_error: called with the error of every failed call.
    """

    def __init__(
        self, client: Redis, keys: Keys, *, when_unavailable: bool, on_error: Callable[[Exception], None]
    ) -> None:
        self._client = cast(Any, client)
        self._key = keys.allowed
        self._when_unavailable = when_unavailable
        self._on_error = on_error
        self._copy: set[str] = set()
        self._asked: BatchQueue[_Question] = BatchQueue(Fifo(BATCH), self._answer)
        self._stale = asyncio.Event()
        self._stale.set()

    def allows(self, imei: str) -> bool | None:
        """True for a device of the copy; None for any other."""
        return True if imei in self._copy else None

    def ask(self, imei: str, done: Done) -> None:
        """Look the device up in the set; `done` is called within `ANSWER_TIMEOUT`."""
        self._asked.put(_Question(imei, asyncio.get_running_loop().time(), done))

    async def reload(self) -> int:
        """Read the set into the copy now; the number of its devices.

        Raises:
            StoreError: a call failed; the copy stays as it was.
        """
        await self.copy()
        return len(self._copy)

    def refresh(self) -> None:
        """Read the set into the copy, in the background."""
        self._stale.set()

    async def keep_copy(self) -> None:
        """Read the set into the copy whenever `refresh` was called, until cancelled."""
        while True:
            await self._stale.wait()
            self._stale.clear()
            try:
                await self.copy()
            except StoreError as error:
                self._on_error(error)

    async def copy(self) -> None:
        """Read the set into the copy now.

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
        await self._asked.run()

    async def _answer(self, batch: deque[_Question]) -> None:
        """Answer the oldest questions; after a failure all of them, since the next call would fail too."""
        try:
            async with asyncio.timeout_at(batch[0].asked_at + ANSWER_TIMEOUT):
                imeis = [question.imei for question in batch]
                reply = await self._client.smismember(self._key, imeis)
                found = await understood(self._client, reply, partial(one_each, imeis))
            questions = list(batch)
            batch.clear()
        except (StoreError, TimeoutError) as error:
            self._on_error(error)
            questions = self._asked.clear()
            found = [self._when_unavailable] * len(questions)
        for question, member in zip(questions, found, strict=True):
            question.done(bool(member))

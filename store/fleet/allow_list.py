"""The list of allowed devices in Redis: a set of IMEIs, and a hash of what single devices have to show.

A `store.client.kept_copy` answers at once. A device that is not in the copy may have been added since, so it
is looked up: it waits in a `store.client.batch_queue`, and many devices are looked up in one call.

The set is read before the hash, always: an operator writes the terms of a new device before its IMEI, so a
device is never found in the set without its terms.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

from redis.asyncio import Redis

from fsm.device_terms import Absence, Listed, terms_of
from store.client.batch_queue import BatchQueue
from store.client.errors import StoreError
from store.client.fifo import Fifo
from store.client.kept_copy import PAGE, KeptCopy, pages
from store.client.replies import one_each, understood
from store.keys import Keys

BATCH = 500
ANSWER_TIMEOUT = 1.0
"""Seconds that a device waits for its answer."""

Done = Callable[[Listed], None]


class _Question(NamedTuple):
    imei: str
    asked_at: float
    done: Done


class RedisAllowList(KeptCopy):
    """The set ``devices:allowed`` and the hash ``devices:terms``.

    The last copy counts, whether Redis answers or not. Nothing is known of other devices while Redis cannot
    be asked.

    Args:
        client: a client of its own.
        on_error: called with the error of every failed call.

    Attributes:
        changed: set after each copy.
    """

    is_copy = True

    def __init__(self, client: Redis, keys: Keys, *, on_error: Callable[[Exception], None]) -> None:
        super().__init__(on_error)
        self._client = cast(Any, client)
        self._keys = keys
        self._copy: dict[str, str] = {}
        self.changed = asyncio.Event()
        self._asked: BatchQueue[_Question] = BatchQueue(Fifo(BATCH), self._answer)

    def look_up(self, imei: str) -> Listed | None:
        """What the copy says of the device; None if it is not in the copy."""
        terms = self._copy.get(imei)
        return None if terms is None else terms_of(terms)

    def ask(self, imei: str, done: Done) -> None:
        """Look the device up in Redis; `done` is called within `ANSWER_TIMEOUT`."""
        self._asked.put(_Question(imei, asyncio.get_running_loop().time(), done))

    async def reload(self) -> int:
        """Read the list into the copy now; the number of its devices.

        Raises:
            StoreError: a call failed; the copy stays as it was.
        """
        await self.copy()
        return len(self._copy)

    async def copy(self) -> None:
        """Read the list into the copy now.

        Raises:
            StoreError: a call failed; the copy stays as it was.
        """
        found: dict[str, str] = {}
        async for page in pages(self._client.sscan, self._keys.allowed):
            found.update((member.decode(errors="replace"), "") for member in page)
        async for page in pages(self._client.hscan, self._keys.terms):
            for imei, terms in page.items():
                if (name := imei.decode(errors="replace")) in found:
                    found[name] = terms.decode(errors="replace")
        self._copy, former = found, self._copy
        self.changed.set()
        while former:  # to free a long one at once would stall the loop
            for _ in range(min(PAGE, len(former))):
                former.popitem()
            await asyncio.sleep(0)

    async def answer(self) -> None:
        """Answer those who ask, and who have asked before it began, until cancelled."""
        await self._asked.run()

    async def _answer(self, batch: deque[_Question]) -> None:
        """Answer the oldest questions; after a failure all of them, since the next call would fail too."""
        try:
            async with asyncio.timeout_at(batch[0].asked_at + ANSWER_TIMEOUT):
                found = await self._listed([question.imei for question in batch])
            questions = list(batch)
            batch.clear()
        except (StoreError, TimeoutError) as error:
            self._on_error(error)
            questions = self._asked.clear()
            found = [Absence.UNKNOWN] * len(questions)
        for question, listed in zip(questions, found, strict=True):
            question.done(listed)

    async def _listed(self, imeis: list[str]) -> list[Listed]:
        """What the list says of each device.

        Raises:
            StoreError: a call failed.
        """
        client = self._client
        reply = await client.smismember(self._keys.allowed, imeis)
        members = await understood(client, reply, partial(one_each, imeis))
        if not any(members):
            return [Absence.NOT_LISTED] * len(imeis)
        reply = await client.hmget(self._keys.terms, imeis)
        terms = await understood(client, reply, partial(one_each, imeis))
        return [
            terms_of((text or b"").decode(errors="replace")) if member else Absence.NOT_LISTED
            for member, text in zip(members, terms, strict=True)
        ]

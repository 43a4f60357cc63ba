"""A copy of a set or hash of Redis that answers at once, and is refreshed in the background.

So nothing that reads from a device waits for Redis. While Redis cannot be read, the last copy counts.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from store.client.errors import StoreError

PAGE = 1000
"""Members or fields that are read in one call."""


class KeptCopy(ABC):
    """Reads its copy at the start, and whenever `refresh` was called.

    Args:
        on_error: called with the error of every failed call of the background; the copy stays as it was.
    """

    def __init__(self, on_error: Callable[[Exception], None]) -> None:
        self._on_error = on_error
        self._stale = asyncio.Event()
        self._stale.set()

    def refresh(self) -> None:
        """Read the copy again, in the background."""
        self._stale.set()

    async def keep_copy(self) -> None:
        """Read the copy whenever `refresh` was called, until cancelled."""
        while True:
            await self._stale.wait()
            self._stale.clear()
            try:
                await self.copy()
            except StoreError as error:
                self._on_error(error)

    @abstractmethod
    async def copy(self) -> None:
        """Read the copy now.

        Raises:
            StoreError: a call failed; the copy stays as it was.
        """


async def pages(scan: Callable[..., Awaitable[tuple[int, Any]]], key: str) -> AsyncIterator[Any]:
    """All that `scan` (SSCAN, HSCAN) finds at `key`, a page at a time.

    Raises:
        StoreError: a call failed.
    """
    cursor = 0
    while True:
        cursor, page = await scan(key, cursor, count=PAGE)
        yield page
        if not cursor:
            return

"""The families of devices, as a hash in Redis that an operator writes.

A copy answers at once and is refreshed in the background, so nothing that reads from a device waits for
Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from redis.asyncio import Redis

from store.client.errors import StoreError
from store.keys import Keys

PAGE = 1000
"""Fields that are read at a time."""
LONGEST = 32
"""Characters of a family, or of the name of a model."""


class DeviceFamilies:
    """A copy of the hash ``devices:family``: IMEI -> family or model.

    Args:
        default: of devices that the hash does not name.
        on_error: called with the error of every failed call; the copy stays as it was.
    """

    def __init__(
        self, client: Redis, keys: Keys, default: str, *, on_error: Callable[[Exception], None]
    ) -> None:
        self._client = cast(Any, client)
        self._key = keys.families
        self._default = default
        self._on_error = on_error
        self._copy: dict[str, str] = {}
        self._stale = asyncio.Event()
        self._stale.set()

    def of(self, imei: str) -> str:
        """The family or model of a device, by the last copy."""
        return self._copy.get(imei, self._default)

    def refresh(self) -> None:
        """Read the hash again, in the background."""
        self._stale.set()

    async def keep_copy(self) -> None:
        """Read the hash whenever `refresh` was called, until cancelled."""
        while True:
            await self._stale.wait()
            self._stale.clear()
            try:
                await self.copy()
            except StoreError as error:
                self._on_error(error)

    async def copy(self) -> None:
        """Read the hash now.

        Raises:
            StoreError: a call failed; the copy stays as it was.
        """
        found: dict[str, str] = {}
        cursor = 0
        while True:
            cursor, fields = await self._client.hscan(self._key, cursor, count=PAGE)
            for imei, family in fields.items():
                found[_text(imei)] = _text(family)[:LONGEST]
            if not cursor:
                break
        self._copy = found


def _text(value: bytes) -> str:
    return value.decode(errors="replace").strip()

"""The families of devices, as a hash in Redis that an operator writes, in a `store.client.kept_copy`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from redis.asyncio import Redis

from store.client.kept_copy import KeptCopy, pages
from store.keys import Keys

LONGEST = 32
"""Characters of a family, or of the name of a model."""


class DeviceFamilies(KeptCopy):
    """A copy of the hash ``devices:family``: IMEI -> family or model.

    Args:
        default: of devices that the hash does not name.
        on_error: called with the error of every failed call; the copy stays as it was.
    """

    def __init__(
        self, client: Redis, keys: Keys, default: str, *, on_error: Callable[[Exception], None]
    ) -> None:
        super().__init__(on_error)
        self._client = cast(Any, client)
        self._key = keys.families
        self._default = default
        self._copy: dict[str, str] = {}

    def of(self, imei: str) -> str:
        """The family or model of a device, by the last copy."""
        return self._copy.get(imei, self._default)

    async def copy(self) -> None:
        """Read the hash now.

        Raises:
            StoreError: a call failed; the copy stays as it was.
        """
        found: dict[str, str] = {}
        async for page in pages(self._client.hscan, self._key):
            for imei, family in page.items():
                found[_text(imei)] = _text(family)[:LONGEST]
        self._copy = found


def _text(value: bytes) -> str:
    return value.decode(errors="replace").strip()

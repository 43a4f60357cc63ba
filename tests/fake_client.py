"""A client of fakeredis that behaves as those of the store do."""

from __future__ import annotations

from typing import Any

import fakeredis
from fakeredis._clients._async import FakeAsyncRedisConnection

from store.client.client import Calls


class FakeConnection(FakeAsyncRedisConnection):
    """A connection of the imitation, which is never stale."""

    async def drop_if_stale(self) -> None:
        """Nothing to drop."""


class FakeClient(Calls, fakeredis.FakeAsyncRedis):  # type: ignore[misc]
    """A client of the imitation whose errors are ours."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.connection_pool.connection_class = FakeConnection

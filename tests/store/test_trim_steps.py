"""No single call trims for so long that it holds up the others."""

from __future__ import annotations

from typing import Any, cast

from store.streams.trimming import STEP, Trimmed, trim_stream


class Server:
    """A stream that nobody reads in a group, as a server tells of it."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.limits: list[int] = []

    async def xinfo_groups(self, key: str) -> list[Any]:
        return []

    async def xlen(self, key: str) -> int:
        return self.length

    async def xtrim(self, key: str, *, maxlen: int | None, limit: int, **_: Any) -> int:
        self.limits.append(limit)
        removed = 0 if maxlen is None else min(limit or self.length, self.length - maxlen)
        self.length -= removed
        return removed


async def test_a_long_stream_is_trimmed_in_many_calls() -> None:
    server = Server(10 * STEP)
    assert await trim_stream(cast(Any, server), "stream", STEP, 0, 0) == Trimmed(9 * STEP)
    assert (server.length, set(server.limits)) == (STEP, {STEP})
    assert 9 <= len(server.limits) <= 12

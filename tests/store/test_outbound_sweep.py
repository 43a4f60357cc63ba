"""The last look at the stream takes no more than can be held."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from store.keys import Keys
from store.streams.outbound import OutboundReader

Raw = list[tuple[bytes, dict[bytes, bytes] | None]]


@pytest.mark.parametrize(
    ("room", "taken"),
    [
        (0, []),
        (1, ["pending"]),
        (3, ["pending", "pending", "pending"]),
        (8, ["pending"] * 4 + ["new"] * 2),
    ],
)
async def test_what_is_too_much_to_hold_is_left_to_the_next_start(
    fake_redis: Redis, room: int, taken: list[str]
) -> None:
    """Four are pending, and a producer writes without end."""
    handed_over: list[str] = []
    asked = 0

    async def next_batch(cursor: str, block: bool) -> Raw:
        nonlocal asked
        asked += 1
        assert asked < 100
        assert not block
        if cursor != ">" and int(cursor.partition("-")[0]) >= 4:
            return []
        return [(b"%d-0" % asked, {b"command_id": b"c"})]

    reader = OutboundReader(
        fake_redis,
        Keys(),
        "gw-1",
        on_entries=lambda entries, fresh: handed_over.extend("new" if fresh else "pending" for _ in entries),
        may_read=lambda: asked < room,
        on_error=lambda error: None,
        next_batch=next_batch,
    )
    await reader.sweep()
    assert handed_over[: len(taken)] == taken
    assert asked == room

"""What comes after an id, up to the highest there is."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from store.streams.entry_ids import HIGHEST, after, successor
from store.streams.trimming import Trimmed, trim_stream

LAST = f"{HIGHEST}-{HIGHEST}"


def test_behind_the_highest_id_there_is_nothing() -> None:
    assert (after(b"5-1"), after(LAST.encode())) == ("(5-1", None)


@pytest.mark.parametrize(
    ("entry_id", "next_one"),
    [
        ((5, 1), (5, 2)),
        ((5, HIGHEST), (6, 0)),
        ((HIGHEST, HIGHEST), (HIGHEST, HIGHEST)),
    ],
)
def test_the_successor_of_an_id_is_an_id(entry_id: tuple[int, int], next_one: tuple[int, int]) -> None:
    assert successor(entry_id) == next_one


@pytest.mark.redis
async def test_a_stream_whose_highest_entry_was_read_is_trimmed(client: Redis) -> None:
    await client.xadd("stream", {"a": "b"}, id="1-0")
    await client.xadd("stream", {"a": "b"}, id=LAST)
    await client.xgroup_create("stream", "group", "0")
    [(_, entries)] = await client.xreadgroup("group", "reader", {"stream": ">"})
    await client.xack("stream", "group", *[entry_id for entry_id, _ in entries])
    assert await trim_stream(client, "stream", 10, 1000, 10**12) == Trimmed(0, 0)

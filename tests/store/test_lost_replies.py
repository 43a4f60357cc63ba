"""A client of ours never repeats a call by itself, and reads for longer than it lets the server block."""

from __future__ import annotations

import pytest

from store.client.client import connect
from store.client.errors import CallFailed
from tests.store.resp import Reply, Server, serving


async def test_a_call_whose_reply_is_lost_was_made_once() -> None:
    def hang_up(words: list[str]) -> Reply:
        server.hang_up()
        return ...

    server: Server
    async with serving(hang_up) as server:
        client = connect(f"redis://{server.place}", purpose="test")
        with pytest.raises(CallFailed):
            await client.xadd("stream", {"field": "value"})
        await client.aclose()
    assert [words[0] for words in server.calls] == ["XADD"]
    assert server.connections == 1


@pytest.mark.parametrize("block", [0.25, 2.0])
def test_a_read_may_take_longer_than_it_blocks(block: float) -> None:
    def patience(block: float) -> float:
        connection = connect(
            "redis://127.0.0.1", purpose="test", block=block
        ).connection_pool.make_connection()
        return float(connection.socket_timeout)

    assert patience(block) > block + patience(0.0)

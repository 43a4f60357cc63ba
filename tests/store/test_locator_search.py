"""A search for the server that several clients share: who stops waiting for it ends nobody else's."""

from __future__ import annotations

import asyncio
import math
from typing import Any

from store.client.locator import Answer, LocatedConnection, LocatedPool, Locator
from store.client.url import Address
from store.keys import Keys

KEYS = Keys()
TIME_LIMIT = 20.0
HERE = ("127.0.0.1", 1)


# A question that several have


class Slow(Locator):
    """One who is asked, and answers when the test says so."""

    trust = stale = math.inf

    def __init__(self) -> None:
        super().__init__([HERE], lambda node: None)  # type: ignore[arg-type, return-value]
        self.asked = 0
        self.answered = asyncio.Event()

    async def answer(self, connection: Any) -> Answer:
        raise NotImplementedError

    async def _ask_one(self, node: Address) -> Answer | str:
        self.asked += 1
        await self.answered.wait()
        return Answer(1, node)


async def test_a_cancelled_search_does_not_end_that_of_others() -> None:
    locator = Slow()
    one, other = (asyncio.ensure_future(locator.find()) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    await asyncio.wait([one])
    locator.answered.set()
    async with asyncio.timeout(TIME_LIMIT):
        assert await other == HERE
    assert locator.asked == 1


async def test_a_search_has_ended_when_its_clients_are_closed() -> None:
    locator = Slow()
    search = locator._ask()
    closed = asyncio.ensure_future(LocatedPool(connection_class=LocatedConnection, locator=locator).aclose())
    for _ in range(3):
        await asyncio.sleep(0)
    assert not closed.done()
    locator.answered.set()
    async with asyncio.timeout(TIME_LIMIT):
        await closed
    assert search.done()


async def test_a_server_that_is_not_the_one_we_know_is_not_lost() -> None:
    """A late error of an earlier server says nothing of the newer one."""
    locator = Slow()
    locator.moved(("127.0.0.1", 2))
    locator.lost(HERE)
    assert await locator.find() == ("127.0.0.1", 2)

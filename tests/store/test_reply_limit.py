"""The time limit of replies, on a virtual clock: one timer for many of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from store.client.reply_limit import Overdue, ReplyLimit
from tests.simulation.virtual_time import VirtualClock, VirtualLoop, run

WITHIN = 2.0


class Timers(VirtualLoop):
    """Counts the timers that are armed."""

    armed = 0

    def call_at(self, *args: Any, **options: Any) -> Any:
        self.armed += 1
        return super().call_at(*args, **options)


def on(work: Callable[[Timers, ReplyLimit, asyncio.StreamReader], Coroutine[Any, Any, None]]) -> None:
    loop = Timers(VirtualClock())

    async def main() -> None:
        await work(loop, ReplyLimit(), asyncio.StreamReader())

    run(main(), loop)


def test_a_reply_that_does_not_come_is_overdue_after_its_own_time() -> None:
    async def work(loop: Timers, limit: ReplyLimit, reader: asyncio.StreamReader) -> None:
        limit.begin(reader, WITHIN)
        await asyncio.sleep(WITHIN - 0.5)
        limit.end()
        begun = loop.time()
        limit.begin(reader, WITHIN)
        with pytest.raises(Overdue):
            await reader.read(1)
        assert loop.time() - begun == pytest.approx(WITHIN)

    on(work)


def test_many_replies_need_one_timer() -> None:
    async def work(loop: Timers, limit: ReplyLimit, reader: asyncio.StreamReader) -> None:
        for _ in range(1000):
            limit.begin(reader, WITHIN)
            limit.end()
        assert loop.armed == 1
        await asyncio.sleep(2 * WITHIN)
        assert (loop.armed, reader.exception()) == (2, None)

    on(work)


def test_a_connection_that_is_closed_leaves_no_timer() -> None:
    async def work(loop: Timers, limit: ReplyLimit, reader: asyncio.StreamReader) -> None:
        limit.begin(reader, WITHIN)
        limit.close()
        with pytest.raises(RuntimeError, match="no timer is set"):
            loop._run_once()  # type: ignore[attr-defined]
        limit.begin(reader, WITHIN)
        with pytest.raises(Overdue):
            await reader.read(1)

    on(work)

"""When a call to Redis waits for more items, on a virtual clock."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import pytest

from store.client.batch_queue import BatchQueue
from store.client.fifo import Fifo
from store.client.gathering import ENOUGH, PROBE, Gathering
from tests.simulation.virtual_time import VirtualClock, VirtualLoop, run

WITHIN, CALL = 0.002, 0.0005
"""Seconds that a call waits when it does, and that it takes."""
COUNT = 20 * PROBE


class Line:
    """A queue with a server behind it: how long each item took, and what each call carried."""

    def __init__(self) -> None:
        self.came: list[float] = []
        self.took: list[float] = []
        self.calls: list[int] = []
        self.queue: BatchQueue[int] = BatchQueue(Fifo(1000), self._send, gathering=Gathering(WITHIN))

    def put(self) -> None:
        self.came.append(asyncio.get_running_loop().time())
        self.queue.put(len(self.came) - 1)

    async def _send(self, batch: deque[int]) -> None:
        self.calls.append(len(batch))
        await asyncio.sleep(CALL)
        self.took += [asyncio.get_running_loop().time() - self.came[item] for item in batch]
        batch.clear()

    @property
    def waited(self) -> list[float]:
        """The items that took longer than two calls."""
        return [took for took in self.took if took > 2 * CALL + 1e-9]


def measured(work: Any, *given: Any) -> Line:
    """What became of the items that `work` puts."""

    async def main() -> Line:
        line = Line()
        task = asyncio.ensure_future(line.queue.run())
        await work(line, *given)
        assert await line.queue.flush(60) == 0
        line.queue.stop()
        await task
        return line

    line: Line = run(main(), VirtualLoop(VirtualClock()))
    return line


async def every(line: Line, seconds: float) -> None:
    for _ in range(COUNT):
        await asyncio.sleep(seconds)
        line.put()


async def one_after_the_other(line: Line) -> None:
    for _ in range(COUNT):
        line.put()
        await line.queue.flush(60)


async def many_at_once(line: Line) -> None:
    for _ in range(COUNT):
        for _ in range(ENOUGH):
            line.put()
        await line.queue.flush(60)


def test_items_that_come_often_share_calls_and_wait_no_longer_than_that() -> None:
    line = measured(every, 0.0007)
    assert COUNT / len(line.calls) > 2.5
    assert max(line.took) <= WITHIN + 2 * CALL + 1e-9


@pytest.mark.parametrize("work", [lambda line: every(line, 0.01), one_after_the_other])
def test_where_waiting_brings_nothing_one_call_of_many_waits(work: Any) -> None:
    line = measured(work)
    assert len(line.calls) == COUNT
    assert len(line.waited) == COUNT / PROBE


def test_many_items_do_not_wait() -> None:
    line = measured(many_at_once)
    assert set(line.calls) == {ENOUGH}
    assert not line.waited


def test_waits_end_when_they_bring_nothing_any_more() -> None:
    async def work(line: Line) -> None:
        await every(line, 0.0005)
        await one_after_the_other(line)

    after = measured(work).took[COUNT:]
    assert len([took for took in after if took > 2 * CALL + 1e-9]) < COUNT / PROBE + 10

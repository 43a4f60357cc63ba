"""When a queue pauses between calls to Redis, on a virtual clock; and what a pause of a whole loop is."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from store.client.batch_queue import BatchQueue
from store.client.fifo import Fifo
from store.client.gathering import ENOUGH, PROBE, SECONDS, Gathering, stand_still
from tests.simulation.virtual_time import VirtualClock, VirtualLoop, run

uvloop = pytest.importorskip("uvloop")

CALL = SECONDS / 8
"""Seconds of a call."""
COUNT = 20 * PROBE
SLACK = 1e-9


class Line:
    """A queue with a server behind it: how long each item took, what each call carried, and the pauses."""

    def __init__(self) -> None:
        self.came: list[float] = []
        self.took: list[float] = []
        self.calls: list[int] = []
        self.pauses = 0
        self.queue: BatchQueue[int] = BatchQueue(Fifo(1000), self._send, gathering=Gathering(self._pause))

    def put(self) -> None:
        self.came.append(asyncio.get_running_loop().time())
        self.queue.put(len(self.came) - 1)

    async def _send(self, batch: deque[int]) -> None:
        self.calls.append(len(batch))
        await asyncio.sleep(CALL)
        self.took += [asyncio.get_running_loop().time() - self.came[item] for item in batch]
        batch.clear()

    async def _pause(self, seconds: float) -> None:
        self.pauses += 1
        await asyncio.sleep(seconds)

    async def calls_pay(self) -> None:
        """Send items as often as it takes until each call is followed by a pause."""
        await every(self, SECONDS / 8)
        await asyncio.sleep(2 * SECONDS)


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


def test_items_that_come_often_share_calls_and_wait_no_longer_than_a_pause_and_a_call() -> None:
    line = measured(every, SECONDS / 6)
    assert COUNT / len(line.calls) > 4
    assert max(line.took) <= SECONDS + 2 * CALL + SLACK


def test_items_that_come_seldom_do_not_wait() -> None:
    line = measured(every, 3 * SECONDS)
    assert max(line.took) <= CALL + SLACK
    assert line.pauses == COUNT / PROBE


def test_a_client_that_waits_for_the_last_item_waits_for_one_pause_of_many() -> None:
    line = measured(one_after_the_other)
    assert line.pauses == COUNT / PROBE
    assert len([took for took in line.took if took > CALL + SLACK]) < COUNT / PROBE + 1


def test_many_items_do_not_wait() -> None:
    line = measured(many_at_once)
    assert (set(line.calls), line.pauses) == ({ENOUGH}, 0)


def test_pauses_end_when_they_save_nothing_any_more() -> None:
    async def work(line: Line) -> None:
        await line.calls_pay()
        line.pauses = 0
        await one_after_the_other(line)

    assert measured(work).pauses < COUNT / PROBE + 10


def test_the_first_item_after_a_rest_does_not_wait() -> None:
    async def work(line: Line) -> None:
        await line.calls_pay()
        line.put()
        await line.queue.flush(60)

    assert measured(work).took[-1] <= CALL + SLACK


def test_a_queue_that_stops_makes_no_pause() -> None:
    async def work(line: Line) -> None:
        await line.calls_pay()
        line.pauses = 0
        line.put()
        await asyncio.sleep(CALL / 2)
        line.queue.stop()

    assert measured(work).pauses == 0


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_loop_stands_still_after_it_has_written_and_before_it_reads(
    new_loop: Callable[[], asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Device(asyncio.Protocol):
        read = b""

        def data_received(self, data: bytes) -> None:
            self.read += data

    async def main() -> None:
        here, there = socket.socketpair()
        with there:
            there.setblocking(False)
            transport, device = await asyncio.get_running_loop().create_connection(Device, sock=here)

            def sleep(seconds: float) -> None:
                assert (seconds, there.recv(100)) == (SECONDS, b"before")
                there.send(b"meanwhile")

            monkeypatch.setattr(time, "sleep", sleep)
            transport.write(b"before")
            await stand_still(SECONDS)
            assert device.read == b"meanwhile"
            transport.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())

"""The queue in front of Redis: a thousand items in, and out again in batches."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from fsm.telemetry import PendingFrame
from store.client.batch_queue import BatchQueue, Buffer
from store.client.fifo import Fifo
from store.streams.device_ring import DeviceRing

ITEMS = 1000
BATCH = 100


def nothing() -> None:
    """What is done when a frame is stored."""


FRAMES = [PendingFrame(b"%015d" % number, b"8E", 0, [b"{}"], nothing, size=2) for number in range(ITEMS)]
BUFFERS: dict[str, Callable[[], Buffer[PendingFrame]]] = {
    "fifo": lambda: Fifo(BATCH),
    "a line for each device": lambda: DeviceRing(BATCH, 1 << 20),
}


@pytest.mark.parametrize("buffer", BUFFERS)
@pytest.mark.benchmark(group=f"put and send {ITEMS} items")
def test_queue(benchmark: Any, runner: asyncio.Runner, buffer: str) -> None:
    async def send(batch: deque[PendingFrame]) -> None:
        sent.append(len(batch))
        batch.clear()

    async def work() -> None:
        queue = BatchQueue(BUFFERS[buffer](), send, finishes=True)
        for frame in FRAMES:
            queue.put(frame)
        queue.stop()
        await queue.run()

    def run() -> int:
        sent.clear()
        runner.run(work())
        return sum(sent)

    sent: list[int] = []
    assert benchmark(run) == ITEMS

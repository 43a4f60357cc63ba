"""When a queue pauses between two calls to Redis, so that the next one carries more.

A call costs as much as several of the items that it carries. So where items come one by one and often, a
queue pauses after a call, and what comes meanwhile shares the next. An item that comes while nothing is under
way never waits.

Pauses are made where they pay. They bring nothing where items come seldom, nor for a client that sends an
item only after the last one is confirmed: then the next call carries one item all the same. So each pause
after which that is so counts against the next, one that has saved a call counts twice for it, and the balance
decides. While it is empty one call of `PROBE` is followed by a pause, to see whether it would pay now.

What costs most at such rates is that a process wakes up: the processor has to be woken, and its caches hold
nothing of what is needed. With `stand_still` the loop does not wake for each item that comes in a pause.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

SECONDS = 0.005
"""Of a pause: a tenth of what a mobile network takes to bring the acknowledgement."""
ENOUGH = 32
"""Items among which the cost of a call is small: after a call with so many there is no pause."""
BALANCE = 8
"""The most that pauses which paid can count."""
PROBE = 16

Pause = Callable[[float], Awaitable[None]]
"""Waits for so many seconds."""


async def stand_still(seconds: float) -> None:
    """Let the whole event loop sleep, as a network card holds interrupts back where many packets come.

    What was written is sent before, and what has come meanwhile is read after. It is for a few milliseconds,
    and for one queue of a loop: all others wait, too.
    """
    await asyncio.sleep(0)
    time.sleep(seconds)  # noqa: ASYNC251 - that is what it is for
    for _ in range(2):  # a loop may look at its sockets after it has carried on with what is ready
        await asyncio.sleep(0)


class Gathering:
    """The pauses of one queue.

    Args:
        pause: makes one.
    """

    def __init__(self, pause: Pause = asyncio.sleep) -> None:
        self._pause = pause
        self._balance = 0
        self._passed = 0

    async def after(self, carried: int, waiting: Callable[[], int]) -> None:
        """Pause after a call that carried so many items, if that pays.

        Args:
            waiting: how many items wait now.
        """
        if carried < ENOUGH and self._pays():
            await self._pause(SECONDS)
            saved = waiting() > 1
            self._balance = min(self._balance + 2, BALANCE) if saved else max(self._balance - 1, 0)

    def _pays(self) -> bool:
        if not self._balance:
            self._passed = (self._passed + 1) % PROBE
        return bool(self._balance) or not self._passed

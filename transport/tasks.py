"""The long-running tasks of a process: each has a name, and none dies unseen.

Whatever a task expects to fail (Redis, a device) it handles itself. An error that reaches this module is a
bug. It is logged with its traceback, counted, and the task is started again: every task here takes up its
work from the state that it finds. Only a task that keeps failing ends the process, in order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

log = structlog.get_logger("telgw")

FAILURES = 3
WITHIN = 60.0
"""A task that fails `FAILURES` times within so many seconds is not started again."""
PAUSES = (0.1, 1.0)
"""Seconds before a task is started again, after its first and its second failure."""

Work = Callable[[], Coroutine[Any, Any, None]]


class Tasks:
    """Starts tasks, watches them, and starts those again that fail.

    Args:
        on_crash: told the name of a task that has failed too often to be started again.
        on_failure: told the name of a task at each failure.
    """

    def __init__(self, on_crash: Callable[[str], None], on_failure: Callable[[str], None]) -> None:
        self._on_crash = on_crash
        self._on_failure = on_failure
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, work: Work) -> None:
        """Run `work` as the task `name`; `work` is called again after a failure."""
        self._tasks[name] = asyncio.create_task(self._keep_running(name, work), name=name)

    async def _keep_running(self, name: str, work: Work) -> None:
        failed_at: deque[float] = deque(maxlen=FAILURES)
        while True:
            try:
                await work()
                return
            except Exception as error:
                failed_at.append(asyncio.get_running_loop().time())
                recent = sum(failed_at[-1] - at < WITHIN for at in failed_at)
                again = recent < FAILURES
                self._report(name, error, again)
            if not again:
                self._on_crash(name)
                return
            await asyncio.sleep(PAUSES[recent - 1])

    def _report(self, name: str, error: Exception, again: bool) -> None:
        self._on_failure(name)
        log.error("task_failed", task=name, started_again=again, exc_info=error)

    async def ended(self, name: str, within: float) -> bool:
        """Wait for a task that was told to stop, then cancel it; whether it ended by itself."""
        task = self._tasks.get(name)
        if task is None:
            return True
        done, _ = await asyncio.wait({task}, timeout=within)
        if not done:
            await self._cancel(task)
        return bool(done)

    async def cancel_all(self) -> None:
        """End what is left."""
        for task in self._tasks.values():
            if not task.done():
                await self._cancel(task)

    @staticmethod
    async def _cancel(task: asyncio.Task[None]) -> None:
        """Python 3.11 can lose a cancellation inside a socket call: repeat it until it takes."""
        for _ in range(20):
            task.cancel()
            done, _ = await asyncio.wait({task}, timeout=0.1)
            if done:
                return

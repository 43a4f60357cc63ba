"""The long-running tasks of a process: each has a name, and no failure goes unnoticed.

A task handles the failures that it expects (Redis, a device) itself. An error that reaches this module is a
bug: it is logged with its traceback and counted, and the task is started again. That is safe because each
task continues from the state that it finds. A task that fails repeatedly ends the process, in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from transport.restarts import Restarts

log = structlog.get_logger("telgw")

RESTARTS, WITHIN = 2, 60.0
"""Restarts of one task within this number of seconds, at most."""
PAUSES = (0.1, 1.0)
"""Seconds before the first and the second restart."""

Work = Callable[[], Coroutine[Any, Any, None]]


class Tasks:
    """Starts tasks, and starts them again when they fail.

    Args:
        on_crash: called with the name of a task that has failed too often to be started again.
        on_failure: called with the name of a task at each failure.
    """

    def __init__(self, on_crash: Callable[[str], None], on_failure: Callable[[str], None]) -> None:
        self._on_crash = on_crash
        self._on_failure = on_failure
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, work: Work) -> None:
        """Run `work()` as the task `name`; after a failure `work` is called again."""
        self._tasks[name] = asyncio.create_task(self._keep_running(name, work), name=name)

    @property
    def names(self) -> list[str]:
        """The names of all tasks that were started."""
        return list(self._tasks)

    async def _keep_running(self, name: str, work: Work) -> None:
        restarts = Restarts(RESTARTS, WITHIN, PAUSES)
        while True:
            try:
                await work()
                return
            except Exception as error:
                pause = restarts.next(asyncio.get_running_loop().time())
                self._report(name, error, pause is not None)
            if pause is None:
                self._on_crash(name)
                return
            await asyncio.sleep(pause)

    def _report(self, name: str, error: Exception, again: bool) -> None:
        self._on_failure(name)
        log.error("task_failed", task=name, started_again=again, exc_info=error)

    async def ended(self, name: str, within: float) -> bool:
        """Wait `within` seconds for a task to end, then cancel it; whether it ended by itself."""
        task = self._tasks.get(name)
        if task is None:
            return True
        done, _ = await asyncio.wait({task}, timeout=within)
        if not done:
            await self._cancel(task)
        return bool(done)

    async def cancel_all(self) -> None:
        """Cancel all tasks that still run."""
        for task in self._tasks.values():
            if not task.done():
                await self._cancel(task)

    @staticmethod
    async def _cancel(task: asyncio.Task[None]) -> None:
        """Cancel `task`, repeatedly: Python 3.11 can lose a cancellation in a socket call."""
        for _ in range(20):
            task.cancel()
            done, _ = await asyncio.wait({task}, timeout=0.1)
            if done:
                return

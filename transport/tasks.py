"""The long-running tasks of a process: each has a name, and none dies unseen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

log = structlog.get_logger("telgw")


class Tasks:
    """Starts tasks and watches them; a task that fails is reported once, and its failure ends the process.

    Args:
        on_crash: told the name of a task that ended with an error.
    """

    def __init__(self, on_crash: Callable[[str], None]) -> None:
        self._on_crash = on_crash
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` as the task `name`."""
        task = asyncio.create_task(work, name=name)
        self._tasks[name] = task
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            log.critical("task_failed", task=task.get_name(), exc_info=error)
            self._on_crash(task.get_name())

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

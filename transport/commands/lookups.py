"""Look-ups in Redis: the one thing that the command side has to wait for, and the only tasks that it has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import structlog

K = TypeVar("K", bound=Hashable)
A = TypeVar("A")

log = structlog.get_logger("telgw.commands")


class Lookups(Generic[K, A]):
    """Answers questions one after the other: many of them use one connection.

    Args:
        what: what is looked up, for the log.
        read: asks Redis.
        found: told the answer to each question.
        failed: told of each question that was not answered, or whose answer was not understood.
    """

    def __init__(
        self,
        what: str,
        read: Callable[[K], Awaitable[A]],
        found: Callable[[K, A], None],
        failed: Callable[[K], None],
    ) -> None:
        self._what = what
        self._read = read
        self._found = found
        self._failed = failed
        self._waiting: dict[K, None] = {}
        self._task: asyncio.Task[None] | None = None

    def add(self, question: K) -> None:
        """Look it up."""
        self._waiting[question] = None
        if self._task is None:
            self._begin()

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._look_up_all(), name=self._what)
        self._task.add_done_callback(self._ended)

    async def _look_up_all(self) -> None:
        while self._waiting:
            question = next(iter(self._waiting))
            try:
                self._found(question, await self._read(question))
            except Exception as error:
                # It is asked again; the other questions must not wait for it.
                log.warning("lookup_failed", what=self._what, error=type(error).__name__)
                self._failed(question)
            del self._waiting[question]

    def _ended(self, task: asyncio.Task[None]) -> None:
        """After a failure the rest is dropped, and asked again."""
        self._task = None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.warning("lookups_failed", what=self._what, error=type(error).__name__)
        if error is not None or task.cancelled():
            dropped, self._waiting = list(self._waiting), {}
            for question in dropped:
                self._failed(question)
        elif self._waiting:  # one came between the end of the task and now
            self._begin()

"""A gateway whose tasks meet errors that nobody expects: as if a function that they call had a bug.

Run as a program, with what is to fail in ``SABOTAGE``, between colons: the name of a task, or ``*`` for each;
how often it fails, below zero for ever; and how many calls go well before the first that fails. Each time it
fails one call later than before.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from collections import Counter
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import transport.daemon.run_gateway  # noqa: F401  that all modules are there to be sabotaged
from transport import tasks
from transport.cli import main

SPARED = (
    "transport.tasks",
    "transport.cli",
    "store.client.connection",
    "store.client.locator",
    "store.client.client",
    "store.client.delays",
    "store.client.script",
)
"""Modules whose functions never fail: who watches the tasks, and what redis-py calls in its own depths."""


class Unexpected(Exception):
    """Of a class that nobody catches."""


class Saboteur:
    """Lets calls fail, of those that a task makes since it was started."""

    def __init__(self, wanted: str, often: int, well: int) -> None:
        self._wanted = wanted
        self._often = often
        self._well = well
        self._starts: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()

    def started(self, task: str) -> None:
        """The task begins, or begins again."""
        self._starts[task] += 1
        self._calls[task] = 0

    def called(self) -> None:
        """A function was called.

        Raises:
            Unexpected: it is its turn to fail.
        """
        task = _task()
        starts = self._starts[task]
        if starts and self._wanted in ("*", task) and (self._often < 0 or starts <= self._often):
            self._calls[task] += 1
            if self._calls[task] == self._well + starts:
                raise Unexpected(f"at its call {self._calls[task]}")


def _task() -> str:
    try:
        current = asyncio.current_task()
    except RuntimeError:
        return ""
    return current.get_name() if current else ""


def sabotage(saboteur: Saboteur) -> None:
    """From now on it is asked at each call of a function or method of ours."""
    modules = [module for name, module in sorted(sys.modules.items()) if _ours(name)]
    failing = functools.cache(functools.partial(_failing, saboteur))
    for module in modules:
        for owner in [module, *(found for found in vars(module).values() if isinstance(found, type))]:
            if isinstance(owner, ModuleType) or _ours(owner.__module__):
                for name, function in list(vars(owner).items()):
                    if isinstance(function, FunctionType) and _ours(function.__module__) and name[:2] != "__":
                        setattr(owner, name, failing(function))
    start = tasks.Tasks.start

    def start_told(self: tasks.Tasks, name: str, work: Callable[[], Any]) -> None:
        def begin() -> Any:
            saboteur.started(name)
            return work()

        start(self, name, begin)

    tasks.Tasks.start = start_told  # type: ignore[method-assign]


def _ours(module: str) -> bool:
    return module.startswith(("store.", "transport.")) and not module.startswith(SPARED)


def _failing(saboteur: Saboteur, function: FunctionType) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        saboteur.called()
        return function(*args, **options)

    return call


if __name__ == "__main__":
    task, often, well = os.environ["SABOTAGE"].split(":")
    sabotage(Saboteur(task, int(often), int(well)))
    main()

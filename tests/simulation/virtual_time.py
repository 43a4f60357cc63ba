"""An event loop that never sleeps: when nothing is left to do now, its clock goes to the next timer."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from functools import partial
from typing import Any, Protocol
from unittest.mock import patch

EPOCH = 1_767_225_600.0
START = 1000.0


class VirtualClock:
    """The one clock of a run; all the world reads it."""

    def __init__(self) -> None:
        self.now = START

    def monotonic(self) -> float:
        """Seconds since some time ago."""
        return self.now

    def wall(self) -> float:
        """Seconds since 1970."""
        return EPOCH + self.now - START

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Whoever asks `time` is told the time of this clock: the gateway, and the imitation of Redis."""
        with patch.object(time, "monotonic", self.monotonic), patch.object(time, "time", self.wall):
            yield


class _Skip(selectors.SelectSelector):
    """There are no sockets: what would be a wait is a step of the clock."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("Everything waits and no timer is set.")
        self._clock.now += max(0.0, timeout)
        return []


class Inhabitant(Protocol):
    """Whoever's callbacks can be held back."""

    held: list[Step] | None


CURRENT: ContextVar[Inhabitant] = ContextVar("inhabitant")


class Step:
    """A callback of an inhabitant: while that one is frozen it waits, as a stopped process does."""

    __slots__ = ("_args", "_callback", "_inhabitant", "handle")

    def __init__(self, inhabitant: Inhabitant, callback: Any, args: tuple[Any, ...]) -> None:
        self._inhabitant = inhabitant
        self._callback = callback
        self._args = args
        self.handle: asyncio.Handle | None = None

    def __call__(self) -> None:
        if self._inhabitant.held is not None:
            self._inhabitant.held.append(self)
        elif self.handle is None or not self.handle.cancelled():
            self._callback(*self._args)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop on a virtual clock, whose inhabitants can be frozen."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        super().__init__(_Skip(clock))

    def time(self) -> float:
        return self._clock.now

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        return self._guarded(super().call_soon, callback, args, context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        return self._guarded(partial(super().call_at, when), callback, args, context)

    @staticmethod
    def _guarded(schedule: Any, callback: Any, args: tuple[Any, ...], context: Context | None) -> Any:
        inhabitant = context.get(CURRENT) if context is not None else CURRENT.get(None)
        if inhabitant is None or isinstance(callback, Step):
            return schedule(callback, *args, context=context)
        step = Step(inhabitant, callback, args)
        step.handle = schedule(step, context=context)
        return step.handle


def run(main: Coroutine[Any, Any, Any], loop: VirtualLoop) -> Any:
    """Run `main` to its end, and end whatever it leaves running."""
    try:
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.set_exception_handler(lambda loop, context: None)
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()

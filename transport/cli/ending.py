"""How a verb ends: its event loop, its process, and its exit status.

Neither loop nor process waits for a thread.

A thread that looks a name up cannot be stopped, and a resolver that does not answer keeps it for a minute.
Python joins such threads three times: when the default executor is shut down, when the loop of uvloop is
closed, and when the interpreter ends. By then everything is said and stored, so the loops here skip the
first two, and `leave` skips the third.

An exit status is what a script goes by. From the moment a command may have been handed over until its verdict
is known, a verb that ends early for whatever reason (its output is full, Redis is gone, Ctrl-C, an error of
its own) does not know what becomes of the command, and must not say that it failed: the script would send it
again. `awaiting` marks that time, and the group of the verbs asks `undecided` when one has ended.
"""

from __future__ import annotations

import asyncio
import os
import select
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn, TextIO

CANCELLATIONS = 20
PATIENCE = 1.0
"""Seconds that a last sentence waits for room on standard error."""


_awaited = ""


@contextmanager
def awaiting(what: str, unless: type[Exception]) -> Iterator[None]:
    """While the block runs, and after it when an error ends it, nobody knows what becomes of `what`.

    Args:
        unless: an error that says that nothing was handed over.
    """
    global _awaited
    _awaited = what
    try:
        yield
    except unless:
        _awaited = ""
        raise
    _awaited = ""


def undecided() -> str:
    """What a verb that has ended was waiting for; asking forgets it. Empty when there is nothing."""
    global _awaited
    what, _awaited = _awaited, ""
    return what


class _Loop(asyncio.SelectorEventLoop):
    async def shutdown_default_executor(self, *_: Any, **__: Any) -> None:
        """Nothing: `leave` ends the threads."""


def _fast_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return _Loop()

    class FastLoop(uvloop.Loop):
        async def shutdown_default_executor(self, *_: Any, **__: Any) -> None:
            """Nothing, as above."""

        def close(self) -> None:
            """Nothing: it would wait for every look-up; the process ends with it."""

    return FastLoop()


def complete(work: Coroutine[Any, Any, int], *, fast: bool = False) -> int:
    """Do the work of a verb; its exit status.

    Args:
        fast: on uvloop, where it is installed. It is never closed: the process has to end with the work.
    """
    with asyncio.Runner(loop_factory=_fast_loop if fast else _Loop) as runner:
        return runner.run(_interruptible(work))


async def _cancel(task: asyncio.Future[int]) -> None:
    for _ in range(CANCELLATIONS):
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=0.1)
        if done:
            with suppress(asyncio.CancelledError):
                task.exception()
            return


async def _interruptible(work: Coroutine[Any, Any, int]) -> int:
    """Do `work`, and end it at Ctrl-C: Python 3.11 can lose a cancellation inside a socket call."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        await _cancel(task)
        raise
    return task.result()


def complain(sentence: str) -> None:
    """Say `sentence` on standard error, if there is room for it in time."""
    with suppress(OSError, ValueError, AttributeError):
        if _has_room(sys.stderr):
            sys.stderr.write(f"telgw: {' '.join(sentence.split())}\n")
            sys.stderr.flush()


def _has_room(stream: TextIO) -> bool:
    try:
        waiting = select.poll()
        waiting.register(stream.fileno(), select.POLLOUT)
    except ValueError:  # a stream in memory
        return True
    return bool(waiting.poll(PATIENCE * 1000))


def leave(status: int) -> NoReturn:
    """End the process at once with `status`; what was printed goes out first."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status)

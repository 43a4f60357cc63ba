"""How a verb's event loop and its process end: neither waits for a thread.

A thread that looks a name up cannot be stopped, and a resolver that does not answer keeps it for a minute.
Python joins such threads three times: when the default executor is shut down, when the loop of uvloop is
closed, and when the interpreter ends. By then everything is said and stored, so the loops here skip the
first two, and `leave` skips the third.
"""

from __future__ import annotations

import asyncio
import os
import select
import sys
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, NoReturn, TextIO

PATIENCE = 1.0
"""Seconds that a last sentence waits for room on standard error."""


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
        return runner.run(work)


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

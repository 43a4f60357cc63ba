"""The event loops of the verbs. Their end waits for no thread.

A thread that looks up a name cannot be stopped, and a resolver that does not answer keeps it for a minute.
Python joins such threads three times: when the default executor is shut down, when the loop of uvloop is
closed, and when the interpreter ends. At that time all output is printed and all data is stored, so the loops
here skip the first two, and `transport.cli.ending.leave` skips the third.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

CANCELLATIONS = 20


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
            """Nothing, as in `_Loop`."""

        def close(self) -> None:
            """Nothing: uvloop would wait for every look-up, and the process ends anyway."""

    return FastLoop()


def complete(work: Coroutine[Any, Any, int], *, fast: bool = False) -> int:
    """Run the work of a verb; its exit status.

    Args:
        fast: use uvloop if it is installed. That loop is never closed: the process has to end after the work.
    """
    with asyncio.Runner(loop_factory=_fast_loop if fast else _Loop) as runner:
        return runner.run(_interruptible(work))


async def cancel(task: asyncio.Future[Any]) -> None:
    """Cancel a task repeatedly until it ends: Python 3.11 can lose a cancellation in a socket call."""
    for _ in range(CANCELLATIONS):
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=0.1)
        if done:
            with suppress(asyncio.CancelledError):
                task.exception()
            return


async def _interruptible(work: Coroutine[Any, Any, int]) -> int:
    """Run `work`. At Ctrl-C cancel it."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        await cancel(task)
        raise
    return task.result()

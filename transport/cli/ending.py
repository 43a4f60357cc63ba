"""How a verb ends: its event loop, its process, and its exit status.

The end waits for no thread. A thread that looks up a name cannot be stopped, and a resolver that does not
answer keeps it for a minute. Python joins such threads three times: when the default executor is shut down,
when the loop of uvloop is closed, and when the interpreter ends. At that time all output is printed and all
data is stored, so the loops here skip the first two, and `leave` skips the third.

Scripts rely on the exit status. Between the moment when a command may have been handed over and its terminal
event, a verb can end early: its output is full, Redis is gone, Ctrl-C, an internal error. Then the outcome of
the command is unknown. The status must not say "failed", because a script would send the command again.
`awaiting` marks that time, and after a verb has ended, `Telgw` asks `undecided`.
"""

from __future__ import annotations

import asyncio
import os
import select
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn, TextIO

from .stderr import line

CANCELLATIONS = 20
WRITE_TIMEOUT = 1.0
"""Seconds that the last message waits for room on standard error."""


_awaited = ""


@contextmanager
def awaiting(what: str, unless: type[Exception], *, advice: str = "") -> Iterator[None]:
    """Within the block, and after an error in it, the outcome of `what` is unknown.

    Args:
        unless: the error which means that nothing was handed over.
        advice: a sentence on what to do then.
    """
    global _awaited
    _awaited = f"The outcome of {what} is unknown. {advice}".rstrip()
    try:
        yield
    except unless:
        _awaited = ""
        raise
    _awaited = ""


def undecided() -> str:
    """What to say of the outcome that the verb was waiting for when it ended; empty if it was for none."""
    global _awaited
    sentence, _awaited = _awaited, ""
    return sentence


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


def complain(sentence: str, *, as_json: bool = False) -> None:
    """Print `sentence` on standard error, if there is room for it within `WRITE_TIMEOUT`."""
    with suppress(OSError, ValueError, AttributeError):
        if _has_room(sys.stderr):
            sys.stderr.write(line(sentence, "error", as_json=as_json) + "\n")
            sys.stderr.flush()


def _has_room(stream: TextIO) -> bool:
    try:
        waiting = select.poll()
        waiting.register(stream.fileno(), select.POLLOUT)
    except ValueError:  # a stream in memory
        return True
    return bool(waiting.poll(WRITE_TIMEOUT * 1000))


def leave(status: int) -> NoReturn:
    """Flush the output and end the process at once with `status`."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status)

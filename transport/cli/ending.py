"""How a verb ends: its process, its exit status, and what it says then.

Scripts rely on the exit status. Between the moment when a command may have been handed over and its terminal
event, a verb can end early: its output is full, Redis is gone, Ctrl-C, an internal error. Then the outcome of
the command is unknown. The status must not say "failed", because a script would send the command again.
`awaiting` marks that time, and after a verb has ended, `Telgw` asks `undecided`.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn, TextIO

from .stderr import line

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
    """Flush the output and end the process at once with `status`, without its threads (`event_loop`)."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status)

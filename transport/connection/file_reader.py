"""Operators' files, read outside of the event loop and in bounded time.

A file may lie on a file system that does not answer: opening it then takes for ever, and the call cannot be
interrupted. So each reading has a thread of its own, and whoever waits for it gives up after a while. The
thread is left behind; it holds up neither the loop nor the end of the process, and ends when the file system
answers. A reader has one thread at most: while it hangs, a further reading fails at once. What would hang by
its nature, as a pipe does that nobody writes to, is not opened at all (`regular`).
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from typing import TypeVar

from fsm.errors import GatewayFault

PATIENCE = 5.0
"""Seconds that a reading may take."""

T = TypeVar("T")


class NotRead(GatewayFault):
    """What a file holds did not come in time."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(f"{what} could not be read within {seconds:g} s.")
        self.what = what


class FileReader:
    """Reads files for one purpose.

    Args:
        what: what the files are, as the beginning of a sentence.
        patience: seconds that a reading may take.
    """

    def __init__(self, what: str, patience: float = PATIENCE) -> None:
        self._what = what
        self._patience = patience
        self._idle = threading.Event()
        self._idle.set()

    def read_now(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, and wait for it here: for the time before there is a loop.

        Raises:
            NotRead: it took too long. What `work` raises is raised.
        """
        try:
            return self._begin(work).result(self._patience)
        except TimeoutError:
            raise NotRead(self._what, self._patience) from None

    async def read(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, without holding up the loop.

        Raises:
            NotRead: it took too long, or an earlier reading still hangs. What `work` raises is raised.
        """
        try:
            async with asyncio.timeout(self._patience):
                return await asyncio.wrap_future(self._begin(work))
        except TimeoutError:
            raise NotRead(self._what, self._patience) from None

    def _begin(self, work: Callable[[], T]) -> Future[T]:
        if not self._idle.is_set():
            raise NotRead(self._what, self._patience)
        self._idle.clear()
        future: Future[T] = Future()
        threading.Thread(target=self._work, args=(work, future), name="files", daemon=True).start()
        return future

    def _work(self, work: Callable[[], T], future: Future[T]) -> None:
        """In the thread. Whoever has given up has cancelled the future, or closed its loop."""
        tell: Callable[[], None]
        try:
            tell = partial(future.set_result, work())
        except Exception as error:
            tell = partial(future.set_exception, error)
        self._idle.set()
        with suppress(InvalidStateError, RuntimeError):
            tell()


def regular(path: str, flags: int) -> int:
    """An opener for `open` that opens regular files alone.

    Raises:
        OSError: the file cannot be opened, or is a pipe, a device or a directory.
    """
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "not a regular file", path)

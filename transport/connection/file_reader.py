"""Reads files of the operator outside of the event loop, with a time limit.

A file may be on a file system that does not answer: then a call to open it blocks for ever and cannot be
interrupted. So each read has its own thread, and the caller gives up after a time-out. The thread remains; it
does not delay the loop or the end of the process, and ends when the file system answers. A reader has one
thread at most: as long as it blocks, another read fails at once. Files that can block by nature, such as a
pipe without a writer, are not opened (`regular`).
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

READ_TIMEOUT = 5.0
"""Seconds that a read may take."""

T = TypeVar("T")


class NotRead(GatewayFault):
    """A file could not be read in time."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(f"{what} could not be read within {seconds:g} s.")
        self.what = what


class FileReader:
    """Reads files for one purpose.

    Args:
        what: a name of the files, as the beginning of a sentence.
        timeout: seconds that a read may take.
    """

    def __init__(self, what: str, timeout: float = READ_TIMEOUT) -> None:
        self._what = what
        self._timeout = timeout
        self._idle = threading.Event()
        self._idle.set()

    def read_now(self, work: Callable[[], T]) -> T:
        """Run `work` in the thread and wait for it, before there is an event loop; its result.

        Raises:
            NotRead: it took too long. Errors of `work` are raised, too.
        """
        try:
            return self._begin(work).result(self._timeout)
        except TimeoutError:
            raise NotRead(self._what, self._timeout) from None

    async def read(self, work: Callable[[], T]) -> T:
        """Run `work` in the thread, without blocking the event loop; its result.

        Raises:
            NotRead: it took too long, or an earlier read still blocks. Errors of `work` are raised, too.
        """
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.wrap_future(self._begin(work))
        except TimeoutError:
            raise NotRead(self._what, self._timeout) from None

    def _begin(self, work: Callable[[], T]) -> Future[T]:
        if not self._idle.is_set():
            raise NotRead(self._what, self._timeout)
        self._idle.clear()
        future: Future[T] = Future()
        threading.Thread(target=self._work, args=(work, future), name="files", daemon=True).start()
        return future

    def _work(self, work: Callable[[], T], future: Future[T]) -> None:
        """Runs in the thread. A caller that gave up has cancelled the future, or closed its loop."""
        tell: Callable[[], None]
        try:
            tell = partial(future.set_result, work())
        except Exception as error:
            tell = partial(future.set_exception, error)
        self._idle.set()
        with suppress(InvalidStateError, RuntimeError):
            tell()


def regular(path: str, flags: int) -> int:
    """An opener for `open` that opens only regular files.

    Raises:
        OSError: the file cannot be opened, or is a pipe, a device or a directory.
    """
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "not a regular file", path)

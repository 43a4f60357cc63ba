"""Writes log lines: a bounded buffer, and a thread that writes it to a file descriptor.

A write to the descriptor can fail (its reader is gone, the disk is full), and it can block for ever (nobody
reads the pipe, the terminal is stopped). Neither may affect the code that logs: an exception would end tasks
and callbacks anywhere, and an event loop that waits for its log does not acknowledge records or renew its
heartbeat.

Two invariants follow: `write` neither raises nor waits for the descriptor, and each line is either written
completely or counted as dropped. After lines were dropped, the next line that is written says how many.

The thread is a daemon and blocks all signals: the end of the process waits for it in `close` only, for a
limited time, and no signal interrupts a write. The descriptor stays blocking, because other processes may
share it.
"""

from __future__ import annotations

import os
import queue
import select
import signal
import threading
import time
from collections.abc import Callable

BUFFER = 4 * 1024 * 1024
"""Bytes of lines that may wait: about ten thousand lines, or a minute of the log of a busy gateway."""
CHUNK = 64 * 1024
"""Bytes written in one call, about."""
LINE = 1
"""As a chunk: each line is written by itself. Lines of several processes on one pipe then stay whole, up to
the 4,096 bytes that a pipe takes at once."""
PAUSE = 0.02
"""Seconds in which lines are collected if few wait: a write for each line would cost a thread switch."""
RETRY = 1.0
"""Seconds after which a failed descriptor is tried again."""


class LogWriter:
    """Writes lines to a descriptor from its own thread.

    Args:
        descriptor: the caller has to close it; None drops every line.
        notice: makes the line that says how many lines were dropped.
        buffer: bytes that may wait.
        chunk: bytes to write in one call, about; `LINE` for one line.
    """

    def __init__(
        self, descriptor: int | None, notice: Callable[[int], bytes], buffer: int = BUFFER, chunk: int = CHUNK
    ) -> None:
        self._descriptor = descriptor
        self._notice = notice
        self._chunk = chunk
        self._room = buffer
        # The same thread may enter both again: a finalizer, which can run anywhere, may log.
        self._lock = threading.RLock()
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._held = 0
        self._closed = False
        self._dropped = 0
        self._noticed = 0
        self._torn = False
        self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines that were not written."""
        return self._dropped

    def write(self, line: bytes) -> None:
        """Put a line, with its line feed, into the buffer; drop it if the buffer is full."""
        with self._lock:
            if self._closed or self._held + len(line) > self._room:
                self._dropped += 1
                return
            self._held += len(line)
        self._lines.put(line)

    def close(self, within: float) -> bool:
        """Accept no more lines, and wait `within` seconds for the buffer; whether all lines were written."""
        with self._lock:
            self._closed = True
        self._lines.put(None)
        self._thread.join(within)
        return not self._thread.is_alive()

    # The thread

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        ended = False
        while not ended:
            chunk, ended = self._next_chunk()
            if self._notify() and chunk:
                self._put(chunk)
            else:
                self._drop(chunk)
            if not ended and len(chunk) < self._chunk:
                time.sleep(PAUSE)

    def _next_chunk(self) -> tuple[bytes, bool]:
        """Lines that wait, or none if a notice is due; and whether these are the last lines."""
        lines: list[bytes] = []
        size = 0
        ended = False
        try:
            line = self._lines.get(timeout=RETRY if self._dropped > self._noticed else None)
            while line is not None and size < self._chunk:
                lines.append(line)
                size += len(line)
                line = self._lines.get_nowait() if size < self._chunk else line
            ended = line is None
        except queue.Empty:
            pass
        with self._lock:
            self._held -= size
        return b"".join(lines), ended

    def _notify(self) -> bool:
        """Write the notice about dropped lines, if there are some; whether the descriptor works."""
        count = self._dropped - self._noticed
        if not count:
            return True
        if not self._put(self._notice(count), counted=False):
            return False
        self._noticed += count
        return True

    def _put(self, data: bytes, *, counted: bool = True) -> bool:
        """Write all of `data`; whether that succeeded. Lines that are not written completely are counted."""
        if self._torn:
            data = b"\n" + data  # ends a line that was written in part
        written = 0
        try:
            while written < len(data):
                written += self._write(memoryview(data)[written:])
        except OSError:
            self._torn = (written > 0 and not data[:written].endswith(b"\n")) or (self._torn and not written)
            if counted:
                self._drop(data[written:])
            return False
        self._torn = False
        return True

    def _write(self, data: memoryview) -> int:
        """Write a part of `data`, which may block; the number of bytes written."""
        if self._descriptor is None:
            raise OSError("no descriptor")
        while True:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:  # another process, which shares the descriptor, made it non-blocking
                waiting = select.poll()
                waiting.register(self._descriptor, select.POLLOUT)
                waiting.poll(RETRY * 1000)

    def _drop(self, data: bytes) -> None:
        with self._lock:
            self._dropped += data.count(b"\n")

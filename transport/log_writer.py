"""Lines of the log on their way out: a bounded buffer, and a thread that empties it into a file descriptor.

What stands behind the descriptor belongs to somebody else. A write to it can fail (its reader is gone, its
disk is full), and it can take for ever (nobody reads the pipe, a terminal is stopped). Neither may reach the
code that logs: an exception would end tasks and callbacks at random places, and an event loop that waits for
its log neither acknowledges records nor writes its heartbeat.

Hence the two invariants: `write` neither raises nor waits for the descriptor, and each line is either written
whole or counted. When lines were dropped, the next thing that is written is one line that says how many.

The thread is a daemon and blocks all signals: the end of the process does not wait for it longer than `close`
is told to, and a signal never finds it in the middle of a write. The descriptor is not made non-blocking,
because other processes may share it.
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
"""Bytes of lines that may wait: some ten thousand lines, or what a busy gateway logs in a minute."""
CHUNK = 64 * 1024
"""Bytes written in one call."""
PAUSE = 0.02
"""Seconds in which lines gather when few wait: a write for each line would cost a switch of threads."""
RETRY = 1.0
"""Seconds after which a descriptor that failed is tried again."""


class LogWriter:
    """Writes lines to a descriptor from a thread of its own.

    Args:
        descriptor: stays the caller's; None when there is none, and then every line is dropped.
        notice: makes the line that tells how many were dropped.
        buffer: bytes that may wait.
    """

    def __init__(self, descriptor: int | None, notice: Callable[[int], bytes], buffer: int = BUFFER) -> None:
        self._descriptor = descriptor
        self._notice = notice
        self._room = buffer
        # Both may be entered again by the same thread: a finalizer logs wherever the interpreter runs it.
        self._lock = threading.RLock()
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._held = 0
        self._closed = False
        self._dropped = 0
        self._told = 0
        self._torn = False
        self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines that were not written."""
        return self._dropped

    def write(self, line: bytes) -> None:
        """Take a line, its line feed included; or drop it when too many wait."""
        with self._lock:
            if self._closed or self._held + len(line) > self._room:
                self._dropped += 1
                return
            self._held += len(line)
        self._lines.put(line)

    def close(self, within: float) -> bool:
        """Take no more lines, and wait `within` seconds for those in the buffer; whether all are through."""
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
            if self._tell() and chunk:
                self._put(chunk)
            else:
                self._drop(chunk)
            if not ended and len(chunk) < CHUNK:
                time.sleep(PAUSE)

    def _next_chunk(self) -> tuple[bytes, bool]:
        """Lines that wait, or none after a while if a notice is due; and whether these are the last."""
        lines: list[bytes] = []
        size = 0
        ended = False
        try:
            line = self._lines.get(timeout=RETRY if self._dropped > self._told else None)
            while line is not None and size < CHUNK:
                lines.append(line)
                size += len(line)
                line = self._lines.get_nowait() if size < CHUNK else line
            ended = line is None
        except queue.Empty:
            pass
        with self._lock:
            self._held -= size
        return b"".join(lines), ended

    def _tell(self) -> bool:
        """Tell of lines that were dropped, if there are some; whether the descriptor takes lines."""
        count = self._dropped - self._told
        if not count:
            return True
        if not self._put(self._notice(count), counted=False):
            return False
        self._told += count
        return True

    def _put(self, data: bytes, *, counted: bool = True) -> bool:
        """Write all of `data`; whether that succeeded. Lines that are not written whole are counted."""
        if self._torn:
            data = b"\n" + data  # the end of a line that was cut short
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
        """Write some of `data`, however long that takes; bytes written."""
        if self._descriptor is None:
            raise OSError("no descriptor")
        while True:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:  # another process that shares the descriptor has made it so
                waiting = select.poll()
                waiting.register(self._descriptor, select.POLLOUT)
                waiting.poll(RETRY * 1000)

    def _drop(self, data: bytes) -> None:
        with self._lock:
            self._dropped += data.count(b"\n")

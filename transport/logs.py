"""The log of the gateway: the only module that configures `structlog` and `logging`.

A call that logs never raises and never waits. A value that cannot be rendered costs only its line, and
`transport.log_writer` deals with a descriptor that fails or blocks. Output that Python, its event loop and
libraries would write to standard error goes the same way, because it could raise and block as well.
"""

from __future__ import annotations

import io
import json
import logging
import os
import select
import sys
import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TextIO

import msgspec
import structlog

from transport.console_lines import ConsoleLines
from transport.log_writer import CHUNK, LINE, LogWriter

LAST_LINES = 2.0
"""Seconds that the end of a process waits for the reader of its log."""

LEVELS = ("debug", "info", "warning", "error")


_encode = msgspec.json.Encoder(enc_hook=repr).encode


def _json(line: Any, **_: Any) -> str:
    text = _encode(line).decode()
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(char: str) -> str:
    """`char` as a JSON escape if it could control a terminal: JSON itself leaves most of these unescaped."""
    if char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else json.dumps(char)[1:-1]


def _harmless(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape text from outside, which must not control a terminal. A traceback keeps its line breaks."""
    for name, value in line.items():
        if isinstance(value, str) and not value.isprintable():
            kept = "\n" if name == "exception" else ""
            line[name] = "".join(
                char if char.isprintable() or char == kept else char.encode("unicode_escape").decode()
                for char in value
            )
    return line


class _Lines:
    """The logger at the end of structlog's chain: passes each rendered line on."""

    def __init__(self, put: Callable[[str], object]) -> None:
        self._put = put

    def msg(self, line: str) -> None:
        """Pass one line on."""
        self._put(f"{line}\n")

    debug = info = warning = error = critical = msg


class _Rendering:
    """The whole chain of structlog as one processor: from the values of a line to its text.

    It never raises, whatever the values are: a log line must not end its caller.
    """

    def __init__(self, processors: list[structlog.types.Processor]) -> None:
        self._processors = processors

    def __call__(self, logger: Any, method: str, line: MutableMapping[str, Any]) -> str:
        event = line.get("event")
        try:
            return self._rendered(logger, method, line)
        except Exception as error:
            safe = {
                "event": event if isinstance(event, str) else "unnamed",
                "unreadable": type(error).__name__,
            }
            return self._rendered(logger, method, safe)

    def _rendered(self, logger: Any, method: str, line: Any) -> str:
        for processor in self._processors:
            line = processor(logger, method, line)
        return str(line)


_writer: LogWriter | None = None
_urgent: Callable[[str, dict[str, Any]], None] | None = None


def lines_dropped() -> int:
    """Log lines of this process that could not be written."""
    return _writer.dropped if _writer else 0


def configure(
    level: str = "info", format: str = "auto", stream: TextIO | None = None, *, worker: int = 0
) -> None:
    """Log to `stream` (standard error by default).

    A thread writes to a stream with a descriptor, see `transport.log_writer`; other streams are written at
    once.

    Args:
        level: one of `LEVELS`; lines below it cost almost nothing.
        format: ``json``, ``console``, or ``auto``: JSON unless the stream is a terminal.
        worker: the number of this process among several that share the stream; each line names it. 0: it has
            the stream for itself.
    """
    out = stream or sys.stderr  # None if it was closed before the process started
    terminal = out is not None and out.isatty()
    rendering = _rendering(
        console=format == "console" or (format == "auto" and terminal),
        colors=terminal,
        columns=partial(_columns, out if terminal else None),
        worker=worker,
    )
    structlog.configure(
        processors=[rendering],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=_factory(_put(out, rendering, shared=worker > 0)),
        cache_logger_on_first_use=True,
    )


def _columns(terminal: TextIO | None) -> int:
    """The width of a terminal; 0 if it is none, or does not tell."""
    try:
        return os.get_terminal_size(terminal.fileno()).columns if terminal is not None else 0
    except (OSError, ValueError):
        return 0


def _rendering(*, console: bool, colors: bool, columns: Callable[[], int], worker: int) -> _Rendering:
    processors: list[structlog.types.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    if worker:
        processors.append(partial(_named, worker))
    if console:
        processors.append(_harmless)
        return _Rendering([*processors, ConsoleLines(colors=colors, columns=columns)])
    return _Rendering([*processors, structlog.processors.JSONRenderer(serializer=_json)])


def _named(worker: int, _: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    line.setdefault("worker", worker)
    return line


def _factory(put: Callable[[str], object]) -> Callable[..., _Lines]:
    return lambda *_: _Lines(put)


def _put(out: TextIO | None, rendering: _Rendering, *, shared: bool) -> Callable[[str], object]:
    """The function that writes lines to `out`."""
    global _writer, _urgent
    try:
        descriptor = out.fileno() if out is not None else None
    except (OSError, ValueError):  # a stream in memory
        assert out is not None
        return out.write

    def notice(count: int) -> bytes:
        return f"{rendering(None, 'warning', {'event': 'log_lines_dropped', 'count': count})}\n".encode()

    _urgent = None if descriptor is None else _urgent_to(descriptor, rendering)
    writer = _writer = LogWriter(descriptor, notice, chunk=LINE if shared else CHUNK)
    encoding = getattr(out, "encoding", None) or "utf-8"
    return lambda line: writer.write(line.encode(encoding, errors="backslashreplace"))


def say_at_once(event: str, **facts: Any) -> None:
    """Log a warning from a signal handler, right before the process ends: the thread will write no more.

    Nothing is written if the descriptor would make the caller wait.
    """
    if _urgent is not None:
        _urgent(event, facts)


def _urgent_to(descriptor: int, rendering: _Rendering) -> Callable[[str, dict[str, Any]], None]:
    def write(event: str, facts: dict[str, Any]) -> None:
        line = f"{rendering(None, 'warning', {'event': event, **facts})}\n".encode(errors="backslashreplace")
        with suppress(OSError):
            ready = select.poll()
            ready.register(descriptor, select.POLLOUT)
            if ready.poll(0):
                os.write(descriptor, line)

    return write


@contextmanager
def logging_to_stderr(level: str, format: str, worker: int = 0) -> Iterator[None]:
    """Within the block, log to standard error; output of Python and of libraries is part of the log."""
    configure(level, format, worker=worker)
    stderr, sys.stderr = sys.stderr, _Printed()
    capture_python()
    try:
        yield
    finally:
        sys.stderr = stderr
        if _writer:
            _writer.close(LAST_LINES)


class _Printed(io.TextIOBase):
    """Replaces standard error: what is printed there becomes log lines."""

    def write(self, text: str) -> int:
        """Log each line of `text`."""
        for line in filter(None, text.split("\n")):
            structlog.get_logger("telgw").warning("printed", text=line)
        return len(text)


class _Library(logging.Handler):
    """Turns records of `logging` (libraries, the event loop, warnings) into log lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record."""
        log = structlog.get_logger("telgw")
        level = "error" if record.levelno >= logging.ERROR else "warning"
        try:
            text = record.getMessage()
        except Exception as error:
            text = f"unreadable ({type(error).__name__})"
        getattr(log, level)("library", library=record.name, text=text, exc_info=record.exc_info)


def capture_python() -> None:
    """Send to the log what would go to standard error: warnings, libraries, uncaught exceptions."""
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    logging.basicConfig(handlers=[_Library()], level=logging.WARNING, force=True)
    log = structlog.get_logger("telgw")

    def uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        log.critical("uncaught", exc_info=(kind, error, trace))

    def in_thread(failure: threading.ExceptHookArgs) -> None:
        if failure.exc_value is not None:
            uncaught(failure.exc_type, failure.exc_value, failure.exc_traceback)

    def in_finalizer(failure: Any) -> None:
        log.error("uncaught", where=repr(failure.object)[:200], exc_info=failure.exc_value)

    sys.excepthook, threading.excepthook, sys.unraisablehook = uncaught, in_thread, in_finalizer

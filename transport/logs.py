"""How the gateway writes its log: the one place where `structlog` and `logging` are configured.

Nothing that logs can be hurt by it: a value that cannot be rendered costs its line and not its caller, and a
descriptor that fails or waits is the business of `transport.log_writer`. What Python, its event loop and
libraries would write to standard error themselves goes the same way, for they would raise and wait just so.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, TextIO

import msgspec
import structlog

from transport.log_writer import LogWriter

LAST_LINES = 2.0
"""Seconds that the end of a process waits for whoever reads its log."""

LEVELS = ("debug", "info", "warning", "error")


def _json(line: Any, **_: Any) -> str:
    text = msgspec.json.encode(line, enc_hook=repr).decode()
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(char: str) -> str:
    """`char` as JSON spells it when it would steer a terminal: JSON itself lets most such characters pass."""
    if char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else json.dumps(char)[1:-1]


def _harmless(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Text that others wrote must not steer the terminal that shows the line; a traceback keeps its lines."""
    for name, value in line.items():
        if isinstance(value, str) and not value.isprintable():
            kept = "\n" if name == "exception" else ""
            line[name] = "".join(
                char if char.isprintable() or char == kept else char.encode("unicode_escape").decode()
                for char in value
            )
    return line


class _Lines:
    """The logger at the end of structlog's chain: hands each rendered line on."""

    def __init__(self, put: Callable[[str], object]) -> None:
        self._put = put

    def msg(self, line: str) -> None:
        """Hand on one line."""
        self._put(f"{line}\n")

    debug = info = warning = error = critical = msg


class _Rendering:
    """All of structlog's chain as one processor: from a line's values to its text.

    It never raises, whatever the values are: what a line says is never worth the caller's life.
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


def lines_dropped() -> int:
    """Lines of the log of this process that could not be written."""
    return _writer.dropped if _writer else 0


def configure(level: str = "info", format: str = "auto", stream: TextIO | None = None) -> None:
    """Log to `stream` (standard error by default).

    A stream with a descriptor is written to by a thread, see `transport.log_writer`; any other at once.

    Args:
        level: one of `LEVELS`; lines below it cost next to nothing.
        format: ``json``, ``console``, or ``auto``: JSON unless the stream is a terminal.
    """
    out = stream or sys.stderr  # None when it was closed before the process began
    terminal = out is not None and out.isatty()
    rendering = _rendering(console=format == "console" or (format == "auto" and terminal), colors=terminal)
    structlog.configure(
        processors=[rendering],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=_factory(_put(out, rendering)),
        cache_logger_on_first_use=True,
    )


def _rendering(*, console: bool, colors: bool) -> _Rendering:
    processors: list[structlog.types.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    if console:
        processors.append(_harmless)
        return _Rendering([*processors, structlog.dev.ConsoleRenderer(colors=colors)])
    return _Rendering([*processors, structlog.processors.JSONRenderer(serializer=_json)])


def _factory(put: Callable[[str], object]) -> Callable[..., _Lines]:
    return lambda *_: _Lines(put)


def _put(out: TextIO | None, rendering: _Rendering) -> Callable[[str], object]:
    """What takes the lines for `out`."""
    global _writer
    try:
        descriptor = out.fileno() if out is not None else None
    except (OSError, ValueError):  # a stream in memory
        assert out is not None
        return out.write

    def notice(count: int) -> bytes:
        return f"{rendering(None, 'warning', {'event': 'log_lines_dropped', 'count': count})}\n".encode()

    writer = _writer = LogWriter(descriptor, notice)
    encoding = getattr(out, "encoding", None) or "utf-8"
    return lambda line: writer.write(line.encode(encoding, errors="backslashreplace"))


@contextmanager
def logging_to_stderr(level: str, format: str) -> Iterator[None]:
    """The log of a process, for the length of the block; what Python and libraries say is part of it."""
    configure(level, format)
    stderr, sys.stderr = sys.stderr, _Printed()
    capture_python()
    try:
        yield
    finally:
        sys.stderr = stderr
        if _writer:
            _writer.close(LAST_LINES)


class _Printed(io.TextIOBase):
    """In the place of standard error: what is printed there becomes lines of the log."""

    def write(self, text: str) -> int:
        """Log what `text` says, a line each."""
        for line in filter(None, text.split("\n")):
            structlog.get_logger("telgw").warning("printed", text=line)
        return len(text)


class _Library(logging.Handler):
    """What libraries, the event loop and Python's warnings say, as lines of the log."""

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
    """Send to the log what would go to standard error past it: warnings, libraries, uncaught exceptions."""
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    logging.basicConfig(handlers=[_Library()], level=logging.WARNING, force=True)
    log = structlog.get_logger("telgw")

    def uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        log.critical("uncaught", exc_info=(kind, error, trace))

    def in_thread(told: threading.ExceptHookArgs) -> None:
        if told.exc_value is not None:
            uncaught(told.exc_type, told.exc_value, told.exc_traceback)

    def in_finalizer(told: Any) -> None:
        log.error("uncaught", where=repr(told.object)[:200], exc_info=told.exc_value)

    sys.excepthook, threading.excepthook, sys.unraisablehook = uncaught, in_thread, in_finalizer

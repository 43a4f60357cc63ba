"""How the gateway writes its log: the one place where `structlog` is configured."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import msgspec
import structlog

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


def configure(level: str = "info", format: str = "auto", stream: TextIO | None = None) -> None:
    """Log to `stream` (standard error by default).

    Args:
        level: one of `LEVELS`; lines below it cost next to nothing.
        format: ``json``, ``console``, or ``auto``: JSON unless the stream is a terminal.
    """
    out = stream or sys.stderr
    console = format == "console" or (format == "auto" and out.isatty())
    processors: list[structlog.types.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.types.Processor
    if console:
        processors.append(_harmless)
        renderer = structlog.dev.ConsoleRenderer(colors=out.isatty())
    else:
        renderer = structlog.processors.JSONRenderer(serializer=_json)
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=True,
    )

"""How the gateway writes its log: the one place where `structlog` is configured."""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import msgspec
import structlog

LEVELS = ("debug", "info", "warning", "error")


def _json(line: Any, **_: Any) -> str:
    return msgspec.json.encode(line, enc_hook=repr).decode()


def configure(level: str = "info", format: str = "auto", stream: TextIO | None = None) -> None:
    """Log to `stream` (standard error by default).

    Args:
        level: one of `LEVELS`; lines below it cost next to nothing.
        format: ``json``, ``console``, or ``auto``: JSON unless the stream is a terminal.
    """
    out = stream or sys.stderr
    console = format == "console" or (format == "auto" and out.isatty())
    renderer: structlog.types.Processor
    if console:
        renderer = structlog.dev.ConsoleRenderer(colors=out.isatty())
    else:
        renderer = structlog.processors.JSONRenderer(serializer=_json)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=True,
    )

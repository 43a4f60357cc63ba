"""Log lines for a person at a terminal: short, without empty fields, folded between fields.

A line begins with the time in UTC, the level and the event. Fields that do not fit into the width begin a new
line, indented; a value is never cut or broken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping
from typing import Any

WIDTH = 120
"""Columns, unless the terminal has fewer."""
LEAST = 40
INDENT = " " * 4
_RESET, _BOLD, _DIM = "\x1b[0m", "\x1b[1m", "\x1b[2m"
_COLORS = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[1;31m"}
_EMPTY: tuple[object, ...] = (None, "", [], (), {})


class ConsoleLines:
    """Renders lines: the last of structlog's processors.

    Args:
        colors: mark level, event and names by colors.
        columns: the width of the terminal, asked for each line; 0 if it is unknown.
    """

    def __init__(self, *, colors: bool, columns: Callable[[], int]) -> None:
        self._colors = colors
        self._columns = columns

    def __call__(self, _: Any, __: str, line: MutableMapping[str, Any]) -> str:
        """The line, and below it the traceback if there is one."""
        time, level = str(line.pop("timestamp", "")), str(line.pop("level", ""))
        event, exception = str(line.pop("event", "")), line.pop("exception", "")
        fields = [(name, _text(value)) for name, value in line.items() if value not in _EMPTY]
        head = f"{_short(time)} {self._painted(f'{level:<8}', _COLORS.get(level, _DIM))} "
        width = len(_short(time)) + 10 + len(event)
        lines = [head + self._painted(event, _BOLD)]
        self._fold(lines, width, fields)
        return "\n".join([*lines, *([exception] if exception else [])])

    def _fold(self, lines: list[str], width: int, fields: Iterable[tuple[str, str]]) -> None:
        """Append fields to the last of the lines, or to a new one if they do not fit."""
        most = max(LEAST, min(WIDTH, self._columns() or WIDTH))
        for name, text in fields:
            needed = len(name) + len(text) + 1
            if width + 1 + needed > most:
                lines.append(INDENT[:-1])
                width = len(INDENT) - 1
            lines[-1] += f" {self._painted(f'{name}=', _DIM)}{text}"
            width += 1 + needed

    def _painted(self, text: str, color: str) -> str:
        return f"{color}{text}{_RESET}" if self._colors else text


def _short(time: str) -> str:
    """A time of ISO 8601 in milliseconds."""
    date, _, clock = time.partition("T")
    return f"{date} {clock[:12]}Z" if clock else time


def _text(value: Any) -> str:
    """A value; quoted if its end could not be seen."""
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value))
    text = str(value)
    if not text.isprintable():
        return repr(text)
    return f'"{text}"' if isinstance(value, str) and " " in text else text

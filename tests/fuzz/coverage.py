"""Which lines of the gateway were never reached before: what makes an input worth keeping.

Python tells it at next to no cost from 3.12 on (PEP 669): a line is reported once. Before that nothing is
told, and an input is rated by what its check says it met.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import CodeType
from typing import Any

ROOT = Path(__file__).parents[2]
WATCHED = tuple(f"{ROOT / package}/" for package in ("fsm", "store", "transport"))
TOOL = 4
"""One of the numbers that no debugger, profiler or coverage tool has by agreement."""


class Lines:
    """Counts the lines that are reached for the first time while it is entered; if `wanted`, and known."""

    def __init__(self, *, wanted: bool) -> None:
        self._monitoring: Any = getattr(sys, "monitoring", None) if wanted else None
        self._new = 0

    def news(self) -> int:
        """How many lines have been reached for the first time since this was last asked."""
        new, self._new = self._new, 0
        return new

    def __enter__(self) -> Lines:
        if self._monitoring:
            self._monitoring.use_tool_id(TOOL, "telgw-fuzz")
            self._monitoring.register_callback(TOOL, self._monitoring.events.LINE, self._reached)
            self._monitoring.set_events(TOOL, self._monitoring.events.LINE)
            self._monitoring.restart_events()
        return self

    def __exit__(self, *_: object) -> None:
        if self._monitoring:
            self._monitoring.set_events(TOOL, 0)
            self._monitoring.register_callback(TOOL, self._monitoring.events.LINE, None)
            self._monitoring.free_tool_id(TOOL)

    def _reached(self, code: CodeType, line: int) -> Any:
        if code.co_filename.startswith(WATCHED):
            self._new += 1
        return self._monitoring.DISABLE

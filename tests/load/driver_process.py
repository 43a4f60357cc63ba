"""Drivers in processes of their own: what holds one of them up holds up nobody else.

A driver is a module with `main`. It gets its arguments as one object of JSON, says a line of JSON when it is
ready, and one more for each line that it is sent; at the end of its input it ends.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[2]
SOURCES = tuple(f"127.0.0.{number}" for number in range(2, 10))
"""Addresses that drivers connect from: each has 28,000 ports, and counts by itself against a limit."""


def open_files(wanted: int) -> bool:
    """Whether a process may have `wanted` files open, once its limit is as high as it goes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard == resource.RLIM_INFINITY or hard >= wanted


def say(**words: Any) -> None:
    """A driver says a line."""
    print(json.dumps(words), flush=True)


class DriverProcess:
    """A driver's process. A context manager: leaving it ends the process.

    Args:
        module: its name in this package.
        nice: how much of the processor it leaves to others, as of `nice`.
    """

    def __init__(self, module: str, *, nice: int = 0, **arguments: Any) -> None:
        program = f"import os; os.nice({nice}); from tests.load.{module} import main; main()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, json.dumps(arguments)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> DriverProcess:
        self.heard()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process:
            self._process.kill()

    def heard(self) -> dict[str, Any]:
        """The next line that the driver says."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the driver ended with {self._process.wait()}"
        words: dict[str, Any] = json.loads(line)
        return words

    def ask(self, **words: Any) -> dict[str, Any]:
        """Send the driver a line; its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return self.heard()

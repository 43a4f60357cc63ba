"""A process that has imported what tests need, and forks a child for each run of some of them.

It is started in a copy of the repository and imports nothing of it: every child imports the copy as it is
then. One request a line, a JSON list of test ids; one answer a line, a JSON object, which
`tests.mutation.working_copy` reads.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import freezegun
import pytest

MODULES = (
    "asyncio",
    "dataclasses_json",
    "fakeredis",
    "fastcrc",
    "hypothesis.strategies",
    "lupa.lua51",
    "msgspec",
    "prometheus_client",
    "redis.asyncio",
    "structlog",
    "transitions",
)
TIME_LIMIT = 240.0
"""Seconds that one run may take; each of its tests may take a part of that."""
HUNG = '{"status": -1, "failed": [], "broken": [], "errors": []}'
OPTIONS = ("-q", "-p", "no:cacheprovider", "--timeout=30", "--tb=short", "--color=no")


class Record:
    """What became of the tests of one run."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.broken: list[str] = []  # in the fixtures, or while it was collected
        self.errors: list[str] = []  # the class of each failure

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        report = yield
        if report.failed:
            (self.failed if report.when == "call" else self.broken).append(item.nodeid)
            self.errors.append(call.excinfo.typename if call.excinfo else "")
        return report

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.broken.append(report.nodeid)


def run(tests: list[str], report: IO[str]) -> None:
    """Run `tests` in this process, which ends with it, and write what became of them to `report`."""
    record = Record()
    status = pytest.ExitCode.INTERNAL_ERROR
    try:
        status = pytest.ExitCode(pytest.main([*OPTIONS, *tests], plugins=[record]))
    except Exception:  # what a test that failed has left behind, found by pytest when it has ended
        traceback.print_exc()
        if record.failed:
            status = pytest.ExitCode.TESTS_FAILED
    finally:
        json.dump({"status": status, **vars(record)}, report)
        for stream in (report, sys.stdout, sys.stderr):
            stream.flush()
        os._exit(0)


def wait(child: int) -> None:
    """Wait for `child`; one that hangs is ended with all that it has started."""
    ends = time.monotonic() + TIME_LIMIT
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > ends:
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
        time.sleep(0.005)


def fork(tests: list[str]) -> dict[str, Any]:
    """Run `tests` in a child; its record, and what it wrote."""
    with tempfile.TemporaryFile("w+") as report, tempfile.TemporaryFile("w+", errors="replace") as output:
        if not (child := os.fork()):
            os.setpgid(0, 0)
            for number in (1, 2):
                os.dup2(output.fileno(), number)
            run(tests, report)
        wait(child)
        for file in (report, output):
            file.seek(0)
        told = json.loads(report.read() or HUNG)
        return {**told, "output": output.read()}


def main() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with tempfile.TemporaryDirectory() as empty:
        # A run of nothing imports pytest's plugins as pytest itself wants them imported.
        Path(empty, "pytest.ini").touch()
        pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:valkey", "--rootdir", empty, empty])
    for name in MODULES:
        importlib.import_module(name)
    with freezegun.freeze_time():
        pass  # it has looked through all these modules once, and remembers them
    sys.dont_write_bytecode = False  # a child finds cached what those before it have compiled
    gc.collect()
    gc.freeze()  # pytest ends with a look through all that lives: what is here now need not be part of it
    for line in sys.stdin:
        answers.write(json.dumps(fork(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()

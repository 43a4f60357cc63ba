"""A copy of the repository in which code is replaced, and the process that runs tests in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path
from types import TracebackType

from tests.mutation import warm
from tests.mutation.mechanism import Mechanism

ROOT = Path(__file__).parents[2]
COPIED = ("fsm", "store", "transport", "tests", "docs", "pyproject.toml")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "mutation")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run of tests.

    Attributes:
        status: pytest's exit status; 1 when a test failed.
        failed: ids of tests that were called and failed.
        broken: ids of tests whose fixtures failed, and of files that could not be collected.
        errors: the class of each failure.
        output: what pytest wrote.
    """

    status: int
    failed: list[str]
    broken: list[str]
    errors: list[str]
    output: str

    def noticed(self, tests: Sequence[str]) -> set[str]:
        """Those of `tests`, given by their ids below ``tests/``, that were called and failed.

        A test with parameters has failed if it did with some of them.
        """
        failed = {test.removeprefix("tests/") for test in self.failed}
        failed |= {test.partition("[")[0] for test in failed}
        return failed.intersection(tests)


class WorkingCopy:
    """A copy, and the process that runs tests in it, one run at a time. A context manager."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir()
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, root / name, ignore=LEFT_OUT)
            else:
                shutil.copy2(source, root / name)
        self._log = root / "warm.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", warm.__file__],
                cwd=root,
                # For what the tests start, and may outlive them: it must not cache a mutant.
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def run(self, tests: Sequence[str]) -> Outcome:
        """Run tests, given by their ids below ``tests/``.

        Raises:
            RuntimeError: the process has ended.
        """
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([f"tests/{test}" for test in tests]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(self._log.read_text())
        return Outcome(**json.loads(answer))

    def run_without(self, mechanism: Mechanism) -> Outcome:
        """Run the tests of a mechanism while it is taken out."""
        source = (self._root / mechanism.file).read_text(encoding="utf-8")
        self._write(mechanism.file, mechanism.taken_out(source))
        try:
            return self.run(mechanism.tests)
        finally:
            self._write(mechanism.file, source)

    def _write(self, file: str, source: str) -> None:
        """Python knows what it has cached by age and size, and a mutant may have those of the original."""
        path = self._root / file
        Path(cache_from_source(str(path))).unlink(missing_ok=True)
        path.write_text(source, encoding="utf-8")

    def __enter__(self) -> WorkingCopy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

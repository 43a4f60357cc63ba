"""A gateway process under load: its log is read without effort, and its vital signs are taken."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from statistics import linear_regression

from tests.process.gateway import Gateway

_ROUTINE = b'"level":"info"'


class Daemon(Gateway):
    """Keeps the lines up to `ready`, and of later ones those that are out of the ordinary."""

    def _read(self) -> None:
        # A gateway waits for whoever reads its log: thousands of lines a second must not be looked at.
        assert self.process.stderr is not None
        ready = False
        for line in self.process.stderr:
            if not ready or _ROUTINE not in line:
                self.lines.append(json.loads(line))
                ready = ready or self.lines[-1]["event"] == "ready"

    def memory(self) -> float:
        """Its resident set, in MiB."""
        pages = int(self._proc("statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE") / 2**20

    def files(self) -> int:
        """How many files it has open."""
        return len(list(self._proc("fd").iterdir()))

    def _proc(self, name: str) -> Path:
        return Path(f"/proc/{self.process.pid}") / name


class Scales:
    """Weighs a daemon once a second."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.weights: list[float] = []

    async def live(self) -> None:
        """Until it is cancelled."""
        while True:
            self.weights.append(self._daemon.memory())
            await asyncio.sleep(1.0)

    @property
    def per_minute(self) -> float:
        """MiB by which it has grown a minute, once it had warmed up for half of the time."""
        warm = self.weights[len(self.weights) // 2 :]
        return linear_regression(range(len(warm)), warm).slope * 60

    def __str__(self) -> str:
        parts = max(1, len(self.weights) // 20)
        weights = " ".join(f"{weight:.1f}" for weight in self.weights[::parts])
        return f"{weights} MiB, {self.per_minute:.2f} more a minute"

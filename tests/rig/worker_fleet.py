"""A run of several workers on one port, with the process that keeps them alive."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from tests.process.gateway import Gateway
from tests.rig.fleet import Fleet
from tests.rig.tracker import Address


class WorkerFleet(Fleet):
    """A run of one supervisor. Which worker a tracker is connected to is told by the log.

    Args:
        workers: how many there are; their instance ids are ``gw-1`` to ``gw-N``.
    """

    def __init__(self, url: str, seed: int = 1, *, workers: int, **options: Any) -> None:
        super().__init__(url, seed, **options)
        self.workers = workers

    @property
    def supervisor(self) -> Gateway:
        """Its process, whose log has the lines of all workers."""
        return self.gateways["gw"]

    async def start(self, instance_id: str = "gw", **options: Any) -> Gateway:
        """Start the supervisor, and wait until each worker is ready."""
        given = self.options | {"listen": "127.0.0.1:0", "workers": self.workers} | options
        gateway = self.process(self.gateway_url, instance_id, ready=False, **given)
        self._processes.append(gateway)
        for number in range(1, self.workers + 1):
            ready = await asyncio.to_thread(gateway.said, "ready", worker=number)
            self.ports[f"{instance_id}-{number}"] = int(ready["listen"][0].rpartition(":")[2])
        self.gateways[instance_id] = gateway
        return gateway

    def pids(self) -> dict[int, int]:
        """The process of each worker, the newest."""
        lines = list(self.supervisor.lines)
        return {line["worker"]: line["pid"] for line in lines if line["event"] == "worker_started"}

    async def kill_worker(self, number: int) -> None:
        """SIGKILL, and wait until the supervisor has started it again."""
        pid = self.pids()[number]
        os.kill(pid, signal.SIGKILL)
        ended = {"worker": number, "exit_status": -signal.SIGKILL, "started_again": True}
        await asyncio.to_thread(self.supervisor.said, "worker_ended", **ended)

    def somewhere(self) -> Address | None:
        """The address of all workers."""
        return ("127.0.0.1", next(iter(self.ports.values()))) if self.gateways else None

    def _whereabouts(self) -> dict[str, str]:
        lines = {tracker.imei: tracker.line for tracker in self.trackers if tracker.accepted}
        return {imei: self.memory.sessions.get((imei, line.peer), "") for imei, line in lines.items() if line}

    async def end(self) -> None:
        """Stop everything; workers outlive no supervisor that is killed for long, and no run."""
        pids = self.pids() if "gw" in self.gateways else {}
        await super().end()
        for pid in pids.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@asynccontextmanager
async def worker_fleet(url: str, seed: int = 1, **options: Any) -> AsyncIterator[WorkerFleet]:
    """A run, whose processes and tasks end with the block."""
    run = WorkerFleet(url, seed, **options)
    try:
        yield run
    finally:
        await run.end()

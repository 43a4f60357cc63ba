"""A gateway under load, with a fault every few seconds, keeps its promises, its memory and its files.

How large the run is follows from the tier: ten minutes at full size with ``--long``, a minute and a half at
full size with ``--all``, and otherwise a quarter of a minute at a fifth of the size.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.load.daemon import Daemon, Scales
from tests.load.driver_process import DriverProcess, open_files
from tests.load.endurance import ROOMY, Endurance, Trouble
from tests.rig.fleet import until
from tests.rig.local import LocalServer

SPARE_FILES = 12
"""Files that a gateway may have open in the end and not in the beginning: connections to Redis, made when
they are needed and kept."""


@dataclass(frozen=True)
class Size:
    """Of a run.

    Attributes:
        growth: MiB a minute by which the gateway may grow once it is warm. One that is ten minutes old has
            been everywhere; one that is a minute old still fills tables that have a bound. A connection of
            which nothing is freed would make it tens of them.
        checked: trackers whose every byte the checker sees; commands go to these.
        reconnects, reports, commands: a second, all together.
    """

    sockets: int
    seconds: float
    growth: float
    checked: int = 100
    reconnects: float = 500.0
    reports: float = 500.0
    commands: float = 50.0


@pytest.fixture
def size(long: bool, thorough: bool) -> Size:
    """How large the run is."""
    if long:
        found = Size(10_000, 600.0, growth=1.0, checked=500)
    elif thorough:
        found = Size(10_000, 90.0, growth=12.0)
    else:
        found = Size(2000, 15.0, growth=12.0, reconnects=100.0)
    if not open_files(found.sockets * 3 // 2):
        pytest.skip(f"{found.sockets} sockets at a time take a higher limit of open files (ulimit -n)")
    return found


@pytest.fixture
def server(tmp_path: Path, stack: ExitStack) -> LocalServer:
    """A server of its own: it is frozen and filled."""
    return stack.enter_context(LocalServer.start(tmp_path, 0))


@pytest.fixture
async def run(server: LocalServer) -> AsyncIterator[Endurance]:
    run = Endurance(server.url, **ROOMY)
    yield run
    await run.end()


@pytest.mark.timeout(1800)
async def test_a_gateway_under_load_and_faults_stays_within_bounds(
    size: Size, server: LocalServer, run: Endurance, stack: ExitStack
) -> None:
    daemon = await run.start()
    files = daemon.files()
    swarm = DriverProcess(
        "swarm",
        port=run.ports["gw-1"],
        count=size.sockets,
        reports=size.reports,
        reconnects=size.reconnects,
        seed=1,
    )
    await asyncio.to_thread(stack.enter_context, swarm)
    run.plug_in(size.checked, pause=size.checked / 100)
    await run.connected()
    run.producer.begin(run.imeis, size.commands)
    swarm.ask(do="live")
    scales = Scales(daemon)
    run.begin(scales.live())
    await Trouble(run, server, swarm).begin(size.seconds)
    counts = await asyncio.to_thread(swarm.ask, do="end")
    acknowledged = counts.pop("acknowledged")
    print(f"{counts}, {len(run.history.produced)} entries asked; {scales}")

    await until(lambda: not swarm.ask(do="count")["unidentified"], "unidentified clients closed")
    assert counts["wrong"] == {}
    assert counts["connections"] > size.sockets + size.reconnects * size.seconds / 2
    assert scales.per_minute < size.growth
    assert await run.unstored(acknowledged) == []
    await run.rest()
    assert await run.verdict() == []
    assert len(run.history.produced) > size.commands * size.seconds / 4
    await everybody_leaves(run, daemon, files + SPARE_FILES)


async def everybody_leaves(run: Endurance, daemon: Daemon, files: int) -> None:
    """Nothing is left of them, and the gateway has met no fault of its own."""
    await run.unplug()
    await until(lambda: daemon.files() <= files, f"no more than {files} files")

    async def forgotten() -> bool:
        return not await run.client.exists(run.keys.registry, run.keys.sessions)

    await until(forgotten, "an empty registry")
    assert [line for line in daemon.lines if line.get("level") in ("error", "critical")] == []

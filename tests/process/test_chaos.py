"""Gateways killed, frozen and stopped at random moments under load, on a real Redis: nothing is lost, doubled
or told wrongly.

A failing seed is repeated by ``TELGW_CHAOS_SEED=...``.
"""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.rig.fleet import Fleet, fleet

pytestmark = pytest.mark.timeout(1800)

SEED = int(os.environ.get("TELGW_CHAOS_SEED") or 1)
HASTY = {"shutdown_timeout": 1, "janitor_interval": 0.4, "janitor_grace": 0.2}
"""Options of gateways that inherit from each other soon after a heartbeat has run out."""
ABSENCE = {1: 0.3, 2: 4.0}
"""Seconds that a gateway is gone at most, by the number of gateways: of two the other may inherit."""
FREEZE = {1: 3.0, 2: 5.0}
"""Seconds that it is frozen at most; a heartbeat lives 2 s."""


async def kill(run: Fleet, name: str) -> None:
    """It ends within a command, and comes back."""
    await run.kill(name)
    await asyncio.sleep(run.random.uniform(0.0, ABSENCE[len(run.ports)]))
    await run.start(name)


async def freeze(run: Fleet, name: str) -> None:
    """It stands still, and goes on as if nothing had been."""
    run.freeze(name)
    await asyncio.sleep(run.random.uniform(0.1, FREEZE[len(run.ports)]))
    run.thaw(name)


async def stop(run: Fleet, name: str) -> None:
    """It is told to end, and comes back."""
    assert await run.stop(name) == 0
    await asyncio.sleep(run.random.uniform(0.0, ABSENCE[len(run.ports)]))
    await run.start(name)


async def afflict(run: Fleet, name: str, rounds: int) -> None:
    """Each fault once a round, in any order."""
    for _ in range(rounds):
        for fault in run.random.sample((kill, freeze, stop), 3):
            await asyncio.sleep(run.random.uniform(0.1, 1.5))
            await fault(run, name)


@pytest.mark.parametrize("instances", [("gw-1",), ("gw-1", "gw-2")], ids=["alone", "two instances"])
async def test_no_fault_of_a_gateway_at_any_moment_breaks_a_promise(
    redis_url: str, instances: tuple[str, ...], long: bool
) -> None:
    rounds = 66 // len(instances) if long else 1
    async with fleet(redis_url, SEED, **HASTY) as run:
        for name in instances:
            await run.start(name)
        run.plug_in(30)
        run.producer.begin(run.imeis, per_second=100)
        async with asyncio.TaskGroup() as group:
            for name in instances:
                group.create_task(afflict(run, name, rounds))
        await run.rest()
        assert await run.verdict() == [], f"TELGW_CHAOS_SEED={SEED}"

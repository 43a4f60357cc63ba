"""Gateways killed at random moments under load, on a real Redis: nothing is lost, doubled or told wrongly.

A failing seed is repeated by ``TELGW_CHAOS_SEED=...``.
"""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.rig.fleet import Fleet, fleet

pytestmark = [pytest.mark.redis, pytest.mark.process, pytest.mark.timeout(1800)]

SEED = int(os.environ.get("TELGW_CHAOS_SEED") or 1)


async def killings(run: Fleet, kills: int) -> None:
    """Kill gateways one after the other; each comes back after a moment, or after it was inherited from."""
    names = list(run.ports)
    for _ in range(kills):
        await asyncio.sleep(run.random.uniform(0.1, 1.5))
        name = run.random.choice(names)
        await run.kill(name)
        await asyncio.sleep(run.random.uniform(0.0, 0.3 if len(names) == 1 else 4.0))
        await run.start(name)


@pytest.mark.parametrize("instances", [("gw-1",), ("gw-1", "gw-2")], ids=["alone", "two instances"])
async def test_no_kill_at_any_moment_breaks_a_promise(
    redis_url: str, gateway_url: str, instances: tuple[str, ...], long: bool
) -> None:
    async with fleet(redis_url, SEED, gateway_url=gateway_url) as run:
        for name in instances:
            await run.start(name)
        run.plug_in(30)
        run.producer.begin(run.imeis, per_second=100)
        await killings(run, kills=150 if long else 3)
        await run.rest()
        assert await run.verdict() == [], f"TELGW_CHAOS_SEED={SEED}"

"""Redis stands still: it takes connections and requests and answers none of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.rig.fleet import fleet
from tests.rig.outages import (
    HASTY,
    assert_steady,
    assert_unharmed,
    busy,
    caught_up,
    keep_waiting,
    nothing_acknowledged,
)
from tests.rig.redis import redis_server
from transport.settings import Settings


async def test_six_frozen_seconds_cost_no_connection_and_no_id(
    tmp_path: Path,
) -> None:
    async with redis_server(tmp_path) as server, fleet(server.url, **HASTY) as run:
        await busy(run)
        with server.frozen():
            async with nothing_acknowledged(run):
                await asyncio.sleep(6.0)
        await caught_up(run)
        assert_steady(run)
        await assert_unharmed(run)


DEFAULTS = Settings(instance_id="any")


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_hundred_frozen_seconds_cost_connections_and_time_only(
    tmp_path: Path,
) -> None:
    """All heartbeats end meanwhile: even with a short grace, janitors must leave time to renew them."""
    waits = {
        name: getattr(DEFAULTS, name)
        for name in ("heartbeat_interval", "heartbeat_ttl", "drain_timeout", "reconnect_grace", "ready_grace")
    }
    options = HASTY | waits | {"command_ttl": 40}
    async with redis_server(tmp_path) as server, fleet(server.url, **options) as run:
        await busy(run, obedient=20, others=0)
        slow = await keep_waiting(run)
        with server.frozen():
            async with nothing_acknowledged(run):
                slow.answer()
                await asyncio.sleep(100.0)
        await caught_up(run)
        await assert_unharmed(run, "store_unavailable", "expired")
        lines = [line for gateway in run.gateways.values() for line in gateway.lines]
        closed = Counter(line["imei"] for line in lines if line.get("reason") == "store_unavailable")
        assert closed == Counter(run.imeis), "each once"
        ends = Counter(f["reason"] for _, f in run.history.responses if f.get("outcome"))
        assert ends["expired"] > 0

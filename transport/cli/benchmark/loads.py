"""The loads of the table: each on every server in turn, in alternating rounds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from fsm.errors import GatewayFault
from store.client.client import connect
from store.keys import Keys
from transport.settings import Address

from .commanding import measure_commands
from .measuring import RATES, RECORDS, Loaded, Server, measure_heartbeat, measure_memory, wait_until_idle
from .outcome import BEAT, BUSY, COMMAND, FLOOR, GATEWAY, HALF, RAW, Outcome, saturated, singly
from .stage import INSTANCE, Stage

OFTEN = 4.0
"""Seconds between heartbeats where their cost is measured: the cost of one does not depend on it."""

SHORT = 2.0
"""Seconds in which fewer records are stored than the stream may hold."""


def measure(
    stage: Stage, outcome: Outcome, against: tuple[Address, ...], rounds: int, seconds: float
) -> Iterator[str]:
    """Start the servers and measure; before each step its name."""
    yield "start"
    ours = stage.start()
    raw = stage.start("--payload", "raw")
    beating = stage.start("--heartbeat-interval", str(OFTEN), "--heartbeat-ttl", str(3 * OFTEN))
    servers = [ours, *stage.floor(), *stage.others(against)]
    yield "memory of connections"
    outcome.idle_kib = measure_memory(ours)
    yield "bytes of records"  # before anything else is sent to Redis
    outcome.record_bytes, outcome.sent_bytes = asyncio.run(_record_bytes(stage.url, ours, seconds))
    for number in range(1, rounds + 1):
        for name in _round(stage, outcome, servers, raw, beating, seconds):
            yield f"round {number}: {name}"


def _round(
    stage: Stage, outcome: Outcome, servers: list[Server], raw: Server, beating: Server, seconds: float
) -> Iterator[str]:
    """Measure each load on all servers that have it."""
    yield from _frames(outcome, servers, raw, seconds)
    yield COMMAND
    outcome.add(COMMAND, GATEWAY, measure_commands(servers[0], stage.url, INSTANCE, seconds))
    yield BEAT
    outcome.add(BEAT, GATEWAY, measure_heartbeat(beating, OFTEN))


def _frames(outcome: Outcome, servers: list[Server], raw: Server, seconds: float) -> Iterator[str]:
    with ExitStack() as stack:
        yield "connections"
        loaded = [stack.enter_context(Loaded(server)) for server in servers]
        for records in RECORDS:
            for one in loaded:
                yield f"{saturated(records)}, {one.server.name}"
                outcome.add(saturated(records), one.server.name, one.frames(records, seconds))
        yield RAW
        outcome.add(RAW, GATEWAY, stack.enter_context(Loaded(raw)).frames(1, seconds))
        for rate in RATES:
            for one in loaded:
                if one.server.name != FLOOR:  # its own cost at such rates is too small to divide by
                    yield f"{singly(rate)}, {one.server.name}"
                    outcome.add(singly(rate), one.server.name, one.frames(1, seconds, rate))
        if full := outcome.of(saturated(1), GATEWAY).median(lambda one: one.server):
            yield HALF
            outcome.half_wanted = BUSY * 1e6 / full
            outcome.add(HALF, GATEWAY, loaded[0].frames(1, seconds, outcome.half_wanted))


async def _record_bytes(url: str, server: Server, seconds: float) -> tuple[float, float]:
    """Bytes that a record which comes alone takes in Redis, and on the way there."""
    client: Any = connect(url, purpose="bench")
    wait_until_idle(server)  # what else is sent is no part of a record
    try:
        await client.delete(Keys().telemetry)
        before = await client.info("stats")
        with Loaded(server) as loaded:
            loaded.frames(1, min(seconds, SHORT))
        after = await client.info("stats")
        records = await client.xlen(Keys().telemetry)
        if not records:
            raise GatewayFault("The gateway has stored no record.")
        memory: int = await client.memory_usage(Keys().telemetry, samples=0)
        sent: int = after["total_net_input_bytes"] - before["total_net_input_bytes"]
        return memory / records, sent / records
    finally:
        await client.aclose()

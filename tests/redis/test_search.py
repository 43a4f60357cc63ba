"""How much of a long stream a verb reads."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from click.testing import CliRunner
from redis.asyncio import Redis

from store.keys import Keys
from store.streams.search import PAGES
from transport.cli import cli

pytestmark = pytest.mark.redis

KEYS = Keys()
IMEI = "352093081452251"
LONG = 3 * PAGES[-1]
EVENT = {
    **{"v": "1", "kind": "command", "command_id": "c-1", "seq": "1", "state": "failed", "trigger": "x"},
    **{"terminal": "1", "imei": IMEI},
}
RECORD = {
    **{"timestamp": 1, "priority": 0, "longitude": 0.0, "latitude": 0.0, "altitude": 0, "angle": 0},
    **{"satellites": 0, "speed": 0, "event_id": 0, "io": {}},
}
STREAMS = {
    KEYS.responses: EVENT,
    KEYS.deadletter: {"error": "x"},
    KEYS.telemetry: {"imei": IMEI, "data": json.dumps(RECORD)},
}
VERBS = {
    "commands": (KEYS.responses, ("--failed",)),
    "watch": (KEYS.responses, ("--no-follow",)),
    "history": (KEYS.responses, ("--imei", IMEI)),
    "dead-letters": (KEYS.deadletter, ()),
    "records": (KEYS.telemetry, (IMEI, "--scan")),
}


async def fill(client: Redis, stream: str, fields: dict[str, str]) -> None:
    async with client.pipeline(transaction=False) as calls:
        for _ in range(LONG):
            calls.xadd(stream, fields)  # type: ignore[arg-type]
        await calls.execute()


@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_with_a_limit_reads_a_bounded_part_of_a_long_stream(
    client: Redis, redis_url: str, verb: str
) -> None:
    stream, arguments = VERBS[verb]
    await fill(client, stream, STREAMS[stream])
    await client.config_resetstat()
    words = (verb, *arguments, "--limit", "3", "--json", "--redis", redis_url)
    result = await asyncio.to_thread(CliRunner().invoke, cli, words)
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 3)
    calls: Any = await client.info("commandstats")
    assert calls["cmdstat_xrevrange"]["calls"] <= 3  # the tail, the first page, and the next one

"""Connections to Redis that the verbs lose: what they cannot know they say, and no traceback is ever shown.

The gateway is played by the test, so that each loss meets the verb at a known moment.
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.process.gateway import IMEI, KEYS, MAIN, clean_environment
from tests.rig.fleet import until
from tests.rig.losses import BY_PURPOSE, FOR_ALL, OF_CALLS
from tests.rig.proxy import Proxy
from tests.rig.wired import Wired, of, wired

pytestmark = pytest.mark.timeout(300)

PATIENCE = 20.0
"""Seconds that a verb may take."""
QUICK = ("RST", "FIN in a call", "garbage: HTTP", "another server: HTTP")
"""What is tried where time is short: losses that are noticed at once."""
DONE, WRONG, UNKNOWN = 0, 2, 3
STATUS = {"send": {DONE, WRONG, UNKNOWN}, "check": {DONE, 1, WRONG, UNKNOWN}}
"""What a verb may end with. Of `send` 0 says that the command is on the stream, and 2 that it is not."""
CALLS = 6
"""Calls of which one after the other is lost."""
STREAM = KEYS.outbound("gw-1")
AT_ANY_MOMENT = {name: loss for name, loss in BY_PURPOSE.items() if "idle" not in name} | {
    name: loss for name, loss in FOR_ALL.items() if name != "output buffer limit"
}
"""A verb that follows the log waits for a reply all the time."""


@asynccontextmanager
async def verb(wire: Proxy, *words: str) -> AsyncIterator[Process]:
    """``telgw`` with `words`; whatever it does, it shows no traceback."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", MAIN, words[0], "--redis", wire.url, *words[1:]),
        stdout=PIPE,
        stderr=PIPE,
        env=clean_environment(),
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        _, told = await process.communicate()
        assert b"Traceback" not in told, told.decode()
        assert b"never retrieved" not in told, told.decode()


async def ended(process: Process) -> int:
    """Its exit status."""
    async with asyncio.timeout(PATIENCE):
        return await process.wait()


def event(command_id: str, **more: str) -> dict[str, str]:
    """An entry of the log."""
    return {"v": "1", "kind": "command", "command_id": command_id, "imei": IMEI, "seq": "1"} | more


async def shown(process: Process, command_id: str) -> None:
    """Wait until the watch shows an event of a command."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        while json.loads(await process.stdout.readline())["command_id"] != command_id:
            pass


async def test_a_watch_goes_on_after_each_loss_and_misses_nothing(tmp_path: Path, thorough: bool) -> None:
    async with wired(tmp_path) as bench, verb(bench.wire, "watch", "--json") as watch:
        follows = bench.wire.fault("delay", of("watch", "XREAD"), 1)
        await until(lambda: follows.met, "a watch that follows the log")
        with bench.server.client() as bus:
            losses = AT_ANY_MOMENT if thorough else {name: AT_ANY_MOMENT[name] for name in QUICK}
            for number, (name, lose) in enumerate(losses.items()):
                print(name)
                await lose(bench, "watch")
                bus.xadd(KEYS.responses, event(f"c{number}"))
                await shown(watch, f"c{number}")
                assert watch.returncode is None


async def asked(bench: Wired) -> str:
    """The command that `send` has asked for, taken from the stream as a gateway takes it."""
    found: list[Any] = []

    async def published() -> bool:
        found[:] = await bench.run.client.xrange(STREAM)
        return bool(found)

    await until(published, "a command")
    [(entry, fields)] = found
    await bench.run.client.xdel(STREAM, entry)
    return str(fields[b"command_id"].decode())


@pytest.mark.full
async def test_a_send_that_loses_redis_while_it_follows_tells_the_outcome_or_that_it_is_unknown(
    tmp_path: Path,
) -> None:
    async with wired(tmp_path) as bench:
        await bench.run.client.hset(KEYS.registry, IMEI, "gw-1")
        for name, lose in AT_ANY_MOMENT.items():
            print(name)
            async with verb(bench.wire, "send", IMEI, "getver") as send:
                command_id = await asked(bench)
                await until(lambda: bench.wire.wires("send"), "a follower")
                losing = asyncio.create_task(lose(bench, "send"))  # it may end before it is hit a second time
                await asyncio.sleep(0.1)
                last = event(command_id, state="responded", terminal="1", outcome="responded", response="1")
                await bench.run.client.xadd(KEYS.responses, last)
                assert await ended(send) in (DONE, UNKNOWN), name
                losing.cancel()
                bench.wire.faults.clear()


@pytest.mark.full
@pytest.mark.parametrize(
    "words", [("send", IMEI, "getver", "--no-wait"), ("check",), ("watch",)], ids=" ".join
)
async def test_a_verb_that_loses_redis_in_any_of_its_calls_ends_with_a_sentence(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    async with wired(tmp_path) as bench:
        await bench.run.client.hset(KEYS.registry, IMEI, "gw-1")
        for number, (name, (fate, more)) in enumerate(OF_CALLS.items()):
            print(name)
            passed = iter(range(number % CALLS))
            fault = bench.wire.fault(
                fate,
                lambda r, passed=passed: of(words[0])(r) and next(passed, None) is None,
                1,
                empty=True,
                **more,
            )
            async with verb(bench.wire, *words) as process:
                await until(lambda f=fault, p=process: f.met or p.returncode is not None, "a loss", PATIENCE)
                if words[0] != "watch":
                    told = await ended(process)
                    assert told in STATUS[words[0]], name
                    assert told != DONE or words[0] == "check" or await bench.run.client.xlen(STREAM), name
            fault.lift()
            await bench.run.client.delete(STREAM)

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
from typing import Any, TypeVar

import pytest

from tests.process.gateway import IMEI, KEYS, MAIN, clean_environment
from tests.rig.connection_losses import BY_PURPOSE, FOR_ALL, GARBAGE, OF_CALLS
from tests.rig.fleet import until
from tests.rig.proxied_fleet import Wired, of, wired
from tests.rig.proxy import Proxy, Request

pytestmark = pytest.mark.timeout(300)

T = TypeVar("T")

TIME_LIMIT = 20.0
"""Seconds that a verb may take."""
QUICK = ("RST", "FIN in a call", "garbage: HTTP", "another server: HTTP")
"""What is tried where time is short: losses that are noticed at once."""
DONE, WRONG, UNKNOWN = 0, 2, 3
STATUS = {"send": {DONE, WRONG, UNKNOWN}, "check": {DONE, 1, WRONG, UNKNOWN}, "watch": {None}}
"""What a verb may end with. Of `send` 0 says that the command is on the stream, and 2 that it is not."""
CALLS = 6
"""Calls of which one after the other is lost."""
STREAM = KEYS.outbound("gw-1")
VERBS = (("send", IMEI, "getver", "--no-wait"), ("check",), ("watch",))


def few(losses: dict[str, T]) -> dict[str, T]:
    """Those of the `losses` that differ for a verb, which has the same clients as a gateway."""
    same = {f"garbage: {name}" for name in GARBAGE} - {"garbage: HTTP", "garbage: a list of nothing"}
    return {name: loss for name, loss in losses.items() if name not in same}


AT_ANY_MOMENT = few({name: loss for name, loss in BY_PURPOSE.items() if "idle" not in name}) | {
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
    async with asyncio.timeout(TIME_LIMIT):
        return await process.wait()


def event(command_id: str, **more: str) -> dict[str, str]:
    """An entry of the log."""
    return {"v": "1", "kind": "command", "command_id": command_id, "imei": IMEI, "seq": "1"} | more


async def shown(process: Process, command_id: str) -> None:
    """Wait until the watch shows an event of a command."""
    assert process.stdout is not None
    async with asyncio.timeout(TIME_LIMIT):
        while json.loads(await process.stdout.readline())["command_id"] != command_id:
            pass


async def follows(bench: Wired, purpose: str) -> None:
    """Wait until a verb reads on in the log."""
    reads = bench.wire.fault("delay", of(purpose, "XREAD"), 1)
    await until(lambda: reads.met, f"a {purpose} that follows the log")


async def test_a_watch_goes_on_after_a_loss_and_misses_nothing(tmp_path: Path) -> None:
    async with wired(tmp_path) as bench, verb(bench.wire, "watch", "--json") as watch:
        await follows(bench, "watch")
        with bench.server.client() as bus:
            for number, name in enumerate(QUICK):
                print(name)
                await AT_ANY_MOMENT[name](bench, "watch")
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
async def test_send_and_watch_survive_each_loss(
    tmp_path: Path,
) -> None:
    async with wired(tmp_path) as bench, verb(bench.wire, "watch", "--json") as watch:
        await bench.run.client.hset(KEYS.registry, IMEI, "gw-1")
        await follows(bench, "watch")
        for name, lose in AT_ANY_MOMENT.items():
            print(name)
            async with verb(bench.wire, "send", IMEI, "getver") as send:
                command_id = await asked(bench)
                await until(lambda: bench.wire.wires("send"), "a follower")
                whose = ("send", "watch") if name in BY_PURPOSE else ("",)
                losing = [asyncio.create_task(lose(bench, purpose)) for purpose in whose]
                await asyncio.sleep(0.1)
                last = event(command_id, state="responded", terminal="1", outcome="responded", response="1")
                await bench.run.client.xadd(KEYS.responses, last)
                assert await ended(send) in (DONE, UNKNOWN), name
                await shown(watch, command_id)
                for task in losing:  # a send may have ended before it was hit
                    task.cancel()
                bench.wire.faults.clear()


async def hit(bench: Wired, words: tuple[str, ...], number: int, fate: str, **more: Any) -> int | None:
    """How a verb ends of which the call `number` meets `fate`; None for one that goes on."""
    passed = iter(range(number))

    def wanted(request: Request) -> bool:
        return of(words[0])(request) and next(passed, None) is None

    fault = bench.wire.fault(fate, wanted, 1, empty=True, **more)
    async with verb(bench.wire, *words) as process:
        await until(lambda: fault.met or process.returncode is not None, "a loss", TIME_LIMIT)
        told = None if words[0] == "watch" else await ended(process)
    fault.lift()
    return told


@pytest.mark.full
async def test_a_verb_that_loses_redis_ends_with_a_sentence(tmp_path: Path) -> None:
    async with wired(tmp_path) as bench:
        await bench.run.client.hset(KEYS.registry, IMEI, "gw-1")
        for number, (name, (fate, more)) in enumerate(few(OF_CALLS).items()):
            print(name)
            told = await asyncio.gather(*(hit(bench, words, number % CALLS, fate, **more) for words in VERBS))
            for words, status in zip(VERBS, told, strict=True):
                assert status in STATUS[words[0]], name
            assert told[0] != DONE or await bench.run.client.xlen(STREAM), name
            await bench.run.client.delete(STREAM)

"""A gateway is killed for good, and another one closes its books: two real processes on one real Redis."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from store.keys import Keys
from store.streams.producer import Producer
from tests.process.gateway import Bus, Gateway
from tests.rig.waiting import until
from transport.simulator import Behaviour, Tracker

ROOT = Path(__file__).parents[2]
KEYS = Keys()
FOLLOWS, STAYS = "356307042441013", "356307042441021"
TTL, INTERVAL, GRACE = 1.5, 0.5, 0.3
OPTIONS = {
    "heartbeat-interval": 0.3,
    "heartbeat-ttl": TTL,
    "janitor-interval": INTERVAL,
    "janitor-grace": GRACE,
    "janitor-min-uptime": 0,
    "ready-grace": 0.2,
    "metrics": "off",
    "listen": "127.0.0.1:0",
    "log-format": "json",
}
BOUND = TTL + 1.2 * INTERVAL + GRACE
SLACK = 3.0  # for a machine that is busy with other tests
TIME_LIMIT = 15.0
LOST = ("failed", "instance_lost")

Process = asyncio.subprocess.Process
Spawn = Callable[[Any], asyncio.Task[None]]


@asynccontextmanager
async def gateway(url: str, instance_id: str) -> AsyncIterator[tuple[Process, int]]:
    """A gateway as a process, and the port it listens on."""
    options = {"redis": url, "instance-id": instance_id, **OPTIONS}
    words = [f"--{name}={value}" for name, value in options.items()]
    code = "import sys; from transport.cli import main; sys.exit(main())"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, "run", *words),
        cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    drained = None
    try:
        async with asyncio.timeout(TIME_LIMIT):
            event: dict[str, Any] = {}
            while event.get("event") != "ready":
                line = await process.stderr.readline()
                assert line, f"gateway {instance_id} did not start"
                event = json.loads(line)
        drained = asyncio.ensure_future(process.stderr.read())
        yield process, int(event["listen"][0].rpartition(":")[2])
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if drained:
            await drained


def tracker(imei: str, port: int) -> Tracker:
    """A device that reads commands and never answers, and comes back quickly."""
    behaviour = Behaviour(interval=0.2, answers="never", answer_delay=0.0, backoff=(0.05, 0.2))
    return Tracker(imei, "127.0.0.1", port, behaviour, now_ms=lambda: round(time.time() * 1000))


class Business:
    """The producer: what it asks for and what it is told."""

    def __init__(self, client: Redis) -> None:
        self.client: Any = client
        self.producer = Producer(client, KEYS)

    async def ask(self, command_id: str, imei: str, text: str) -> None:
        await self.producer.publish("a", {"command_id": command_id, "imei": imei, "payload": text})

    async def state(self, command_id: str) -> str:
        return (await self.producer.ledger(command_id)).get("state", "")

    async def events(self, command_id: str) -> list[dict[str, str]]:
        return [fields for _, fields in await self.producer.history(command_id) if "seq" in fields]

    async def reach(self, **states: str) -> None:
        async def reached() -> bool:
            return {name: await self.state(name) for name in states} == states

        await until(reached, "the streams are as expected")

    async def holds(self, imei: str, holder: str | None) -> None:
        async def held() -> bool:
            return await self.producer.holder(imei) == holder

        await until(held, "the device is registered")

    async def closed(self) -> list[tuple[str, str]]:
        entries = await self.client.xrange(KEYS.responses)
        lost = [fields for _, fields in entries if fields.get(b"reason") == b"instance_lost"]
        return [(f[b"imei"].decode(), f[b"instance_id"].decode()) for f in lost if f[b"kind"] == b"session"]


async def test_commands_of_a_killed_gateway_end_or_follow_the_device(
    redis_url: str, client: Redis, spawn: Spawn
) -> None:
    business = Business(client)
    async with gateway(redis_url, "a") as (doomed, port_a), gateway(redis_url, "b") as (_, port_b):
        follows, stays = tracker(FOLLOWS, port_a), tracker(STAYS, port_a)
        tasks = [spawn(follows.run()), spawn(stays.run())]
        await business.holds(FOLLOWS, "a")
        await business.holds(STAYS, "a")
        for name, imei in (("follows", FOLLOWS), ("stays", STAYS)):
            await business.ask(f"{name}-out", imei, "getinfo")
            await business.ask(f"{name}-waits", imei, "getver")
        out = {"follows_out": "sent", "stays_out": "sent", "follows_waits": "queued", "stays_waits": "queued"}
        await business.reach(**{name.replace("_", "-"): state for name, state in out.items()})

        stays.behaviour.reconnect = False
        follows.address = ("127.0.0.1", port_b)
        follows.behaviour.answers = "normal"
        os.kill(doomed.pid, signal.SIGKILL)
        killed_ms = await business.producer.now_ms()
        await business.ask("unread", STAYS, "getgps")  # nobody will ever read it there
        await business.holds(FOLLOWS, "b")

        ends = dict.fromkeys(("follows-out", "stays-out", "stays-waits", "unread"), "failed")
        await business.reach(**ends, **{"follows-waits": "responded"})
        await business.holds(STAYS, None)
        histories = {name: await business.events(name) for name in (*ends, "follows-waits")}
        for name, events in histories.items():
            assert [int(event["seq"]) for event in events] == list(range(1, len(events) + 1)), name
            assert [event["terminal"] for event in events] == ["0"] * (len(events) - 1) + ["1"], name
        verdicts = {name: histories[name][-1] for name in ends}
        assert {(e["state"], e["reason"]) for e in verdicts.values()} == {LOST}
        assert {name: event["delivery"] for name, event in verdicts.items()} == {
            "follows-out": "maybe_sent",
            "stays-out": "maybe_sent",
            "stays-waits": "not_sent",
            "unread": "not_sent",
        }
        answered = histories["follows-waits"][-1]
        assert (answered["instance_id"], answered["response"][:4]) == ("b", "Ver:")
        assert [command.text for command in follows.counters.commands] == [b"getinfo", b"getver"]
        assert [command.text for command in stays.counters.commands] == [b"getinfo"]

        last_ms = max(
            [int((await business.producer.ledger(name))["last"].partition("-")[0]) for name in ends]
        )
        assert (last_ms - killed_ms) / 1000 < BOUND + SLACK
        assert (STAYS, "a") in await business.closed()
        assert [await client.xlen(KEYS.outbound(name)) for name in "ab"] == [0, 0]
        assert (await client.xpending(KEYS.outbound("a"), "ingestion"))["pending"] == 0
        for task in tasks:
            task.cancel()


def test_a_gateway_that_was_stopped_in_order_is_not_called_lost(gateway_url: str, bus: Bus) -> None:
    options = {name.replace("-", "_"): value for name, value in OPTIONS.items()}
    with Gateway(gateway_url, "peer", **options) as peer:
        for stop, lost in ((signal.SIGTERM, False), (signal.SIGKILL, True)):
            with Gateway(gateway_url, "other", **options) as other:
                other.process.send_signal(stop)
                other.process.wait(TIME_LIMIT)
            name = f"after-{stop.name}"
            bus.ask(name, to="other")  # the peer ends it: it has found out that nobody else will
            assert bus.ended(name)[-1] == "failed instance_lost not_sent"
            assert peer.said_before("instance_lost") == lost

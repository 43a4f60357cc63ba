"""What every trouble with Redis begins with, and what it must not have done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.rig.fleet import Fleet, until
from tests.rig.tracker import MANNERS, Tracker

OBEDIENT = ("answer",)
LONG_TIME_LIMIT = 120.0
"""Seconds that trackers wait for an ack: longer than any trouble lasts."""
ON_ITS_WAY = 0.2
"""Seconds in which what Redis confirmed before the trouble reaches those whom it concerns."""
CLOSES = {"device_closed", "connection_reset", "superseded", "tainted", "protocol_error"}
"""Why connections end that are not ended by the state of Redis."""
DAMAGE = {"expired", "gateway_restart", "instance_lost", "internal_error", "ledger_lost"}
"""Why commands end that have suffered from the trouble."""
HASTY = {
    "heartbeat_interval": 1,
    "heartbeat_ttl": 4,
    "janitor_interval": 0.1,
    "janitor_grace": 0.02,
}
"""Options of janitors that would find an instance dead long before its next heartbeat, if they were let."""


async def busy(run: Fleet, *, obedient: int = 10, others: int = 20) -> None:
    """Two gateways, trackers that do not give up (the first ones are `obedient`), commands at work."""
    await asyncio.gather(run.start("gw-1"), run.start("gw-2"))
    for count, manners in ((obedient, OBEDIENT), (others, MANNERS)):
        run.plug_in(count, manners=manners, time_limit=LONG_TIME_LIMIT)
    await run.connected()
    run.producer.begin(run.imeis, per_second=50)
    await until(lambda: len(run.history.produced) > 60, "commands")


async def keep_waiting(run: Fleet) -> Tracker:
    """A tracker that has a command out, which it answers when it is told to, and another that waits."""
    [slow] = run.plug_in(1, time_limit=LONG_TIME_LIMIT, manners=("hold",))
    await until(lambda: slow.all_acknowledged and slow.acks, "a slow device")
    _, second = [await run.producer.ask(slow.imei, response_timeout="20") for _ in range(2)]
    await until(lambda: any(imei == slow.imei for imei, _ in run.history.received), "a command that is out")

    async def waits() -> bool:
        log = await run.stream(run.keys.responses)
        return second in [fields.get("command_id") for _, fields in log]

    await until(waits, "a command that waits")
    slow.manners = OBEDIENT
    return slow


@asynccontextmanager
async def nothing_acknowledged(run: Fleet) -> AsyncIterator[None]:
    """Within the block, but for its first moment, no tracker sees a record acknowledged."""
    await asyncio.sleep(ON_ITS_WAY)
    before = len(run.history.acked)
    yield
    assert len(run.history.acked) == before


async def caught_up(run: Fleet) -> None:
    """Wait until every tracker has had a report acknowledged from here on."""
    known = [len(tracker.acks) for tracker in run.trackers]
    await until(
        lambda: all(len(t.acks) > count for t, count in zip(run.trackers, known, strict=True)),
        "every report acknowledged",
    )


async def progress(run: Fleet, what: str, count: int = 5) -> None:
    """Wait for some more records and some more verdicts."""
    acked, decided = len(run.history.acked), len(run.memory.decided)

    async def is_so() -> bool:
        await run.read_on()
        return len(run.history.acked) >= acked + count and len(run.memory.decided) >= decided + count

    await until(is_so, what)


def assert_steady(run: Fleet) -> None:
    """No tracker that is obedient until now has ever lost its connection."""
    obedient = {tracker.imei for tracker in run.trackers if tracker.manners == OBEDIENT}
    assert [line for line in _closed(run) if line["imei"] in obedient] == []


async def assert_beating(run: Fleet) -> None:
    """Wait until every instance has a heartbeat again."""
    begun = time.time() * 1000
    for name in run.gateways:

        async def has_heartbeat(key: str = run.keys.heartbeat(name)) -> bool:
            return float(await run.producer.client.get(key) or 0) > begun

        await until(has_heartbeat, f"a heartbeat of {name}", within=run.options["heartbeat_interval"] + 5.0)


def assert_calm(run: Fleet, *closes: str) -> None:
    """No gateway has ended, met a fault of its own, taken another one for dead, or closed a connection for
    any reason but the usual ones and `closes`."""
    for gateway in run.gateways.values():
        assert gateway.process.poll() is None
        assert [line for line in gateway.lines if line.get("level") in ("error", "critical")] == []
        assert not gateway.said_before("instance_lost")
    assert {line["reason"] for line in _closed(run)} <= CLOSES | set(closes)


async def assert_unharmed(run: Fleet, *reasons: str) -> None:
    """Let the run come to rest: no promise is broken, all is calm, and connections and commands have ended
    for none but the usual reasons and `reasons`."""
    await assert_beating(run)
    await run.rest()
    verdict = await run.verdict()
    assert verdict == [], verdict
    assert_calm(run, *reasons)
    damage = [fields for _, fields in run.history.responses if fields.get("reason") in DAMAGE - {*reasons}]
    assert damage == [], damage


def _closed(run: Fleet) -> list[dict[str, Any]]:
    lines = [line for gateway in run.gateways.values() for line in list(gateway.lines)]
    return [line for line in lines if line["event"] == "session_closed"]

"""The Lua scripts on a real server: a whole call, from its arguments to what its reply means."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from itertools import count
from typing import Any

import pytest
from redis.asyncio import Redis

from fsm.device_status import DeviceStatus, LastRecord
from fsm.events import SessionEvent
from fsm.moves import Status
from fsm.takeover import Claimant
from fsm.telemetry import PendingFrame
from store.fleet.device_status import DeviceStatusWriter
from store.fleet.heartbeat import Heartbeat
from store.fleet.registry import Registrar
from store.keys import Keys
from store.streams.session_log import SessionLog
from store.streams.telemetry import Telemetry
from tests.bench.frames import bodies
from tests.redis.book import ANSWER, Book, Case
from transport.teltonika.avl import decode_avl
from transport.teltonika.record_json import record_json

KEYS = Keys()
ROUNDS = 200
DEVICES = [f"{356_307_042_000_000 + number}" for number in range(100)]
"""As many as have something in one call."""

Work = Callable[..., Coroutine[Any, Any, Any]]


def raised(error: Exception) -> None:
    """A call that fails makes the benchmark fail."""
    raise error


def ignore(*_: object) -> None:
    """A hook that nobody listens to."""


async def ended(queue: Any, running: asyncio.Future[None]) -> int:
    """All that was put into a queue is sent; how much is not."""
    left: int = await queue.flush(10)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    return left


@pytest.fixture
def timed(benchmark: Any, runner: asyncio.Runner) -> Callable[..., Any]:
    """Times calls of a coroutine function, each with what another one has made before."""

    def timed(work: Work, before: Work | None = None) -> Any:
        def setup() -> tuple[tuple[Any, ...], dict[str, Any]]:
            return (() if before is None else (runner.run(before()),)), {}

        return benchmark.pedantic(
            lambda *given: runner.run(work(*given)), setup=setup, rounds=ROUNDS, warmup_rounds=5
        )

    return timed


@pytest.mark.benchmark(group="moves.lua")
@pytest.mark.parametrize("commands", [1, 30])
def test_moves_of_whole_commands(timed: Any, redis: Redis, commands: int) -> None:
    book, numbers = Book(redis), count()

    async def cases() -> list[Case]:
        return [await book.case(f"c-{next(numbers)}") for _ in range(commands)]

    async def whole(cases: list[Case]) -> set[Status]:
        moves = [
            move
            for case in cases
            for move in (
                case.open(),
                case.step("send", session_id="s-1"),
                case.step("respond", answer=ANSWER, rtt_ms=20),
            )
        ]
        return {result.status for result in await book.ledger.execute(*moves)}

    assert timed(whole, cases) == {Status.OK}


@pytest.mark.benchmark(group="telemetry.lua")
@pytest.mark.parametrize(("frames", "size"), [(1, 1), (100, 1), (20, 5), (5, 20)])
def test_records(timed: Any, redis: Redis, monkeypatch: pytest.MonkeyPatch, frames: int, size: int) -> None:
    monkeypatch.setattr("store.client.gathering.SECONDS", 0.0)  # a call is timed, and not the pause after it
    telemetry = Telemetry(redis, KEYS, "gw-1", on_error=raised)
    data = [[record_json(record) for record in decode_avl(body)] for body in bodies("8E", size)]

    async def store() -> int:
        running = asyncio.ensure_future(telemetry.run())
        for number in range(frames):
            records = list(data[number % len(data)])
            telemetry.store(PendingFrame(DEVICES[number].encode(), b"8E", 0, records, ignore))
        return await ended(telemetry, running)

    assert timed(store) == 0


@pytest.mark.benchmark(group="registry.lua")
def test_registrations(timed: Any, redis: Redis) -> None:
    numbers = count()
    here = Claimant("10.0.0.1", "plain")

    async def register() -> int:
        registered: list[object] = []
        registrar = Registrar(redis, KEYS, "gw-1", "b1", on_failure=ignore, on_fenced=ignore)
        for imei in DEVICES:
            registrar.register(imei, f"b1-{next(numbers)}", here, registered.append)
        registrar.stop()
        await registrar.run()
        return len(registered)

    assert timed(register) == len(DEVICES)


@pytest.mark.benchmark(group="session_log.lua")
def test_session_events(timed: Any, redis: Redis) -> None:
    async def append() -> int:
        log = SessionLog(redis, KEYS.responses, KEYS.unasked, on_error=raised)
        running = asyncio.ensure_future(log.run())
        for imei in DEVICES:
            event = SessionEvent("s1", 3, "ready", "identified", "open", "", imei, "10.0.0.1:1", "gw-1")
            log.append(event, 1_767_225_600_000)
        return await ended(log, running)

    assert timed(append) == 0


@pytest.mark.benchmark(group="heartbeat.lua")
def test_heartbeat(timed: Any, redis: Redis, runner: asyncio.Runner) -> None:
    heartbeat = Heartbeat(
        redis, KEYS, "gw-1", "b1", 30.0, 90.0, on_renewed=ignore, on_failure=raised, on_fenced=ignore
    )
    runner.run(heartbeat.take_over())
    assert timed(heartbeat.renew) > 0


@pytest.mark.benchmark(group="device_status.lua")
def test_device_status(timed: Any, redis: Redis) -> None:
    writer, moments = DeviceStatusWriter(redis, KEYS, on_error=raised), count(1_767_225_600_000)

    async def write() -> int:
        running = asyncio.ensure_future(writer.run())
        now = next(moments)
        for imei in DEVICES:
            last = LastRecord(timestamp=now, latitude=54.7, longitude=25.3, speed=60, satellites=11)
            status = DeviceStatus(
                instance_id="gw-1", session_id="b1-1", state="ready", records=1, last_seen_at=now, last=last
            )
            writer.put(imei, status)
        return await ended(writer, running)

    assert timed(write) == 0

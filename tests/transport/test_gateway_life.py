"""What a gateway does between its beginning and its end, and what ends it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest
from freezegun.api import FrozenDateTimeFactory
from structlog.testing import capture_logs

from fsm.registration import Registered, RegisterResult
from store.client.errors import CallFailed, StoreRefused
from tests.transport.gateway_rig import CallRecorder
from transport import tasks as tasks_module
from transport.daemon import checkup, outages, recurring, signals
from transport.daemon.exit_statuses import EXIT_CRASHED, EXIT_FENCED
from transport.daemon.gateway import Gateway
from transport.tasks import Tasks

TIME_LIMIT = 20.0
FAILED = "teltonika_task_failures_total"
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


# What ends it


async def test_a_task_that_keeps_failing_ends_the_process(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(tasks_module, "PAUSES", (0.0, 0.0))
    gateway._tasks.start("sweep", fail)
    assert await gateway._tasks.ended("sweep", TIME_LIMIT)
    assert (gateway.exit_status, gateway._stop.is_set()) == (EXIT_CRASHED, True)
    assert gateway.metrics.registry.get_sample_value(FAILED, {"task": "sweep"}) == 3


async def test_a_task_that_failed_is_started_again(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[str] = []

    async def fail_twice() -> None:
        starts.append("start")
        if len(starts) < 3:
            raise ZeroDivisionError

    monkeypatch.setattr(tasks_module, "PAUSES", (0.0, 0.0))
    gateway._tasks.start("sweep", fail_twice)
    assert await gateway._tasks.ended("sweep", TIME_LIMIT)
    assert (len(starts), gateway._stop.is_set()) == (3, False)
    assert gateway.metrics.registry.get_sample_value(FAILED, {"task": "sweep"}) == 2


async def test_a_fenced_gateway_renews_no_heartbeat_while_stopping(
    gateway: Gateway, calls: CallRecorder
) -> None:
    """Its reader asks who owns the id, and a heartbeat would claim what has no visible owner."""
    calls.record_async(gateway.backend.heartbeat, "_call")
    gateway.stop()
    gateway.backend.heartbeat.taken = True
    gateway.backend.ledger._on_fenced()
    gateway.heartbeat_at -= 1000.0
    assert not await gateway._still_owns()
    assert (calls.entries, gateway.exit_status) == ([], EXIT_FENCED)


async def test_a_task_that_was_cancelled_ends_nothing() -> None:
    crashed: list[str] = []
    tasks = Tasks(crashed.append, crashed.append)
    tasks.start("wait", asyncio.Event().wait)  # type: ignore[arg-type]
    await tasks.cancel_all()
    assert crashed == []


async def test_a_task_that_loses_its_cancellation_is_cancelled_again() -> None:
    """Python 3.11 can lose one inside a socket call."""
    lost: list[bool] = []

    async def work() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if lost:
                    raise
                lost.append(True)

    tasks = Tasks(lambda _: None, lambda _: None)
    tasks.start("work", work)
    await asyncio.sleep(0)
    await tasks.cancel_all()
    assert [task.cancelled() for task in tasks._tasks.values()] == [True]


async def test_the_second_signal_ends_the_process_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    exits: list[int] = []
    stopped = asyncio.Event()
    monkeypatch.setattr(signals.os, "_exit", exits.append)
    before = signal.getsignal(signal.SIGTERM)
    handlers = signals.Signals(stopped.set)
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        await stopped.wait()
        assert exits == []
        os.kill(os.getpid(), signal.SIGTERM)
        assert exits == [130]
    finally:
        handlers.restore()
    assert signal.getsignal(signal.SIGTERM) is before


# In between


@pytest.mark.parametrize(
    ("error", "trouble"), [(CallFailed("refused"), ["trouble"]), (StoreRefused("WRONGTYPE"), [])]
)
async def test_a_call_that_could_not_be_made_is_trouble_for_the_janitor(
    gateway: Gateway, calls: CallRecorder, error: Exception, trouble: list[str]
) -> None:
    calls.record(gateway.backend.janitor, "trouble")
    gateway.backend.report("telemetry", error)
    assert calls.entries == trouble


async def test_a_registration_that_failed_is_trouble_for_the_janitor(
    gateway: Gateway, calls: CallRecorder
) -> None:
    calls.record(gateway.backend.janitor, "trouble")
    gateway.backend._registration_failed(1)
    assert calls.entries == ["trouble"]


async def test_a_failed_check_is_logged_and_ends_nothing(
    gateway: Gateway, calls: CallRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls.record(gateway.backend, "report")
    calls.record_async(checkup, "diagnose_server", KeyError("used_memory"))
    gateway._heartbeat_renewed.set()
    await checkup.check_up(gateway.backend, gateway._heartbeat_renewed)
    assert calls.entries == ["diagnose_server", "report"]


async def test_one_of_many_like_errors_is_logged(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, frozen: FrozenDateTimeFactory
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(
        outages, "log", SimpleNamespace(warning=lambda _, **fields: lines.append(fields["part"]))
    )
    for _ in range(3):
        gateway.backend.report("ledger", CallFailed("refused"))
        gateway.backend.report("telemetry", CallFailed("refused"))
    assert lines == ["ledger", "telemetry"]
    frozen.tick(outages.AGAIN_AFTER)
    gateway.backend.report("ledger", CallFailed("refused"))
    assert lines == ["ledger", "telemetry", "ledger"]


async def test_the_end_of_an_outage_is_logged(gateway: Gateway, frozen: FrozenDateTimeFactory) -> None:
    renew = gateway.backend.heartbeat._on_renewed

    def told() -> list[tuple[str, Any]]:
        return [(line["event"], line.get("after_s")) for line in lines]

    with capture_logs() as lines:
        renew(1)
        gateway.backend.report("telemetry", StoreRefused("WRONGTYPE"))
        renew(1)
        assert told() == [("redis_error", None)], "a server that says no is there"
        gateway.backend.report("ledger", CallFailed("refused"))
        frozen.tick(1.5)
        gateway.backend.report("ledger", CallFailed("refused"))
        frozen.tick(0.7)
        renew(1)
        assert told()[1:] == [("redis_error", None)], "it is too early to say"
        frozen.tick(outages.QUIET)
        renew(1)
        renew(1)
        assert told()[2:] == [("redis_back", 2.2)]
        gateway.backend.report("ledger", CallFailed("refused"))
        assert told()[3:] == [("redis_error", None)], "the next outage is news"


@pytest.mark.parametrize("error", [CallFailed("refused"), CallFailed("max number of clients reached")])
async def test_a_redis_that_comes_and_goes_all_the_time_fills_no_log(
    gateway: Gateway, frozen: FrozenDateTimeFactory, error: CallFailed
) -> None:
    parts = ("ledger", "registry", "telemetry", "reader")
    with capture_logs() as lines:
        for _ in range(60):
            for part in parts:
                gateway.backend.report(part, error)
            gateway.backend._registration_failed(3)
            frozen.tick(5.0)
            gateway.backend.heartbeat._on_renewed(1)
    assert 0 < len(lines) < 5 * 4 * (len(parts) + 2)
    if "clients" in str(error):
        assert {line.get("advice") for line in lines if line["event"] == "redis_error"} == {
            "raise maxclients of Redis"
        }


async def test_a_heartbeat_measures_the_time_of_redis(gateway: Gateway) -> None:
    gateway._on_renewed(4_000_000_000_000)
    assert 4_000_000_000_000 <= gateway.clock.now_ms() < 4_000_000_010_000


async def test_a_heartbeat_registers_the_connected_devices(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, spawn: Spawn
) -> None:
    asked: asyncio.Queue[list[tuple[str, str, str]]] = asyncio.Queue()

    async def reconcile(sessions: list[tuple[str, str, str]]) -> list[RegisterResult]:
        asked.put_nowait(sessions)
        return [RegisterResult(Registered.REGISTERED) for _ in sessions]

    async def pending() -> int:
        return 0

    monkeypatch.setattr(gateway.backend.registrar, "reconcile", reconcile)
    monkeypatch.setattr(gateway.sessions.status, "refresh", list)
    monkeypatch.setattr(gateway.reader, "pending", pending)
    device = SimpleNamespace(
        imei="1", session_id="s-1", claimant="peer", speaks=False, closed=True, held=False
    )
    gateway.sessions.by_imei["1"] = cast(Any, device)
    spawn(gateway._reconcile())
    gateway.backend.heartbeat._renewed(1_767_225_600_000)
    async with asyncio.timeout(TIME_LIMIT):
        assert await asked.get() == [("1", "s-1", "peer")]


async def test_after_a_stall_sockets_are_read_before_deadlines(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Enough(Exception):
        pass

    seen: list[str] = []
    sleep = asyncio.sleep

    def read() -> None:
        before = gateway.connections.now == long_ago
        seen.append("read, as if it were before the stall" if before else "read")

    async def stalled(seconds: float) -> None:
        if seconds:
            asyncio.get_running_loop().call_soon(read)
        else:
            await sleep(0)

    def sweep(now: float) -> None:
        seen.append("sweep")
        raise Enough

    gateway.connections.now = long_ago = gateway.clock.monotonic() - 100.0
    monkeypatch.setattr(recurring, "STALL", -1.0)
    monkeypatch.setattr(recurring.asyncio, "sleep", stalled)
    monkeypatch.setattr(gateway.timeouts, "sweep", sweep)
    with pytest.raises(Enough):
        await recurring.sweep(gateway.connections, gateway.timeouts, gateway.dispatcher)
    assert seen == ["read", "sweep"]


@pytest.mark.parametrize(("slept", "asks"), [(0.0, False), (29.0, False), (31.0, True)])
@pytest.mark.parametrize("owner", [True, False])
async def test_after_a_missed_heartbeat_ownership_is_checked_first(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, slept: float, asks: bool, owner: bool
) -> None:
    asked: list[None] = []

    async def renew() -> int | None:
        asked.append(None)
        return 1_767_225_600_000 if owner else None

    monkeypatch.setattr(gateway.backend.heartbeat, "renew", renew)
    gateway.heartbeat_at = gateway.clock.monotonic() - slept
    assert await gateway._still_owns() is (owner or not asks)
    assert bool(asked) is asks

"""The order in which a gateway starts and stops."""

from __future__ import annotations

import asyncio

import pytest

from fsm.reasons import FENCED, SHUTDOWN
from store.client.errors import CallFailed
from tests.transport.gateway_rig import LOCAL, CallRecorder
from transport.commands.dispatcher import Dispatcher
from transport.daemon import recurring
from transport.daemon.exit_statuses import EXIT_FENCED
from transport.daemon.gateway import FLUSH_TIMEOUT, Gateway
from transport.daemon.listeners import Bound
from transport.tasks import Work

# The beginning


def unstarted(name: str, work: Work) -> None:
    pass


@pytest.mark.parametrize("redis", [None, CallFailed("refused")], ids=["with Redis", "without"])
async def test_start_order_is_ports_then_instance_id_then_devices(
    gateway: Gateway, calls: CallRecorder, monkeypatch: pytest.MonkeyPatch, redis: Exception | None
) -> None:
    calls.record(gateway._listeners, "bind")
    calls.record_async(gateway.backend.heartbeat, "take_over", redis)
    calls.record_async(gateway._listeners, "open", Bound([LOCAL], [], [], []))
    calls.record_async(gateway, "_shut_down")
    monkeypatch.setattr(gateway._tasks, "start", unstarted)
    assert await gateway.run(lambda _: gateway.stop()) == 0
    assert calls.entries == ["bind", "take_over", "open", "_shut_down"]


async def test_all_tasks_are_started_with_the_ledger_first(
    gateway: Gateway, calls: CallRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def start(name: str, work: Work) -> None:
        begun.append(name)

    calls.record_async(gateway.backend.heartbeat, "take_over")
    monkeypatch.setattr(gateway._tasks, "start", start)
    gateway._begin()
    assert begun == [
        *(
            "ledger",
            "registrar",
            "telemetry",
            "heartbeat",
            "session log",
            "device status",
            "removed devices",
            "files",
            "expected devices",
            "known devices",
            "reader",
        ),
        *("shards", "janitor", "stale registrations", "check", "sweep", "reconcile", "trace", "handover"),
    ]


async def test_commands_are_read_once_id_and_redis_time_are_known(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = asyncio.Event()

    async def run() -> None:
        reading.set()

    monkeypatch.setattr(gateway.reader, "run", run)
    gateway._owns.clear()
    gateway._tasks.start("reader", gateway._read)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not reading.is_set()
    gateway._on_renewed(1_767_225_600_000)
    async with asyncio.timeout(20):
        await reading.wait()


# The end


async def test_no_device_is_registered_after_all_were_unregistered(
    gateway: Gateway, calls: CallRecorder
) -> None:
    record_the_end(gateway, calls)
    recurring = ("reconcile", "handover", "janitor", "shards", "stale registrations")
    for name in recurring:
        gateway._tasks.start(name, asyncio.Event().wait)  # type: ignore[arg-type]
    running: list[str] = []

    async def unregister_all(*_: object, within: float) -> int:
        running.extend(name for name in recurring if not gateway._tasks._tasks[name].done())
        return 0

    gateway.backend.registrar.unregister_all = unregister_all  # type: ignore[method-assign]
    await gateway._shut_down()
    assert running == []


def record_the_end(gateway: Gateway, calls: CallRecorder) -> None:
    """Record in `calls` what is called while `gateway` shuts down."""
    sessions, dispatcher, backend = gateway.sessions, gateway.dispatcher, gateway.backend
    for part, name in ((gateway._listeners, "close"), (sessions, "refuse_unidentified"), (sessions, "drain")):
        calls.record(part, name)
    calls.record_async(backend.registrar, "unregister_all", 0)
    calls.record(dispatcher, "stop", entry="stop commands")
    calls.record(gateway.reader, "stop", entry="stop reader")
    calls.record_async(gateway.reader, "sweep", entry="last look")
    calls.record(dispatcher, "give_up")
    calls.record(gateway.connections.backpressure, "stop", entry="pause_reading")
    calls.record_async(backend.telemetry, "flush", 0, entry="save records")
    calls.record_async(backend.ledger, "flush", 0, entry="save verdicts")
    calls.record_async(backend.session_log, "flush", 0, entry="save session events")
    calls.record(sessions, "close_all")
    calls.record_async(backend.heartbeat, "release")
    calls.record_async(backend, "close", entry="close clients")


async def test_a_gateway_stops_in_order(gateway: Gateway, calls: CallRecorder) -> None:
    record_the_end(gateway, calls)
    await gateway._shut_down()
    assert calls.entries == [
        *("close", "refuse_unidentified", "unregister_all"),
        *("drain", "stop commands", "stop reader", "last look", "stop commands", "give_up"),
        *("pause_reading", "save records", "save verdicts", "close_all", "save session events"),
        *("release", "close", "close_all", "close clients"),
    ]


async def test_a_gateway_without_session_events_stops(
    gateway: Gateway, calls: CallRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_the_end(gateway, calls)
    monkeypatch.setattr(gateway.backend, "session_log", None)
    await gateway._shut_down()
    assert calls.entries[-1] == "close clients"
    assert "save session events" not in calls.entries


async def test_what_is_out_is_waited_for_before_it_is_given_up(
    gateway: Gateway, calls: CallRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recurring, "CHECK_INTERVAL", 0.001)
    out = [2, 1, 0]
    monkeypatch.setattr(Dispatcher, "draining", property(lambda _: out.pop(0)))
    calls.record(gateway.dispatcher, "give_up")
    await gateway._drain_commands()
    assert (out, calls.entries) == ([], ["give_up"])


async def test_the_last_moves_have_as_long_as_the_last_records(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    within: list[float] = []

    async def flush(seconds: float) -> int:
        within.append(seconds)
        return 0

    for part in (gateway.backend.telemetry, gateway.backend.ledger):
        monkeypatch.setattr(part, "flush", flush)
    monkeypatch.setattr(gateway.backend.session_log, "flush", flush)
    await gateway._flush()
    assert within[:2] == [FLUSH_TIMEOUT, FLUSH_TIMEOUT]


@pytest.mark.parametrize(("taken", "stops"), [(True, []), (False, ["stop beating"])])
async def test_a_stopping_gateway_takes_no_instance_id(
    gateway: Gateway, calls: CallRecorder, taken: bool, stops: list[str]
) -> None:
    record_the_end(gateway, calls)
    calls.record(gateway.backend.heartbeat, "stop", entry="stop beating")
    gateway.backend.heartbeat.taken = taken
    if not taken:
        gateway._owns.clear()
    await gateway._shut_down()
    assert calls.entries[: 3 + len(stops)] == ["close", "refuse_unidentified", *stops, "unregister_all"]
    assert ("last look" in calls.entries) is taken


async def test_a_fenced_process_closes_everything_and_exits_3(
    gateway: Gateway, calls: CallRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons: list[str] = []

    async def abandon(reason: str = SHUTDOWN) -> None:
        reasons.append(reason)

    calls.record_async(gateway.backend.heartbeat, "take_over")
    calls.record_async(gateway, "_shut_down")
    calls.record_async(gateway._listeners, "open", Bound([LOCAL], [], [], []))
    calls.record_async(gateway._claim, "lost", entry="tell by whom")
    monkeypatch.setattr(gateway, "_abandon", abandon)
    monkeypatch.setattr(gateway._tasks, "start", unstarted)
    assert await gateway.run(lambda _: gateway._on_fenced()) == EXIT_FENCED
    assert (reasons, calls.entries) == ([FENCED], ["take_over", "open", "tell by whom"])

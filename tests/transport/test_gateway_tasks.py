"""The tasks of a gateway: what is begun, what an error of Redis ends, and what has ended before what."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest

from store.client.errors import CallFailed
from tests.transport.gateway_rig import CallRecorder
from transport.daemon import gateway as gateways
from transport.daemon import recurring
from transport.daemon.addresses import CannotListen
from transport.daemon.gateway import Gateway
from transport.settings import Settings
from transport.tasks import Work

TIME_LIMIT = 20.0
AWAY = CallFailed("refused")
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


def run_idly(gateway: Gateway, *names: str) -> None:
    """Tasks that end when they are cancelled."""
    for name in names:
        gateway._tasks.start(name, asyncio.Event().wait)  # type: ignore[arg-type]


def running(gateway: Gateway) -> set[str]:
    return {name for name, task in gateway._tasks._tasks.items() if not task.done()}


# The beginning


async def test_the_copy_of_an_allow_list_in_redis_is_kept(
    monkeypatch: pytest.MonkeyPatch, calls: CallRecorder
) -> None:
    gateway = Gateway(Settings(instance_id="gw-1", metrics=None, allow_list="redis"), "redis://127.0.0.1:1")
    begun: list[str] = []

    def note(name: str, work: Work) -> None:
        begun.append(name)

    monkeypatch.setattr(gateway._tasks, "start", note)
    gateway._begin()
    await gateway.backend.close()
    assert "allow-list" in begun


async def test_a_gateway_that_cannot_listen_ends_what_it_started(
    gateway: Gateway, calls: CallRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls.record_async(gateway.backend.heartbeat, "take_over")
    calls.record_async(gateway._listeners, "open", CannotListen("127.0.0.1", 1, OSError("in use")))
    with pytest.raises(CannotListen):
        await gateway.run()
    assert running(gateway) == set()


# In between


@pytest.mark.parametrize(("answer", "told"), [(7, 7), (AWAY, 0)])
async def test_each_heartbeat_compares_the_registry_without_a_count(
    gateway: Gateway,
    calls: CallRecorder,
    monkeypatch: pytest.MonkeyPatch,
    spawn: Spawn,
    answer: object,
    told: int,
) -> None:
    asked: asyncio.Queue[bool] = asyncio.Queue()

    async def reconcile(*_: object, everything: bool) -> bool:
        await asked.put(everything)
        return True

    calls.record_async(gateway.reader, "pending", answer)
    monkeypatch.setattr(gateways, "reconcile", reconcile)
    spawn(gateway._reconcile())
    for _ in range(2):
        gateway._on_renewed(1_767_225_600_000)
        async with asyncio.timeout(TIME_LIMIT):
            await asked.get()
    assert (gateway.pending, gateway._heartbeat_renewed.is_set()) == (told, False)


async def test_after_a_lapse_all_devices_are_registered_until_redis_has_answered(
    gateway: Gateway, calls: CallRecorder, monkeypatch: pytest.MonkeyPatch, spawn: Spawn
) -> None:
    asked: asyncio.Queue[bool] = asyncio.Queue()
    answers = [False, True, True, True]

    async def reconcile(*_: object, everything: bool) -> bool:
        await asked.put(everything)
        return answers.pop(0)

    calls.record_async(gateway.reader, "pending", 0)
    monkeypatch.setattr(gateways, "reconcile", reconcile)
    spawn(gateway._reconcile())
    begin, ttl = 1_767_225_600_000, round(gateway.settings.heartbeat_ttl * 1000)
    seen: list[bool] = []
    for now_ms in (begin, begin + 1, begin + 2, begin + 2 + ttl):
        gateway.backend.heartbeat._renewed(now_ms)
        async with asyncio.timeout(TIME_LIMIT):
            seen.append(await asked.get())
    assert seen == [True, True, False, True]


async def test_a_registry_that_cannot_be_asked_is_asked_again(
    gateway: Gateway, calls: CallRecorder, monkeypatch: pytest.MonkeyPatch, spawn: Spawn
) -> None:
    asked = asyncio.Semaphore(0)
    sleep = asyncio.sleep

    async def look(*_: object) -> None:
        asked.release()
        raise AWAY

    monkeypatch.setattr(recurring.asyncio, "sleep", lambda _: sleep(0))
    monkeypatch.setattr(recurring, "find_holders", look)
    calls.record(gateway.backend, "report")
    spawn(recurring.hand_over(gateway.dispatcher, gateway.backend))
    async with asyncio.timeout(TIME_LIMIT):
        await asked.acquire()
        await asked.acquire()
    assert calls.entries[0] == "report"


async def test_a_sweep_handles_connections_and_then_commands(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, spawn: Spawn
) -> None:
    seen: list[str] = []
    more = [True, False]
    swept = asyncio.Event()

    def sweep_connections(_: float) -> bool:
        seen.append("connections")
        return more.pop(0) if more else False

    def sweep_commands(_: float) -> None:
        seen.append("commands")
        swept.set()

    monkeypatch.setattr(recurring, "SWEEP_EVERY", 0.001)
    monkeypatch.setattr(gateway.timeouts, "sweep", sweep_connections)
    monkeypatch.setattr(gateway.dispatcher, "sweep", sweep_commands)
    spawn(recurring.sweep(gateway.connections, gateway.timeouts, gateway.dispatcher))
    async with asyncio.timeout(TIME_LIMIT):
        await swept.wait()
    assert seen[:3] == ["connections", "connections", "commands"]


async def test_a_heartbeat_refreshes_the_allow_list_copy() -> None:
    gateway = Gateway(Settings(instance_id="gw-1", metrics=None, allow_list="redis"), "redis://127.0.0.1:1")
    allow_list = gateway.backend.allow_list
    assert allow_list is not None
    allow_list._stale.clear()
    gateway._on_renewed(1_767_225_600_000)
    assert allow_list._stale.is_set()
    await gateway.backend.close()


# The end


def end_quietly(gateway: Gateway, calls: CallRecorder) -> None:
    """What the end of `gateway`, whose heart has beaten, asks of Redis is noted, and answered at once."""
    backend = gateway.backend
    gateway._on_renewed(1_767_225_600_000)
    calls.record_async(backend.registrar, "unregister_all", 0)
    calls.record_async(gateway.reader, "sweep")
    for part in (backend.telemetry, backend.ledger, backend.session_log):
        calls.record_async(part, "flush", 0)
    calls.record_async(backend.heartbeat, "release")
    calls.record_async(backend, "close")


async def test_every_device_that_is_here_is_unregistered(
    gateway: Gateway, calls: CallRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_quietly(gateway, calls)
    told: list[tuple[str, str]] = []

    async def unregister_all(held: list[tuple[str, str]], within: float) -> int:
        told.extend(held)
        return 0

    monkeypatch.setattr(gateway.backend.registrar, "unregister_all", unregister_all)
    device = SimpleNamespace(imei="1", session_id="s-1", close=lambda _: None, drain=lambda _: None)
    device.pause = lambda: None
    gateway.sessions.by_imei["1"] = cast(Any, device)
    await gateway._shut_down()
    assert told == [("1", "s-1")]


async def test_the_last_read_comes_after_the_reader_ended(
    gateway: Gateway, calls: CallRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two readers at once would take entries in an order of their own."""
    end_quietly(gateway, calls)
    left: list[set[str]] = []

    async def sweep() -> None:
        left.append(running(gateway))

    monkeypatch.setattr(gateway.reader, "sweep", sweep)
    monkeypatch.setattr(gateways, "LAST_READ_TIMEOUT", 0.01)
    run_idly(gateway, "reader", "ledger")
    await gateway._stop_commands()
    assert left == [{"ledger"}]


async def test_a_hanging_last_read_is_given_up(
    gateway: Gateway, calls: CallRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway._on_renewed(1_767_225_600_000)
    calls.record(gateway.dispatcher, "stop")
    monkeypatch.setattr(gateway.reader, "sweep", asyncio.Event().wait)
    monkeypatch.setattr(gateways, "LAST_READ_TIMEOUT", 0.01)
    async with asyncio.timeout(TIME_LIMIT):
        await gateway._stop_commands()
    assert calls.entries == ["stop", "stop"]


async def test_a_gateway_stops_without_redis(gateway: Gateway, calls: CallRecorder) -> None:
    end_quietly(gateway, calls)
    calls.record_async(gateway.reader, "sweep", AWAY, entry="last look")
    calls.record_async(gateway.backend.heartbeat, "release", AWAY)
    await gateway._shut_down()
    told = [entry for entry in calls.entries if entry in ("last look", "release", "close")]
    assert told == ["last look", "release", "close"]


async def test_sockets_have_time_to_close_before_they_are_aborted(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recurring, "CHECK_INTERVAL", 0.001)
    open_at_the_end: list[int] = []
    gateway.sessions.admission.connected = 1

    def close_all(_: str) -> None:
        asyncio.get_running_loop().call_later(0.01, setattr, gateway.sessions.admission, "connected", 0)

    monkeypatch.setattr(gateway.sessions, "close_all", close_all)
    monkeypatch.setattr(
        gateway.sessions, "abort_all", lambda: open_at_the_end.append(gateway.sessions.connected)
    )
    await gateway._close_sockets("shutdown")
    assert open_at_the_end == [0]


async def test_aborted_sockets_publish_events_before_the_last_flush(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(
        gateway.sessions, "abort_all", lambda: asyncio.get_running_loop().call_soon(told.append, "closed")
    )
    await gateway._close_sockets("shutdown")
    assert told == ["closed"]


async def test_nothing_is_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurring, "CHECK_INTERVAL", 0.001)
    looks: list[None] = []
    async with asyncio.timeout(TIME_LIMIT):
        await recurring.until(lambda: looks.append(None), 0.01)  # type: ignore[func-returns-value, arg-type]
    assert len(looks) == 10


async def test_letting_go_ends_listeners_sockets_tasks_and_clients(
    gateway: Gateway, calls: CallRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway._listeners.bind()
    monkeypatch.setattr(gateway.sessions, "close_all", calls.entries.append)
    calls.record(gateway.sessions, "abort_all")
    calls.record_async(gateway.backend, "close", entry="close clients")
    run_idly(gateway, "ledger", "sweep")
    await gateway._abandon("fenced")
    assert calls.entries == ["fenced", "abort_all", "close clients"]
    assert ([sock.fileno() for sock in gateway._listeners._sockets], running(gateway)) == ([-1], set())

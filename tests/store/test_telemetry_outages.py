"""Telemetry while Redis refuses: nothing is confirmed, and no frame of a connected device is dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import fakeredis
import pytest
from redis.asyncio import Redis

from fsm.telemetry import BODY_OVERHEAD, OVERHEAD, UNDECODABLE
from store.client.errors import CallFailed, StoreError, StoreRefused
from tests.store.telemetry_rig import KEYS, TelemetryRig

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


async def test_an_outage_drops_only_frames_of_closed_connections(
    fake_redis: Redis, fake_server: fakeredis.FakeServer, spawn: Spawn
) -> None:
    rig = TelemetryRig(fake_redis)
    rig.store("here", b"1", b"2")
    gone = rig.store("gone", b"3")
    fake_server.connected = False
    spawn(rig.telemetry.run())
    await rig.next()
    rig.telemetry.drop(gone)
    assert (rig.confirmed, rig.telemetry.pending_entries, rig.telemetry.healthy) == ([], 2, False)
    assert rig.telemetry.backlog.bytes == OVERHEAD + 2 * BODY_OVERHEAD + 2
    fake_server.connected = True
    assert await rig.telemetry.flush(10) == 0
    assert rig.confirmed == ["here"]
    assert await fake_redis.xlen(KEYS.telemetry) == 2


async def test_a_frame_of_a_closed_connection_is_dropped_on_failure(
    fake_redis: Redis, fake_server: fakeredis.FakeServer, spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = TelemetryRig(fake_redis)
    gone = rig.store("gone", b"3")
    rig.store("here", b"1", b"2")
    fake_server.connected = False
    call = rig.telemetry._kept.call

    async def close_meanwhile(*given: Any) -> Any:
        rig.telemetry.drop(gone)
        return await call(*given)

    monkeypatch.setattr(rig.telemetry._kept, "call", close_meanwhile)
    spawn(rig.telemetry.run())
    await rig.next()
    assert (rig.telemetry.pending_entries, rig.telemetry.backlog.bytes) == (
        2,
        OVERHEAD + 2 * BODY_OVERHEAD + 2,
    )
    fake_server.connected = True
    assert await rig.telemetry.flush(10) == 0
    assert (rig.confirmed, rig.telemetry.dropped) == (["here"], 1)


async def test_behind_a_refused_entry_nothing_is_stored_or_confirmed(fake_redis: Redis, spawn: Spawn) -> None:
    await fake_redis.set(KEYS.undecodable, "not a stream")
    rig = TelemetryRig(fake_redis, on_refused=None)
    rig.store("before")
    rig.store("refused", kind=UNDECODABLE)
    rig.store("behind")
    spawn(rig.telemetry.run())
    while not rig.errors and len(rig.confirmed) < 3:
        await rig.next()
    assert (rig.confirmed, await fake_redis.xlen(KEYS.telemetry)) == (["before"], 1)


async def test_a_refused_undecodable_frame_is_dropped(fake_redis: Redis, spawn: Spawn) -> None:
    await fake_redis.set(KEYS.undecodable, "not a stream")
    rig = TelemetryRig(fake_redis)
    rig.store("refused", kind=UNDECODABLE)
    rig.store("behind")
    spawn(rig.telemetry.run())
    await rig.next()
    assert rig.refused == ["refused"]
    assert await rig.telemetry.flush(10) == 0
    assert rig.confirmed == ["behind"]


@pytest.mark.parametrize("bounds", [{"call_entries": 3}, {"call_bytes": 6}])
async def test_a_backlog_goes_out_in_calls_of_a_bounded_size(
    fake_redis: Redis, spawn: Spawn, bounds: dict[str, int]
) -> None:
    rig = TelemetryRig(fake_redis, **bounds)
    calls: list[int] = []
    script = rig.telemetry._kept.call

    async def counted(which: Any, keys: Any, arguments: Any, *more: Any) -> Any:
        calls.append(arguments.count(b"data"))
        return await script(which, keys, arguments, *more)

    rig.telemetry._kept.call = counted  # type: ignore[method-assign]
    for name in "abcdefg":
        rig.store(name, b"{}")
    spawn(rig.telemetry.run())
    assert await rig.telemetry.flush(10) == 0
    assert calls == [3, 3, 1]
    assert rig.confirmed == list("abcdefg")


async def test_the_stream_of_undecodable_frames_is_capped(
    fake_redis: Redis, spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.streams.telemetry.UNDECODABLE_MAXLEN", 100)
    rig = TelemetryRig(fake_redis)
    for number in range(250):
        rig.store(str(number), kind=UNDECODABLE)
    spawn(rig.telemetry.run())
    assert await rig.telemetry.flush(10) == 0
    assert await fake_redis.xlen(KEYS.undecodable) <= 200


# Room


class Scales:
    """A meter that is due when it is told to be, and says what it was asked."""

    def __init__(self) -> None:
        self.due = True
        self.asked: list[Any] = []
        self.error: StoreError | None = None

    def add(self, key: str, entries: int, size: int) -> None:
        self.asked.append((key, entries, size))

    async def settle(self) -> None:
        self.due = False
        self.asked.append("settle")
        if self.error:
            error, self.error = self.error, None
            raise error


async def test_room_is_made_before_a_call_when_it_is_due(fake_redis: Redis, spawn: Any) -> None:
    scales = Scales()
    rig = TelemetryRig(fake_redis, meter=scales)
    rig.store("a", b"12", b"345")
    spawn(rig.telemetry.run())
    await rig.telemetry.flush(10)
    rig.store("b", b"1", kind=UNDECODABLE)
    await rig.telemetry.flush(10)
    assert scales.asked == ["settle", (KEYS.telemetry, 2, 5), (KEYS.undecodable, 1, 1)]


@pytest.mark.parametrize("error", [CallFailed(), StoreRefused("OOM command not allowed")])
async def test_without_room_frames_wait(fake_redis: Redis, spawn: Any, error: StoreError) -> None:
    scales = Scales()
    scales.error = error
    rig = TelemetryRig(fake_redis, meter=scales)
    rig.store("a")
    spawn(rig.telemetry.run())
    await rig.telemetry.flush(10)
    assert (rig.errors, scales.asked) == ([error], ["settle", "settle", (KEYS.telemetry, 1, 2)])


async def test_a_missing_right_to_make_room_keeps_no_record_waiting(fake_redis: Redis, spawn: Any) -> None:
    scales = Scales()
    scales.error = StoreRefused("NOPERM this user may not")
    rig = TelemetryRig(fake_redis, meter=scales)
    rig.store("a")
    spawn(rig.telemetry.run())
    await rig.telemetry.flush(10)
    assert (rig.confirmed, scales.asked) == (["a"], ["settle", (KEYS.telemetry, 1, 2)])

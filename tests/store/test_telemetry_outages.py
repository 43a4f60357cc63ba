"""Telemetry while Redis refuses: nothing is confirmed, nothing of anybody who is here is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import fakeredis
import pytest
from redis.asyncio import Redis

from fsm.telemetry import BODY_OVERHEAD, OVERHEAD, RECORD, UNDECODABLE, PendingFrame
from store.keys import Keys
from store.streams.telemetry import Telemetry

KEYS = Keys()
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Desk:
    """Telemetry of an imitation of Redis, and all that it tells."""

    def __init__(self, client: Redis, **given: Any) -> None:
        self.confirmed: list[str] = []
        self.errors: list[Exception] = []
        self.told = asyncio.Event()
        self.telemetry = Telemetry(client, KEYS, "gw-1", on_error=self._on_error, **given)

    def store(self, name: str, *bodies: bytes, kind: str = RECORD) -> PendingFrame:
        batch = PendingFrame(b"1", b"8", 1, list(bodies) or [b"{}"], lambda: self._confirm(name), kind)
        self.telemetry.store(batch)
        return batch

    def _confirm(self, name: str) -> None:
        self.confirmed.append(name)
        self.told.set()

    def _on_error(self, error: Exception) -> None:
        self.errors.append(error)
        self.told.set()

    async def next(self) -> None:
        """Wait until an error or a confirmation is told, and what follows from it at once is done."""
        await self.told.wait()
        self.told.clear()


async def test_an_outage_drops_only_frames_of_closed_connections(
    fake_redis: Redis, fake_server: fakeredis.FakeServer, spawn: Spawn
) -> None:
    desk = Desk(fake_redis)
    desk.store("here", b"1", b"2")
    gone = desk.store("gone", b"3")
    fake_server.connected = False
    spawn(desk.telemetry.run())
    await desk.next()
    desk.telemetry.drop(gone)
    assert (desk.confirmed, desk.telemetry.pending_entries, desk.telemetry.healthy) == ([], 2, False)
    assert desk.telemetry.backlog.bytes == OVERHEAD + 2 * BODY_OVERHEAD + 2
    fake_server.connected = True
    assert await desk.telemetry.flush(10) == 0
    assert desk.confirmed == ["here"]
    assert await fake_redis.xlen(KEYS.telemetry) == 2


async def test_a_frame_of_a_closed_connection_is_dropped_on_failure(
    fake_redis: Redis, fake_server: fakeredis.FakeServer, spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(fake_redis)
    gone = desk.store("gone", b"3")
    desk.store("here", b"1", b"2")
    fake_server.connected = False
    call = desk.telemetry._kept.call

    async def close_meanwhile(*given: Any) -> Any:
        desk.telemetry.drop(gone)
        return await call(*given)

    monkeypatch.setattr(desk.telemetry._kept, "call", close_meanwhile)
    spawn(desk.telemetry.run())
    await desk.next()
    assert (desk.telemetry.pending_entries, desk.telemetry.backlog.bytes) == (
        2,
        OVERHEAD + 2 * BODY_OVERHEAD + 2,
    )
    fake_server.connected = True
    assert await desk.telemetry.flush(10) == 0
    assert (desk.confirmed, desk.telemetry.dropped) == (["here"], 1)


async def test_behind_a_refused_entry_nothing_is_stored_or_confirmed(fake_redis: Redis, spawn: Spawn) -> None:
    await fake_redis.set(KEYS.undecodable, "not a stream")
    desk = Desk(fake_redis)
    desk.store("before")
    desk.store("refused", kind=UNDECODABLE)
    desk.store("behind")
    spawn(desk.telemetry.run())
    while not desk.errors and len(desk.confirmed) < 3:
        await desk.next()
    assert (desk.confirmed, await fake_redis.xlen(KEYS.telemetry)) == (["before"], 1)


async def test_a_refused_undecodable_frame_is_dropped(fake_redis: Redis, spawn: Spawn) -> None:
    await fake_redis.set(KEYS.undecodable, "not a stream")
    refused: list[PendingFrame] = []
    desk = Desk(fake_redis, on_refused=refused.append)
    desk.store("refused", kind=UNDECODABLE)
    desk.store("behind")
    spawn(desk.telemetry.run())
    await desk.next()
    assert len(refused) == 1
    assert await desk.telemetry.flush(10) == 0
    assert desk.confirmed == ["behind"]


@pytest.mark.parametrize("bounds", [{"call_entries": 3}, {"call_bytes": 6}])
async def test_a_backlog_goes_out_in_calls_of_a_bounded_size(
    fake_redis: Redis, spawn: Spawn, bounds: dict[str, int]
) -> None:
    desk = Desk(fake_redis, **bounds)
    calls: list[int] = []
    script = desk.telemetry._kept.call

    async def counted(which: Any, keys: Any, arguments: Any, *more: Any) -> Any:
        calls.append(arguments.count(b"data"))
        return await script(which, keys, arguments, *more)

    desk.telemetry._kept.call = counted  # type: ignore[method-assign]
    for name in "abcdefg":
        desk.store(name, b"{}")
    spawn(desk.telemetry.run())
    assert await desk.telemetry.flush(10) == 0
    assert calls == [3, 3, 1]
    assert desk.confirmed == list("abcdefg")


async def test_the_stream_of_undecodable_frames_is_capped(
    fake_redis: Redis, spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.streams.telemetry.UNDECODABLE_MAXLEN", 100)
    desk = Desk(fake_redis)
    for number in range(250):
        desk.store(str(number), kind=UNDECODABLE)
    spawn(desk.telemetry.run())
    assert await desk.telemetry.flush(10) == 0
    assert await fake_redis.xlen(KEYS.undecodable) <= 200

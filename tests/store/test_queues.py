"""What all queues to Redis have in common: how they wait, how they are waited for, and how they stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import fakeredis
import pytest
from redis.asyncio import Redis

from fsm.events import SessionEvent
from fsm.moves import MoveResult, Status
from fsm.telemetry import RECORD, PendingFrame
from store.client.replies import EARLIEST_MS
from store.ledger.ledger import TRIES, Ledger
from store.streams.session_log import SessionLog
from store.streams.telemetry import Telemetry
from tests.redis.book import KEYS, Book

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
PATIENCE = 20.0
EVENT = SessionEvent("s-1", 1, "handshake", "new", "accept", "", "1", "", "gw-1", False)


def ignore(*_: object) -> None:
    """A hook that nobody listens to."""


def ledger_of(client: Redis) -> Ledger:
    return Ledger(client, KEYS, "gw-1", "boot-1", retention=60.0, on_error=ignore, on_fenced=ignore)


def log_of(client: Redis, **given: Any) -> SessionLog:
    return SessionLog(client, KEYS.responses, now_ms=lambda: 1, on_error=ignore, **given)


def batch() -> PendingFrame:
    return PendingFrame(b"1", b"8", 1, [b"{}"], ignore, RECORD)


class Queue:
    """One of the queues, and how something is put into it."""

    def __init__(self, kind: str, client: Redis) -> None:
        self._book = Book(client)
        self.part: Any = {"ledger": ledger_of, "session log": log_of}.get(kind, self._telemetry)(client)

    def _telemetry(self, client: Redis) -> Telemetry:
        return Telemetry(client, KEYS, "gw-1", on_error=ignore)

    async def put(self) -> None:
        if isinstance(self.part, Ledger):
            self.part.submit((await self._book.case("c-1")).open())
        elif isinstance(self.part, Telemetry):
            self.part.store(batch())
        else:
            self.part.append(EVENT)


@pytest.fixture(params=["ledger", "telemetry", "session log"])
async def queue(request: pytest.FixtureRequest, fake_redis: Redis) -> Queue:
    return Queue(request.param, fake_redis)


async def in_time(work: Awaitable[Any]) -> Any:
    async with asyncio.timeout(PATIENCE):
        return await work


async def test_what_cannot_be_saved_is_waited_for_only_so_long(queue: Queue) -> None:
    await queue.put()
    assert await in_time(queue.part.flush(0.01)) == 1


async def test_a_flush_waits_until_all_is_stored(queue: Queue, spawn: Spawn) -> None:
    assert await in_time(queue.part.flush(60)) == 0
    spawn(queue.part.run())
    for _ in range(2):
        await queue.put()
        assert await in_time(queue.part.flush(60)) == 0


async def test_a_queue_that_has_nothing_to_do_stops_at_once(queue: Queue, spawn: Spawn) -> None:
    task = spawn(queue.part.run())
    await asyncio.sleep(0)
    queue.part.stop()
    await in_time(task)


class Waits:
    """A backoff without a wait: Redis is back after the third."""

    def __init__(self, server: fakeredis.FakeServer) -> None:
        self.told: list[str] = []
        self._server = server

    async def wait(self, stop: asyncio.Event) -> None:
        self.told.append("wait")
        self._server.connected = self.told.count("wait") >= 3
        await asyncio.sleep(0)

    def reset(self) -> None:
        self.told.append("anew")


async def test_failed_calls_are_repeated_with_a_pause(
    queue: Queue, fake_server: fakeredis.FakeServer, spawn: Spawn
) -> None:
    await queue.put()
    fake_server.connected = False
    queue.part._backoff = waits = Waits(fake_server)
    spawn(queue.part.run())
    assert await queue.part.flush(PATIENCE) == 0
    await asyncio.sleep(0)
    assert waits.told == ["wait", "wait", "wait", "anew"]


# Each of them alone


async def test_a_flush_does_not_wait_for_frames_of_closed_connections(
    fake_redis: Redis, fake_server: fakeredis.FakeServer, spawn: Spawn
) -> None:
    telemetry = Telemetry(fake_redis, KEYS, "gw-1", on_error=ignore)
    fake_server.connected = False
    gone = batch()
    telemetry.store(gone)
    spawn(telemetry.run())
    await asyncio.sleep(0)
    telemetry.drop(gone)
    assert await in_time(telemetry.flush(60)) == 0
    assert telemetry.backlog.bytes == 0


async def test_events_queued_during_a_call_are_kept(
    fake_redis: Redis, spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue is full: each that comes pushes one out that is being appended."""
    log = log_of(fake_redis, capacity=2)
    send = log._send

    async def send_while_one_comes(events: list[Any]) -> Any:
        monkeypatch.setattr(log, "_send", send)
        log.append(EVENT)
        return await send(events)

    monkeypatch.setattr(log, "_send", send_while_one_comes)
    for _ in range(2):
        log.append(EVENT)
    spawn(log.run())
    assert await in_time(log.flush(60)) == 0
    assert await fake_redis.xlen(KEYS.responses) == 3


REFUSED = [b"ERROR", b"", 0, b"", 0, b"", b"WRONGTYPE", b""]


async def refusing(ledger: Ledger, times: int, spawn: Spawn) -> list[Status]:
    """Let a move be refused so often; what its receiver is told."""
    told: list[Status] = []
    script, left = ledger._script, times

    async def refuse(*given: Any) -> Any:
        nonlocal left
        left -= 1
        return (EARLIEST_MS, [REFUSED]) if left >= 0 else await script(*given)

    def done(result: MoveResult) -> None:
        told.append(result.status)

    ledger._script = refuse  # type: ignore[assignment]
    move = (await Book(ledger._client).case("c-1")).open()
    move.done = done
    ledger.submit(move)
    spawn(ledger.run())
    return told


@pytest.mark.parametrize(("times", "status"), [(TRIES - 1, Status.OK), (TRIES, Status.ERROR)])
async def test_the_tries_of_a_move_are_forgotten_with_it(
    fake_redis: Redis, spawn: Spawn, monkeypatch: pytest.MonkeyPatch, times: int, status: Status
) -> None:
    """Or a later one, which may have its place in memory, would have fewer."""
    monkeypatch.setattr("store.ledger.ledger._RETRY_DELAYS", (0.0,))
    ledger = ledger_of(fake_redis)
    told = await refusing(ledger, times, spawn)
    assert await in_time(ledger.flush(60)) == 0
    assert (told, ledger._tries) == ([status], {})


async def test_a_move_that_was_refused_is_not_tried_again_at_once(
    fake_redis: Redis, spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.ledger.ledger._RETRY_DELAYS", (3600.0,))
    ledger = ledger_of(fake_redis)
    told = await refusing(ledger, 1, spawn)
    assert (await ledger.flush(0.05), told) == (1, [])

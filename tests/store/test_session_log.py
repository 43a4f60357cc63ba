"""Session events reach the log in order, and a log that is away costs only the oldest of them."""

from __future__ import annotations

import asyncio
from typing import Any

import fakeredis
import pytest
from redis.asyncio import Redis

from fsm.events import SessionEvent
from store.streams.event_reader import read_entry
from store.streams.events import rfc3339
from store.streams.session_log import SessionLog

STREAM = "commands:responses"
NOW_MS = 1_767_225_600_042


def event(number: int) -> SessionEvent:
    return SessionEvent(
        session_id="s1",
        seq=number,
        state="closed",
        prev="ready",
        trigger="close",
        reason="idle",
        imei="356307042441013",
        peer="192.0.2.1:4000",
        instance_id="gw-1",
        terminal=True,
    )


class Errors(list[Exception]):
    """Errors told, and an event for the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.told = asyncio.Event()

    def __call__(self, error: Exception) -> None:
        self.append(error)
        self.told.set()


@pytest.fixture
def errors() -> Errors:
    return Errors()


@pytest.fixture
def log(fake_redis: Redis, errors: Errors) -> SessionLog:
    return SessionLog(fake_redis, STREAM, on_error=errors, capacity=1200)


async def entries(client: Redis) -> list[dict[str, str]]:
    found = await client.xrange(STREAM)
    return [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in found]


async def test_an_entry_is_the_event_and_can_be_read_back(
    log: SessionLog, fake_redis: Redis, spawn: Any
) -> None:
    log.append(event(3), NOW_MS)
    spawn(log.run())
    assert await log.flush(10) == 0
    [entry] = await entries(fake_redis)
    assert entry["at"] == "2026-01-01T00:00:00.042Z"
    assert (entry["v"], entry["kind"]) == ("1", "session")
    assert read_entry(entry) == event(3)


async def test_events_are_appended_in_order(log: SessionLog, fake_redis: Redis, spawn: Any) -> None:
    for number in range(1, 1201):
        log.append(event(number), NOW_MS)
    spawn(log.run())
    await log.flush(10)
    assert [int(entry["seq"]) for entry in await entries(fake_redis)] == list(range(1, 1201))
    assert log.dropped == 0


async def test_a_full_queue_loses_its_oldest_events_and_counts_them(
    log: SessionLog, fake_redis: Redis, spawn: Any
) -> None:
    for number in range(1, 1301):
        log.append(event(number), NOW_MS)
    assert (log.depth, log.dropped) == (1200, 100)
    spawn(log.run())
    await log.flush(10)
    assert [int(entry["seq"]) for entry in await entries(fake_redis)] == list(range(101, 1301))


async def test_events_queued_during_a_call_are_kept(
    fake_redis: Redis, errors: Errors, spawn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = SessionLog(fake_redis, STREAM, on_error=errors, capacity=2)
    send = fake_redis.execute_command

    async def send_while_one_comes(*command: Any, **options: Any) -> Any:
        if log.depth == 2:  # the first call of a script may be made twice
            log.append(event(3), NOW_MS)
        return await send(*command, **options)

    monkeypatch.setattr(fake_redis, "execute_command", send_while_one_comes)
    for number in (1, 2):
        log.append(event(number), NOW_MS)
    spawn(log.run())
    assert await log.flush(10) == 0
    assert [entry["seq"] for entry in await entries(fake_redis)] == ["1", "2", "3"]
    assert log.dropped == 0


async def test_events_wait_for_the_end_of_an_outage(
    log: SessionLog, fake_redis: Redis, fake_server: fakeredis.FakeServer, errors: Errors, spawn: Any
) -> None:
    fake_server.connected = False
    log.append(event(1), NOW_MS)
    spawn(log.run())
    await errors.told.wait()
    log.append(event(2), NOW_MS)
    fake_server.connected = True
    assert await log.flush(10) == 0
    assert [entry["seq"] for entry in await entries(fake_redis)] == ["1", "2"]


async def test_an_event_that_is_refused_stays_with_all_that_follow(
    log: SessionLog, fake_redis: Redis, errors: Errors, spawn: Any
) -> None:
    await fake_redis.set(STREAM, "not a stream")
    log.append(event(1), NOW_MS)
    log.append(event(2), NOW_MS)
    task = spawn(log.run())
    await errors.told.wait()
    assert log.depth == 2
    log.stop()
    await task


@pytest.mark.parametrize(
    ("epoch_ms", "text"),
    [(0, "1970-01-01T00:00:00.000Z"), (951_782_400_007, "2000-02-29T00:00:00.007Z")],
)
def test_stamps_are_rfc_3339_in_utc_with_milliseconds(epoch_ms: int, text: str) -> None:
    assert rfc3339(epoch_ms) == text

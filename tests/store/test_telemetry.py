"""Telemetry is confirmed once it is stored, in order, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import fakeredis
import pytest
from redis.asyncio import Redis

from fsm.telemetry import BODY_OVERHEAD, OVERHEAD, PendingFrame
from store.keys import Keys
from store.streams.telemetry import Telemetry

KEYS = Keys()
IMEI = b"356307042441013"
SMALL = OVERHEAD + BODY_OVERHEAD + 1
"""Weight of a frame of one body of one byte."""


class Recorder:
    """Notes what was confirmed, and lets a test wait for it."""

    def __init__(self) -> None:
        self.confirmed: list[str] = []
        self.errors: list[Exception] = []
        self.changed = asyncio.Event()

    def batch(self, name: str, *bodies: bytes, **more: Any) -> PendingFrame:
        def done() -> None:
            self.confirmed.append(name)
            self.changed.set()

        return PendingFrame(IMEI, b"8E", 1_700_000_000_000, list(bodies) or [name.encode()], done, **more)

    def on_error(self, error: Exception) -> None:
        self.errors.append(error)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.changed.clear()
            await self.changed.wait()


@pytest.fixture
def seen() -> Recorder:
    return Recorder()


@pytest.fixture
def telemetry(fake_redis: Redis, seen: Recorder) -> Telemetry:
    return Telemetry(fake_redis, KEYS, "gw-1", on_error=seen.on_error)


async def bodies(client: Redis) -> list[bytes]:
    return [fields[b"data"] for _, fields in await client.xrange(KEYS.telemetry)]


async def test_an_entry_has_the_fields_of_the_contract_in_their_order(
    telemetry: Telemetry, fake_redis: Redis, seen: Recorder, spawn: Any
) -> None:
    telemetry.store(seen.batch("one", b'{"speed":7}', session_id=b"b1-7"))
    spawn(telemetry.run())
    assert await telemetry.flush(10) == 0
    [(_, fields)] = await fake_redis.xrange(KEYS.telemetry)
    assert list(fields.items()) == [
        (b"imei", IMEI),
        (b"codec", b"8E"),
        (b"instance_id", b"gw-1"),
        (b"session_id", b"b1-7"),
        (b"received_at", b"1700000000000"),
        (b"data", b'{"speed":7}'),
    ]


async def test_nothing_is_confirmed_before_it_is_stored(
    telemetry: Telemetry, fake_redis: Redis, fake_server: fakeredis.FakeServer, seen: Recorder, spawn: Any
) -> None:
    lengths: list[int] = []
    batch = seen.batch("one", b"1", b"2", b"3")
    blocking = fakeredis.FakeRedis(server=fake_server)
    batch.done = lambda: lengths.append(blocking.xlen(KEYS.telemetry))
    telemetry.store(batch)
    assert lengths == []
    spawn(telemetry.run())
    await telemetry.flush(10)
    assert lengths == [3]


async def test_batches_are_stored_and_confirmed_in_the_order_they_came(
    fake_redis: Redis, seen: Recorder, spawn: Any
) -> None:
    telemetry = Telemetry(fake_redis, KEYS, "gw-1", on_error=seen.on_error, call_entries=7)
    names = [f"frame {number}" for number in range(100)]
    for name in names:
        telemetry.store(seen.batch(name))
    spawn(telemetry.run())
    assert await telemetry.flush(10) == 0
    assert seen.confirmed == names
    assert await bodies(fake_redis) == [name.encode() for name in names]


async def test_a_frame_without_records_is_confirmed_in_its_turn(
    telemetry: Telemetry, seen: Recorder, spawn: Any
) -> None:
    empty = seen.batch("empty")
    empty.bodies = []
    for batch in (seen.batch("before"), empty, seen.batch("after")):
        telemetry.store(batch)
    spawn(telemetry.run())
    await telemetry.flush(10)
    assert seen.confirmed == ["before", "empty", "after"]


async def test_a_batch_larger_than_a_call_goes_whole(fake_redis: Redis, seen: Recorder, spawn: Any) -> None:
    telemetry = Telemetry(fake_redis, KEYS, "gw-1", on_error=seen.on_error, call_entries=2, call_bytes=10)
    telemetry.store(seen.batch("large", b"x" * 20, b"y" * 20, b"z" * 20))
    telemetry.store(seen.batch("small"))
    spawn(telemetry.run())
    await telemetry.flush(10)
    assert seen.confirmed == ["large", "small"]


async def test_undecodable_frames_have_a_stream_of_their_own(
    telemetry: Telemetry, fake_redis: Redis, seen: Recorder, spawn: Any
) -> None:
    telemetry.store(seen.batch("raw", b"\x08\x00\xff", kind="frame"))
    telemetry.store(
        seen.batch("odd", b"\x08\x01", kind="undecodable", reason=b"truncated", session_id=b"b1-7")
    )
    spawn(telemetry.run())
    await telemetry.flush(10)
    [(_, raw)] = await fake_redis.xrange(KEYS.telemetry)
    [(_, odd)] = await fake_redis.xrange(KEYS.undecodable)
    assert (raw[b"frame"], b"data" in raw) == (b"\x08\x00\xff", False)
    assert odd == {
        **{b"imei": IMEI, b"codec": b"8E", b"session_id": b"b1-7"},
        **{b"reason": b"truncated", b"frame": b"\x08\x01"},
    }


async def test_an_error_in_the_middle_confirms_none_beyond(
    telemetry: Telemetry, fake_redis: Redis, seen: Recorder, spawn: Any
) -> None:
    await fake_redis.set(KEYS.undecodable, "not a stream")
    telemetry.store(seen.batch("before"))
    telemetry.store(seen.batch("odd", kind="undecodable"))
    telemetry.store(seen.batch("after"))
    spawn(telemetry.run())
    await seen.until(lambda: bool(seen.errors))
    assert seen.confirmed == ["before"]
    assert "WRONGTYPE" in str(seen.errors[0])
    assert not telemetry.healthy
    assert await bodies(fake_redis) == [b"before"]
    await fake_redis.delete(KEYS.undecodable)
    assert await telemetry.flush(10) == 0
    assert seen.confirmed == ["before", "odd", "after"]
    assert telemetry.healthy


async def test_a_refused_undecodable_frame_delays_no_other(
    fake_redis: Redis, seen: Recorder, spawn: Any
) -> None:
    refused: list[PendingFrame] = []
    telemetry = Telemetry(fake_redis, KEYS, "gw-1", on_error=seen.on_error, on_refused=refused.append)
    await fake_redis.set(KEYS.undecodable, "not a stream")
    odd = seen.batch("odd", kind="undecodable")
    telemetry.store(odd)
    telemetry.store(seen.batch("after"))
    spawn(telemetry.run())
    assert await telemetry.flush(10) == 0
    assert (refused, seen.confirmed, telemetry.healthy) == ([odd], ["after"], True)


async def test_after_an_outage_all_is_stored_in_order(
    telemetry: Telemetry, fake_redis: Redis, fake_server: fakeredis.FakeServer, seen: Recorder, spawn: Any
) -> None:
    fake_server.connected = False
    names = [f"frame {number}" for number in range(20)]
    for name in names:
        telemetry.store(seen.batch(name))
    spawn(telemetry.run())
    await seen.until(lambda: len(seen.errors) >= 2)
    assert seen.confirmed == []
    assert not telemetry.healthy
    fake_server.connected = True
    assert await telemetry.flush(10) == 0
    assert seen.confirmed == names
    assert await bodies(fake_redis) == [name.encode() for name in names]
    assert telemetry.healthy


async def test_what_waits_is_counted_so_that_reading_can_pause(
    telemetry: Telemetry, seen: Recorder, spawn: Any
) -> None:
    telemetry.store(seen.batch("one", b"12345", b"678"))
    telemetry.store(seen.batch("two", b"9"))
    assert (telemetry.pending_entries, telemetry.backlog.bytes) == (3, 9 + 2 * OVERHEAD + 3 * BODY_OVERHEAD)
    spawn(telemetry.run())
    await telemetry.flush(10)
    assert (telemetry.pending_entries, telemetry.backlog.bytes) == (0, 0)


async def test_a_frame_of_a_connection_that_closed_is_dropped_at_once(
    telemetry: Telemetry, fake_redis: Redis, seen: Recorder, spawn: Any
) -> None:
    gone = seen.batch("gone", b"12345")
    telemetry.store(seen.batch("before", b"1"))
    telemetry.store(gone)
    telemetry.store(seen.batch("after", b"2"))
    telemetry.drop(gone)
    assert (telemetry.pending_entries, telemetry.backlog.bytes) == (2, 2 * SMALL)
    spawn(telemetry.run())
    assert await telemetry.flush(10) == 0
    assert (seen.confirmed, telemetry.dropped, gone.bodies) == (["before", "after"], 1, [])
    assert await bodies(fake_redis) == [b"1", b"2"]


async def test_a_frame_in_a_call_counts_until_its_outcome_is_known(
    telemetry: Telemetry, fake_redis: Redis, seen: Recorder, spawn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = seen.batch("gone", b"12345")
    call = telemetry._kept.call
    counted: list[int] = []

    async def close_meanwhile(*given: Any) -> Any:
        telemetry.drop(gone)
        counted.append(telemetry.backlog.bytes)
        return await call(*given)

    monkeypatch.setattr(telemetry._kept, "call", close_meanwhile)
    telemetry.store(gone)
    spawn(telemetry.run())
    assert await telemetry.flush(10) == 0
    assert (counted, telemetry.backlog.bytes, telemetry.dropped) == ([4 + SMALL], 0, 0)
    assert await bodies(fake_redis) == [b"12345"]


async def test_an_unexpected_error_loses_no_frame(
    telemetry: Telemetry, fake_redis: Redis, seen: Recorder, spawn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*given: Any) -> Any:
        raise ZeroDivisionError

    for name in ("one", "two"):
        telemetry.store(seen.batch(name))
    with monkeypatch.context() as patched:
        patched.setattr(telemetry._kept, "call", fail)
        with pytest.raises(ZeroDivisionError):
            await telemetry.run()
    spawn(telemetry.run())
    assert await telemetry.flush(10) == 0
    assert seen.confirmed == ["one", "two"]
    assert await bodies(fake_redis) == [b"one", b"two"]


async def test_the_backlog_of_one_device_makes_no_other_wait(
    fake_redis: Redis, seen: Recorder, spawn: Any
) -> None:
    telemetry = Telemetry(fake_redis, KEYS, "gw-1", on_error=seen.on_error, call_entries=2)
    for number in range(5):
        telemetry.store(seen.batch(f"greedy {number}"))
    for name in ("b", "c"):
        modest = seen.batch(name)
        modest.imei = name.encode()
        telemetry.store(modest)
    spawn(telemetry.run())
    assert await telemetry.flush(10) == 0
    assert seen.confirmed == ["greedy 0", "b", "c", *(f"greedy {number}" for number in range(1, 5))]


async def test_progress_is_reported_once_a_call(fake_redis: Redis, seen: Recorder, spawn: Any) -> None:
    told: list[int] = []
    telemetry = Telemetry(
        fake_redis,
        KEYS,
        "gw-1",
        on_error=seen.on_error,
        on_progress=lambda: told.append(len(seen.confirmed)),
        call_entries=2,
    )
    for number in range(4):
        telemetry.store(seen.batch(str(number)))
    spawn(telemetry.run())
    assert await telemetry.flush(10) == 0
    assert told == [2, 4]


async def test_a_flush_ends_when_only_frames_of_closed_ones_are_left(
    telemetry: Telemetry, fake_server: fakeredis.FakeServer, seen: Recorder, spawn: Any
) -> None:
    fake_server.connected = False
    gone = seen.batch("gone")
    telemetry.store(gone)
    spawn(telemetry.run())
    await seen.until(lambda: bool(seen.errors))
    flush = asyncio.ensure_future(telemetry.flush(60))
    await asyncio.sleep(0)
    telemetry.drop(gone)
    assert await asyncio.wait_for(flush, 20) == 0
    assert telemetry.backlog.bytes == 0


async def test_a_flush_that_runs_out_of_time_says_what_is_left(telemetry: Telemetry, seen: Recorder) -> None:
    telemetry.store(seen.batch("one", b"1", b"2"))
    assert await telemetry.flush(0) == 2


async def test_a_stop_ends_the_task_during_an_outage(
    telemetry: Telemetry, fake_server: fakeredis.FakeServer, seen: Recorder, spawn: Any
) -> None:
    fake_server.connected = False
    telemetry.store(seen.batch("one"))
    task = spawn(telemetry.run())
    await seen.until(lambda: bool(seen.errors))
    telemetry.stop()
    await task
    assert telemetry.pending_entries == 1


def test_a_small_batch_weighs_more_than_its_bytes(telemetry: Telemetry, seen: Recorder) -> None:
    for number in range(100):
        telemetry.store(seen.batch(str(number), b"x"))
    assert telemetry.backlog.bytes == 100 * SMALL


def test_a_frame_of_many_small_bodies_weighs_more_than_their_bytes(
    telemetry: Telemetry, seen: Recorder
) -> None:
    telemetry.store(seen.batch("one", *[b"x"] * 255))
    assert telemetry.backlog.bytes == OVERHEAD + 255 * (BODY_OVERHEAD + 1)

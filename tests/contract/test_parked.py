"""Parking a command and taking it up, on every backend: one script each, and the same once or twice."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis

from fsm.events import Note
from fsm.moves import Entry, ParkMove, Status, Step
from fsm.parked import expire, read_parked, take_up
from fsm.reasons import CANCELLED
from tests.contract.test_registry import registered
from tests.redis.book import IMEI, KEYS, US, Book, Case, ignore
from tests.store import test_registry as registry

OK, ALREADY = Status.OK, Status.ALREADY
HOUR_MS = 3_600_000


def now_ms() -> int:
    return round(time.time() * 1000)


def parking(case: Case, limit: int = 0) -> ParkMove:
    note = Note("parked", f"n-{case.request.command_id}", case.request.command_id, state="queued")
    return ParkMove(note, case.entry, 1, case.request, ignore, limit)


async def parked(book: Book, *command_ids: str) -> None:
    for command_id in command_ids:
        case = await book.case(command_id, waits=True, expires_at=now_ms() + HOUR_MS)
        assert await book.statuses(case.open(), parking(case)) == [OK, OK]


async def takings(book: Book) -> list[Any]:
    """The moves that take up what is parked."""
    found = await book.ledger.parked(IMEI)
    requests = [read_parked(IMEI, entry_id, fields, now_ms()) for entry_id, fields in found]
    return [take_up(request, US, f"t-{request.command_id}", ignore) for request in requests]


async def test_a_parked_command_is_on_the_stream_of_its_device(book: Book) -> None:
    case = await book.case(waits=True)
    move = parking(case)
    assert await book.statuses(case.open(), move) == [OK, OK]
    assert await book.statuses(move) == [ALREADY]
    [(entry_id, fields)] = await book.client.xrange(KEYS.parked(IMEI))
    row = await book.row()
    assert (row["instance_id"], row["outbound_id"], row["state"]) == ("", entry_id.decode(), "queued")
    assert (fields[b"command_id"], fields[b"offline"]) == (b"c-1", b"wait")
    assert int(await book.client.zscore(KEYS.parked_devices, IMEI)) == case.request.expires_at
    assert (await book.pending(), await book.client.pttl(KEYS.ledger("c-1"))) == ([], -1)


async def test_a_full_stream_and_another_holder_refuse_it(book: Book) -> None:
    await parked(book, "c-1")
    case = await book.case("c-2", waits=True)
    assert await book.statuses(case.open(), parking(case, limit=1)) == [OK, Status.FULL]
    await book.client.hset(KEYS.registry, IMEI, "gw-2")
    assert await book.statuses(parking(case)) == [OK]  # its holder has no heartbeat
    await book.client.set(KEYS.heartbeat("gw-2"), "1")
    other = await book.case("c-3", waits=True)
    [_, result] = await book.ledger.execute(other.open(), parking(other))
    assert (result.status, result.detail) == (Status.HELD_ELSEWHERE, "gw-2")


async def test_they_are_taken_up_in_order_and_once(book: Book) -> None:
    await parked(book, "c-1", "c-2")
    moves = await takings(book)
    results = await book.ledger.execute(*moves)
    again = await book.ledger.execute(*moves)
    assert [result.status for result in (*results, *again)] == [OK, OK, ALREADY, ALREADY]
    assert [result.detail for result in results] == [result.detail for result in again]
    entries = await book.client.xrange(KEYS.outbound(US))
    assert [(e.decode(), f[b"command_id"]) for e, f in entries] == [
        (results[0].detail, b"c-1"),
        (results[1].detail, b"c-2"),
    ]
    assert await book.client.exists(KEYS.parked(IMEI), KEYS.parked_devices) == 0
    [reopened] = await book.ledger.execute(
        (await book.case("c-1", outbound_id=results[0].detail, waits=True)).open()
    )
    assert (reopened.status, reopened.hops) == (Status.REDELIVERED, 1)
    assert reopened.parked_id.partition("-")[0].isdigit()


async def test_nothing_newer_is_sent_before_them(book: Book) -> None:
    await parked(book, "c-1")
    newer = await book.case("c-2")
    send = newer.step("send", session_id="s-1", held_imei=IMEI) if await book.statuses(newer.open()) else None
    assert send is not None
    assert await book.statuses(send) == [Status.PARKED]
    await book.ledger.execute(*await takings(book))
    assert await book.statuses(replace(send, token="")) == [OK]


async def test_what_another_live_gateway_holds_is_left_to_it(book: Book) -> None:
    await parked(book, "c-1")
    await book.client.hset(KEYS.registry, IMEI, "gw-2")
    await book.client.set(KEYS.heartbeat("gw-2"), "1")
    [move] = await takings(book)
    assert await book.statuses(move) == [Status.HELD_ELSEWHERE]
    assert await book.client.xlen(KEYS.parked(IMEI)) == 1


async def test_an_end_removes_the_parked_entry(book: Book) -> None:
    await parked(book, "c-1", "c-2")
    [(first, _), (second, fields)] = await book.ledger.parked(IMEI)
    step = expire(read_parked(IMEI, second, fields, now_ms()), ignore)
    assert await book.statuses(step) == [OK]
    case = Case((await book.case("c-1")).request)
    case.command = replace(case.command, state="queued", seq=1)
    cancel = Step(case.step("fail", reason=CANCELLED).event, Entry("", first, IMEI), ignore)
    assert await book.client.zscore(KEYS.parked_devices, IMEI) is not None
    assert await book.statuses(cancel) == [OK]
    assert await book.client.exists(KEYS.parked(IMEI), KEYS.parked_devices) == 0
    assert await book.states("c-2") == ["queued", "timeout"]


async def test_a_registration_tells_that_commands_are_parked(any_redis: Redis) -> None:
    gateway = registry.Gateway(any_redis, "gw-1", "b1")
    await registered(gateway, "s1")
    assert not gateway.results["s1"].parked
    await any_redis.zadd(registry.KEYS.parked_devices, {registry.IMEI: 1})
    await registered(gateway, "s2")
    assert gateway.results["s2"].parked
